//! Permit events: one of each permit and clock hour reaches each webhook once; retries, replays and tests always do.

use std::collections::HashSet;

use busbar_egress::Method;
use busbar_sandbox::Step;
use busbar_testkit::hub::{PATIENCE, Reply, now};
use busbar_testkit::{Hub, eventually};
use chrono::Timelike as _;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// Waits out the last seconds of a clock hour, since both its sides would count.
async fn well_within_an_hour() {
    eventually("the hour being young", PATIENCE, || async {
        (now().num_seconds_from_midnight() % 3600 < 3585).then_some(())
    })
    .await;
}

async fn approve(hub: &Hub, permit: u64, location: &str) -> Reply {
    let body = json!({
        "event": "permit_approved", "permit_id": permit, "permit_number": format!("PTW-{permit}"), "project_id": 1,
        "data": { "location": location },
    });
    let reply = hub.ingest("/api/v1/ptw/events", &body).await;
    assert_eq!(reply.status, 202, "{:?}", reply.body);
    reply
}

async fn deliveries(hub: &Hub, query: &str) -> Vec<Value> {
    let page = hub.admin(Method::GET, &format!("/api/v1/deliveries?{query}"), None).await.json();
    page["data"].as_array().cloned().unwrap_or_default()
}

/// Waits until `count` deliveries have succeeded, and looks whether there are others.
async fn all_succeeded(hub: &Hub, count: usize) {
    eventually("every delivery having succeeded", PATIENCE, || async {
        (deliveries(hub, "status=succeeded").await.len() == count).then_some(())
    })
    .await;
    assert_eq!(deliveries(hub, "").await.len(), count);
}

fn run_sql(hub: &Hub, statement: &str) {
    let url = hub.settings().database.url.expose_secret();
    let changed = std::process::Command::new("psql").args([url, "-qc", statement]).status().unwrap();
    assert!(changed.success());
}

#[tokio::test]
async fn each_webhook_gets_an_event_of_a_permit_once_an_hour() {
    well_within_an_hour().await;
    let hub = Hub::start().await;
    hub.webhook("/one", "ptw", &["permit_approved"], json!({})).await;
    hub.webhook("/two", "ptw", &["permit_approved"], json!({ "project": 1 })).await;
    let first = approve(&hub, 7, "Hall 1").await.json();
    let repeat = approve(&hub, 7, "Hall 2").await.json();
    assert_eq!((&repeat["event_id"], &repeat["duplicate"]), (&first["event_id"], &json!(true)));
    all_succeeded(&hub, 2).await;
    for path in ["/one", "/two"] {
        let calls = hub.arrived(path, 1).await;
        assert_eq!(calls.len(), 1);
        assert!(String::from_utf8_lossy(&calls[0].body).contains("Hall 1"));
    }
    assert_eq!(approve(&hub, 8, "Hall 1").await.json().get("duplicate"), None, "another permit is another event");
    all_succeeded(&hub, 4).await;

    // The hour that the key names goes by.
    run_sql(&hub, "update first_seen set key = regexp_replace(key, '[0-9]{10}$', '2020010100') where scope = 'ptw'");
    let next = approve(&hub, 7, "Hall 3").await.json();
    assert_eq!(next.get("duplicate"), None);
    assert_ne!(next["event_id"], first["event_id"]);
    all_succeeded(&hub, 6).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_retry_and_a_replay_go_out_within_the_hour() {
    well_within_an_hour().await;
    let hub = Hub::start().await;
    hub.receiver().script("/shaky", vec![Step::status(500).times(1), Step::status(200)]);
    let soon = json!({ "retry": { "max_attempts": 5, "first_ms": 100, "factor": 2, "max_ms": 1000 } });
    hub.webhook("/shaky", "ptw", &["permit_approved"], soon).await;
    let event = approve(&hub, 7, "Hall 1").await.json()["event_id"].clone();
    hub.arrived("/shaky", 2).await;
    all_succeeded(&hub, 1).await;

    let id = deliveries(&hub, "").await[0]["id"].as_str().unwrap().to_owned();
    let made = hub.admin(Method::POST, &format!("/api/v1/deliveries/{id}/replay"), None).await;
    assert_eq!((made.status, &made.json()["replay_of"]), (201, &json!(id)));
    let calls = hub.arrived("/shaky", 3).await;
    let messages: HashSet<_> = calls.iter().map(|call| call.header("webhook-id").unwrap()).collect();
    assert_eq!(messages, HashSet::from([id.as_str()]), "the same message each time");
    assert!(calls.iter().all(|call| call.body == calls[0].body));
    all_succeeded(&hub, 2).await;

    assert_eq!(approve(&hub, 7, "Hall 2").await.json()["event_id"], event, "a repeat is still one");
    let found = deliveries(&hub, "q=PTW-7").await;
    assert_eq!((found.len(), &found[0]["replay_of"], &found[1]["id"]), (2, &json!(id), &json!(id)));
    hub.stop().await;
}

#[tokio::test]
async fn a_test_goes_out_each_time() {
    let hub = Hub::start().await;
    let (webhook, _) = hub.webhook("/tested", "ptw", &["permit_approved"], json!({})).await;
    for _ in 0..2 {
        let reply = hub.admin(Method::POST, &format!("/api/v1/ptw/webhooks/{webhook}/test/"), None).await;
        assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("success")), "{:?}", reply.body);
    }
    let calls = hub.arrived("/tested", 2).await;
    assert_ne!(calls[0].header("webhook-id"), calls[1].header("webhook-id"));
    all_succeeded(&hub, 2).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_hundred_duplicates_at_once_are_one_event_for_each_webhook() {
    well_within_an_hour().await;
    let hub = Hub::start().await;
    for path in ["/one", "/two", "/three"] {
        hub.webhook(path, "ptw", &["permit_approved"], json!({})).await;
    }
    let replies = futures_util::future::join_all((0..100).map(|_| approve(&hub, 7, "Hall 1"))).await;
    let ids: HashSet<String> = replies.iter().map(|reply| reply.json()["event_id"].to_string()).collect();
    let firsts = replies.iter().filter(|reply| reply.json().get("duplicate").is_none()).count();
    assert_eq!((ids.len(), firsts), (1, 1));
    all_succeeded(&hub, 3).await;
    assert_eq!(hub.receiver().count(), 3);
    hub.stop().await;
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_one_tenant_and_one_body() {
    let hub = Hub::start().await;
    hub.webhook("/all", "standard", &["*"], json!({})).await;
    let (_, stranger) = hub.another_tenant().await;
    let send = async |key: &str, body: &'static str| {
        let headers = [("x-api-key", key), ("content-type", "application/json"), ("idempotency-key", "order-1")];
        hub.post("/api/v1/events", &headers, body.as_bytes().to_vec()).await
    };
    let (first, second) = ("{\"type\":\"a\",\"data\":1}", "{\"type\":\"a\",\"data\":2}");
    let own = hub.admin_key.clone();
    let calls = (0..100).map(|at| send(&own, if at == 50 { second } else { first }));
    let replies = futures_util::future::join_all(calls).await;
    let taken: Vec<_> = replies.iter().filter(|reply| reply.status == 202).collect();
    let ids: HashSet<String> = taken.iter().map(|reply| reply.json()["event_id"].to_string()).collect();
    // Whichever body came first is the one; the other is refused each time.
    assert!([1, 99].contains(&taken.len()), "{} were accepted", taken.len());
    assert_eq!(ids.len(), 1);
    assert!(replies.iter().all(|reply| [202, 409].contains(&reply.status)));
    assert_eq!((send(&own, first).await.status == 202, send(&own, second).await.status == 202), {
        let first_won = taken.len() == 99;
        (first_won, !first_won)
    });

    let foreign = send(&stranger, second).await;
    assert_eq!(foreign.status, 202, "another tenant's key is its own");
    assert!(!ids.contains(&foreign.json()["event_id"].to_string()));
    all_succeeded(&hub, 1).await;
    hub.stop().await;
}
