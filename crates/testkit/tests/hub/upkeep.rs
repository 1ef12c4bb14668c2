//! What the scheduler sees to: what a deleted webhook was owed, receivers that have failed for days, ordering keys that
//! were left behind.

use busbar_egress::Method;
use busbar_testkit::hub::PATIENCE;
use busbar_testkit::{Hub, eventually};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// What the database answers to `statement`, as text.
fn ask(hub: &Hub, statement: &str) -> String {
    let url = hub.settings().database.url.expose_secret();
    let asked = std::process::Command::new("psql").args([url, "-Atqc", statement]).output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    String::from_utf8(asked.stdout).unwrap().trim().to_owned()
}

async fn until(hub: &Hub, statement: &str, expected: &str) {
    let what = format!("{expected:?} from {statement}");
    eventually(&what, PATIENCE, || async { (ask(hub, statement) == expected).then_some(()) }).await;
}

async fn publish(hub: &Hub, body: Value) {
    let reply = hub.ingest("/api/v1/events", &body).await;
    assert_eq!(reply.status, 202, "{:?}", reply.body);
}

async fn act(hub: &Hub, method: Method, webhook: &str, action: &str) {
    let reply = hub.admin(method, &format!("/api/v1/webhooks/{webhook}{action}"), None).await;
    assert!((200..300).contains(&reply.status), "{action}: {:?}", reply.body);
}

#[tokio::test]
async fn what_a_deleted_webhook_was_owed_is_called_off_and_its_order_forgotten() {
    let hub = Hub::start().await;
    let (gone, _) = hub.webhook("/gone", "standard", &["a"], json!({})).await;
    let (stays, _) = hub.webhook("/stays", "standard", &["a"], json!({})).await;
    for webhook in [&gone, &stays] {
        act(&hub, Method::POST, webhook, "/pause").await;
    }
    for number in 0..20 {
        let key = (number % 2 == 0).then(|| json!("k"));
        publish(&hub, json!({ "type": "a", "data": number, "ordering_key": key })).await;
    }
    until(&hub, "select count(*) from deliveries where state = 'held'", "40").await;
    act(&hub, Method::DELETE, &gone, "").await;
    let called_off = format!(
        "select count(*) from deliveries where webhook_id = '{gone}' and state = 'cancelled' and reason = 'webhook_deleted'"
    );
    until(&hub, &called_off, "20").await;
    ask(&hub, "update order_lanes set touched_at = touched_at - interval '1 minute'");
    until(&hub, &format!("select open from order_lanes where webhook_id = '{gone}'"), "0").await;
    ask(&hub, "update order_lanes set touched_at = touched_at - interval '2 hours'");
    until(&hub, "select string_agg(webhook_id::text, ',') from order_lanes", &stays).await;

    act(&hub, Method::POST, &stays, "/resume").await;
    assert_eq!(hub.arrived("/stays", 20).await.len(), 20);
    assert!(hub.receiver().requests().iter().all(|call| call.path == "/stays"));
    hub.stop().await;
}

#[tokio::test]
async fn a_webhook_that_has_failed_for_days_is_broken_and_still_owed_everything() {
    let hub = Hub::start().await;
    let (failing, _) = hub.webhook("/failing", "standard", &["a"], json!({})).await;
    let (shaky, _) = hub.webhook("/shaky", "standard", &["b"], json!({})).await;
    hub.webhook("/reports", "standard", &["webhook.disabled"], json!({})).await;
    for (webhook, hours) in [(&failing, 121), (&shaky, 119)] {
        ask(
            &hub,
            &format!(
                "insert into circuits (webhook_id, tenant_id, failing_since, opened_at, probe_at)
                 select id, tenant_id, now() - interval '{hours} hours', now(), now() from webhooks where id = '{webhook}'"
            ),
        );
    }
    let report = hub.arrived("/reports", 1).await.remove(0);
    let body: Value = serde_json::from_slice(&report.body).unwrap();
    assert_eq!((&body["data"]["webhook_id"], &body["data"]["reason"]), (&json!(failing), &json!("failing")));
    let shown = hub.admin(Method::GET, &format!("/api/v1/webhooks/{failing}"), None).await.json();
    assert_eq!((&shown["status"], &shown["status_reason"]), (&json!("broken"), &json!("failing")));
    assert_eq!(ask(&hub, "select string_agg(webhook_id::text, ',') from circuits"), shaky);
    assert_eq!(ask(&hub, &format!("select status from webhooks where id = '{shaky}'")), "active");

    publish(&hub, json!({ "type": "a", "data": 1 })).await;
    until(&hub, "select reason from deliveries where state = 'held'", "broken").await;
    act(&hub, Method::POST, &failing, "/resume").await;
    assert_eq!(hub.arrived("/failing", 1).await.len(), 1);
    assert_eq!(hub.receiver().requests().iter().filter(|call| call.path == "/reports").count(), 1);
    hub.stop().await;
}

#[tokio::test]
async fn an_order_whose_head_ended_unnoticed_goes_on() {
    let hub = Hub::start().await;
    let (webhook, _) = hub.webhook("/late", "standard", &["a"], json!({})).await;
    act(&hub, Method::POST, &webhook, "/pause").await;
    for number in 0..3 {
        publish(&hub, json!({ "type": "a", "data": number, "ordering_key": "k" })).await;
    }
    until(&hub, "select count(*) from deliveries where state = 'held'", "3").await;
    // As if a process had ended it past the order, which no statement of the hub does.
    ask(&hub, "update deliveries set state = 'cancelled', finished_at = now() where reason = 'paused'");
    act(&hub, Method::POST, &webhook, "/resume").await;
    ask(&hub, "update order_lanes set touched_at = touched_at - interval '1 minute'");
    let calls = hub.arrived("/late", 2).await;
    let numbers: Vec<Value> =
        calls.iter().map(|call| serde_json::from_slice::<Value>(&call.body).unwrap()["data"].clone()).collect();
    assert_eq!(numbers, [json!(1), json!(2)]);
    hub.stop().await;
}
