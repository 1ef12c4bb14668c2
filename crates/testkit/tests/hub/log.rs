//! What people do from the log, through the whole hub: call off what is under way, repeat a call.

use std::time::Duration;

use busbar_domain::secret::Secret;
use busbar_egress::Method;
use busbar_sandbox::{Answer, Step};
use busbar_testkit::hub::{PATIENCE, now};
use busbar_testkit::{Hub, eventually};
use serde_json::{Value, json};

async fn show(hub: &Hub, path: &str) -> Value {
    hub.admin(Method::GET, path, None).await.json()
}

/// Waits until a list has this many rows and answers them.
async fn listed(hub: &Hub, path: &str, count: usize) -> Vec<Value> {
    eventually(path, PATIENCE, || async {
        let rows = show(hub, path).await["data"].as_array().cloned().unwrap_or_default();
        (rows.len() == count).then_some(rows)
    })
    .await
}

#[tokio::test]
async fn an_attempt_under_way_changes_nothing_once_its_delivery_is_called_off() {
    let hub = Hub::start().await;
    let slow = Answer::status(200).after(Duration::from_millis(700));
    hub.receiver().script("/slow", vec![Step::new(slow)]);
    hub.webhook("/slow", "standard", &["a"], json!({})).await;
    let ordered = json!({ "type": "a", "data": 1, "ordering_key": "k" });
    for _ in 0..2 {
        assert_eq!(hub.ingest("/api/v1/events", &ordered).await.status, 202);
    }
    hub.arrived("/slow", 1).await;
    let rows = listed(&hub, "/api/v1/deliveries", 2).await;
    let (second, first) = (rows[0]["id"].as_str().unwrap(), rows[1]["id"].as_str().unwrap());
    assert_eq!((&rows[0]["status"], &rows[0]["reason"]), (&json!("held"), &json!("order")));
    let cancelled = hub.admin(Method::POST, &format!("/api/v1/deliveries/{first}/cancel"), None).await;
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")));
    // The second goes out although the first is not answered yet; its end comes after the first one's answer.
    hub.arrived("/slow", 2).await;
    listed(&hub, "/api/v1/deliveries?status=succeeded", 1).await;
    let shown = show(&hub, &format!("/api/v1/deliveries/{first}")).await;
    assert_eq!((&shown["status"], &shown["attempts"]), (&json!("cancelled"), &json!([])));
    assert_eq!(show(&hub, &format!("/api/v1/deliveries/{second}")).await["status"], "succeeded");
    hub.stop().await;
}

#[tokio::test]
async fn a_repeated_call_is_processed_although_its_first_was() {
    let hub = Hub::start().await;
    let body = json!({ "system": "erpops", "name": "ERP", "config": {} });
    let connector = hub.admin(Method::POST, "/api/v1/connectors", Some(&body)).await.json();
    let (id, secret) = (connector["id"].as_str().unwrap(), connector["secret"].as_str().unwrap());
    hub.webhook("/ops", "standard", &["erpops.*"], json!({})).await;
    let report = json!({
        "connector_id": id, "event_type": "integration.failed", "timestamp": now().to_rfc3339(),
        "severity": "error", "source": "PAYROLL", "message": "failed", "metadata": {},
    });
    let bytes = serde_json::to_vec(&report).unwrap();
    let signature = format!("sha256={}", hex::encode(Secret::parse(secret).unwrap().text_key().sign(&[&bytes])));
    let headers =
        [("content-type", "application/json"), ("x-erpops-connector-id", id), ("x-erpops-signature", &signature)];
    for _ in 0..2 {
        assert_eq!(hub.post("/functions/v1/receive-event", &headers, bytes.clone()).await.status, 202);
    }
    let calls = listed(&hub, "/api/v1/inbound?status=processed", 1).await;
    let call = calls[0]["id"].as_str().unwrap();
    hub.arrived("/ops", 1).await;

    let made = hub.admin(Method::POST, &format!("/api/v1/inbound/{call}/replay"), None).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    let arrived = hub.arrived("/ops", 2).await;
    assert_ne!(arrived[0].header("webhook-id"), arrived[1].header("webhook-id"), "it is a new event");
    listed(&hub, "/api/v1/inbound?status=processed", 2).await;
    listed(&hub, "/api/v1/deliveries?status=succeeded", 2).await;
    let again = show(&hub, &format!("/api/v1/inbound/{}", made.json()["id"].as_str().unwrap())).await;
    assert_eq!((&again["status"], &again["replay_of"]), (&json!("processed"), &json!(call)));
    assert_eq!(again["events"][0]["deliveries"][0]["status"], "succeeded");
    assert_eq!(again["events"][0]["subject"], "PAYROLL");
    let first = show(&hub, &format!("/api/v1/inbound/{call}")).await;
    assert_eq!((&first["replayed_as"], first["events"].as_array().unwrap().len()), (&json!([again["id"]]), 1));
    hub.stop().await;
}
