//! From the accepted event to the receiver: retries, dead letters, held work, wide fan-outs, fresh subscriptions.

use std::time::Duration;

use busbar_egress::Method;
use busbar_sandbox::{Answer, Step};
use busbar_testkit::hub::PATIENCE;
use busbar_testkit::{Hub, eventually};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// A policy whose retries come soon.
fn soon(attempts: u32) -> Value {
    json!({ "retry": { "max_attempts": attempts, "first_ms": 100, "factor": 2, "max_ms": 1000 } })
}

async fn publish(hub: &Hub, kind: &str) -> String {
    let reply = hub.ingest("/api/v1/events", &json!({ "type": kind, "data": { "n": 1.50 } })).await;
    assert_eq!(reply.status, 202, "{:?}", reply.body);
    reply.json()["event_id"].as_str().unwrap().to_owned()
}

/// Waits until the webhook's only delivery is in `status` and answers it with its attempts.
async fn in_status(hub: &Hub, webhook: &str, status: &str) -> Value {
    let what = format!("a delivery that is {status}");
    let list = format!("/api/v1/deliveries?webhook={webhook}&status={status}");
    let id = eventually(&what, PATIENCE, || async {
        let page = hub.admin(Method::GET, &list, None).await.json();
        page["data"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    hub.admin(Method::GET, &format!("/api/v1/deliveries/{id}"), None).await.json()
}

#[tokio::test]
async fn a_failing_receiver_is_tried_again_with_the_same_id_until_it_answers() {
    let hub = Hub::start().await;
    hub.receiver()
        .script("/shaky", vec![Step::status(500).times(2), Step::new(Answer::Reset).times(1), Step::status(204)]);
    let (webhook, _) = hub.webhook("/shaky", "standard", &["a"], soon(10)).await;
    publish(&hub, "a").await;
    let delivery = in_status(&hub, &webhook, "succeeded").await;
    let attempts = delivery["attempts"].as_array().unwrap();
    let statuses: Vec<_> = attempts.iter().map(|attempt| attempt["status"].as_i64()).collect();
    assert_eq!(statuses, [Some(500), Some(500), None, Some(204)]);
    let calls = hub.arrived("/shaky", 4).await;
    let ids: std::collections::HashSet<_> = calls.iter().map(|call| call.header("webhook-id").unwrap()).collect();
    assert_eq!(ids.len(), 1);
    assert!(calls.iter().all(|call| call.body == calls[0].body));
    hub.stop().await;
}

#[tokio::test]
async fn at_the_end_of_its_schedule_a_delivery_is_dead_with_a_reason() {
    let hub = Hub::start().await;
    hub.receiver().script("/down", vec![Step::status(503)]);
    hub.receiver().script("/moved", vec![Step::new(Answer::status(302).with_header("location", "/down"))]);
    hub.receiver().script("/gone", vec![Step::status(410)]);
    let (down, _) = hub.webhook("/down", "standard", &["a"], soon(3)).await;
    let (moved, _) = hub.webhook("/moved", "standard", &["b"], soon(2)).await;
    let (gone, _) = hub.webhook("/gone", "standard", &["c"], soon(3)).await;
    for kind in ["a", "b", "c"] {
        publish(&hub, kind).await;
    }
    for (webhook, attempts, reason, status) in
        [(down, 3, "attempts_exhausted", 503), (moved, 2, "attempts_exhausted", 302), (gone, 1, "gone", 410)]
    {
        let delivery = in_status(&hub, &webhook, "dead").await;
        assert_eq!(delivery["reason"], reason);
        assert_eq!(delivery["attempts"].as_array().unwrap().len(), attempts);
        assert_eq!(delivery["attempts"][0]["status"], status);
    }
    hub.stop().await;
}

#[tokio::test]
async fn no_more_are_in_flight_to_a_webhook_than_it_asked_for() {
    let hub = Hub::start().await;
    let slow = Answer::status(200).after(Duration::from_millis(150));
    hub.receiver().script("/narrow", vec![Step::new(slow)]);
    hub.webhook("/narrow", "standard", &["a"], json!({ "max_in_flight": 1 })).await;
    futures_util::future::join_all((0..8).map(|_| publish(&hub, "a"))).await;
    let calls = hub.arrived("/narrow", 8).await;
    let mut at: Vec<_> = calls.iter().map(|call| call.received_at).collect();
    at.sort_unstable();
    let closest = at.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    assert!(closest >= Duration::from_millis(140), "two calls were {closest:?} apart");
    hub.stop().await;
}

#[tokio::test]
async fn a_webhook_whose_secret_does_not_open_holds_up_nobody_else() {
    let hub = Hub::start().await;
    let (broken, _) = hub.webhook("/broken", "standard", &["a"], json!({})).await;
    hub.webhook("/sound", "standard", &["a"], json!({})).await;
    let statement = format!(
        "update webhooks set secret = 'x' where id = '{broken}';
         update tenants set config_version = config_version + 1, config_changed_at = now()"
    );
    let url = hub.settings().database.url.expose_secret();
    let changed = std::process::Command::new("psql").args([url, "-qc", &statement]).status().unwrap();
    assert!(changed.success());
    publish(&hub, "a").await;
    assert_eq!(hub.arrived("/sound", 1).await.len(), 1);
    assert!(hub.receiver().requests().iter().all(|call| call.path != "/broken"));
    hub.stop().await;
}

#[tokio::test]
async fn a_private_address_is_refused_with_the_reason() {
    let hub = Hub::start_with(|values| values.retain(|(name, _)| name != "BUSBAR_EGRESS__ALLOW")).await;
    for url in [
        "http://127.0.0.1/x",
        "http://10.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://localhost/",
    ] {
        let body = json!({ "name": "w", "url": url, "events": ["a"], "dialect": "standard" });
        let reply = hub.admin(Method::POST, "/api/v1/webhooks", Some(&body)).await;
        assert_eq!(reply.status, 422, "{url}");
        let error = reply.json()["errors"][0].clone();
        assert_eq!(
            (error["pointer"].as_str(), error["code"].as_str()),
            (Some("/url"), Some("ADDRESS_FORBIDDEN")),
            "{url}"
        );
    }
    let unknown = hub.admin(Method::GET, "/api/v1/webhooks/01a202bd-5f95-767a-bf56-c844d0a4aab9", None).await;
    assert_eq!(unknown.status, 404);
    hub.stop().await;
}

#[tokio::test]
async fn a_paused_webhook_is_owed_everything_and_gets_it_when_it_is_resumed() {
    let hub = Hub::start().await;
    let (webhook, _) = hub.webhook("/later", "standard", &["a"], json!({})).await;
    let act = async |action: &str| {
        let reply = hub.admin(Method::POST, &format!("/api/v1/webhooks/{webhook}/{action}"), None).await;
        assert!((200..300).contains(&reply.status), "{action}: {:?}", reply.body);
    };
    act("pause").await;
    publish(&hub, "a").await;
    assert_eq!(in_status(&hub, &webhook, "held").await["reason"], "paused");
    assert_eq!(hub.receiver().count(), 0);
    act("resume").await;
    in_status(&hub, &webhook, "succeeded").await;
    assert_eq!(hub.arrived("/later", 1).await.len(), 1);
    hub.stop().await;
}

#[tokio::test]
async fn a_webhook_made_a_moment_ago_hears_the_next_event_and_a_disabled_one_does_not() {
    let hub = Hub::start().await;
    publish(&hub, "a").await;
    for round in 0..20 {
        let path = format!("/fresh/{round}");
        let (webhook, _) = hub.webhook(&path, "standard", &["a"], json!({})).await;
        publish(&hub, "a").await;
        assert_eq!(hub.arrived(&path, 1).await.len(), 1);
        let body = json!({ "enabled": false });
        let reply = hub.admin(Method::PATCH, &format!("/api/v1/webhooks/{webhook}"), Some(&body)).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
    }
    publish(&hub, "a").await;
    let (last, _) = hub.webhook("/last", "standard", &["a"], json!({})).await;
    publish(&hub, "a").await;
    in_status(&hub, &last, "succeeded").await;
    assert_eq!(hub.receiver().count(), 21);
    hub.stop().await;
}

#[tokio::test]
async fn a_fan_out_wider_than_one_transaction_reaches_every_webhook_once() {
    let hub = Hub::start().await;
    let webhooks = 1200;
    for chunk in 0..webhooks / 40 {
        let made = (0..40).map(|at| {
            let hub = &hub;
            async move {
                let path = format!("/wide/{}", chunk * 40 + at);
                hub.webhook(&path, "standard", &["wide", "wi*"], json!({})).await;
            }
        });
        futures_util::future::join_all(made).await;
    }
    publish(&hub, "wide").await;
    eventually("every webhook having heard it", Duration::from_secs(40), || async {
        (hub.receiver().count() >= webhooks).then_some(())
    })
    .await;
    let paths: std::collections::HashSet<String> =
        hub.receiver().requests().into_iter().map(|call| call.path).collect();
    assert_eq!(paths.len() as u64, webhooks);
    assert_eq!(hub.receiver().count(), webhooks);
    hub.stop().await;
}

#[tokio::test]
async fn a_test_ping_tells_the_true_outcome_even_of_a_disabled_webhook() {
    let hub = Hub::start().await;
    hub.receiver().script("/broken", vec![Step::status(500)]);
    let (good, _) = hub.webhook("/good", "ptw", &[], json!({ "enabled": false })).await;
    let (broken, _) = hub.webhook("/broken", "standard", &["a"], json!({})).await;
    let ping = async |id: &str| hub.admin(Method::POST, &format!("/api/v1/webhooks/{id}/test"), None).await;
    let reply = ping(&good).await;
    assert_eq!((reply.status, reply.json()["response_code"].as_i64()), (200, Some(200)), "{:?}", reply.body);
    let facade = hub.admin(Method::POST, &format!("/api/v1/ptw/webhooks/{good}/test/"), None).await;
    assert_eq!(facade.json()["message"], "Test webhook sent successfully");
    assert_eq!(ping(&broken).await.json()["response_code"], 500);
    let calls = hub.arrived("/good", 2).await;
    assert!(String::from_utf8_lossy(&calls[0].body).contains("\"permit_number\":\"PTW-2024-001\""));
    assert_eq!(hub.arrived("/broken", 1).await.len(), 1);
    hub.stop().await;
}

#[tokio::test]
async fn the_trace_goes_from_the_request_to_the_receiver() {
    let hub = Hub::start().await;
    hub.webhook("/traced", "standard", &["a"], json!({})).await;
    let headers = [
        ("x-api-key", hub.admin_key.as_str()),
        ("content-type", "application/json"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    hub.post("/api/v1/events", &headers, b"{\"type\":\"a\",\"data\":1}".to_vec()).await;
    let call = hub.arrived("/traced", 1).await.remove(0);
    let trace = call.header("traceparent").unwrap();
    assert!(
        trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && !trace.contains("00f067aa0ba902b7"),
        "{trace}"
    );
    hub.stop().await;
}
