//! ERPOps calls: the order of checks, rotation, and the events that they become.

use std::collections::HashSet;
use std::time::Duration;

use busbar_domain::secret::Secret;
use busbar_egress::Method;
use busbar_testkit::hub::{PATIENCE, Reply, now};
use busbar_testkit::{Hub, eventually};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

struct Connector {
    id: String,
    secret: String,
}

async fn connector(hub: &Hub) -> Connector {
    let body = json!({ "system": "erpops", "name": "ERP", "config": {} });
    let made = hub.admin(Method::POST, "/api/v1/connectors", Some(&body)).await.json();
    Connector { id: made["id"].as_str().unwrap().into(), secret: made["secret"].as_str().unwrap().into() }
}

fn failed(connector: &str, source: &str) -> Value {
    json!({
        "connector_id": connector, "event_type": "integration.failed", "timestamp": now().to_rfc3339(),
        "severity": "error", "source": source, "message": "EMPLID 1234567 of jane@corp.com at 10.1.2.3",
        "metadata": { "exit_code": 1 },
    })
}

async fn send(hub: &Hub, connector: &Connector, body: &Value) -> Reply {
    let bytes = serde_json::to_vec(body).unwrap();
    let key = Secret::parse(&connector.secret).unwrap().text_key();
    let signature = format!("sha256={}", hex::encode(key.sign(&[&bytes])));
    let headers = [
        ("content-type", "application/json"),
        ("x-erpops-connector-id", connector.id.as_str()),
        ("x-erpops-signature", signature.as_str()),
    ];
    hub.post("/functions/v1/receive-event", &headers, bytes).await
}

#[tokio::test]
async fn a_signed_call_becomes_an_event_that_can_be_subscribed_to() {
    let hub = Hub::start().await;
    let connector = connector(&hub).await;
    let (_, secret) = hub.webhook("/ops", "standard", &["erpops.*"], json!({})).await;
    let reply = send(&hub, &connector, &failed(&connector.id, "PSFT_PAYROLL_BATCH")).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.json()["status"], "accepted");
    assert_eq!(reply.json()["incident_id"], Value::Null);
    let call = hub.arrived("/ops", 1).await.remove(0);
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(body["type"], "erpops.integration.failed");
    assert_eq!(body["data"]["source"], "PSFT_PAYROLL_BATCH");
    let message = body["data"]["message"].as_str().unwrap();
    assert!(!message.contains("1234567") && !message.contains("jane") && !message.contains("10.1"), "{message}");
    let header = |name: &str| call.header(name).unwrap_or_default();
    let (id, sent) = (header("webhook-id"), header("webhook-timestamp"));
    let secret = Secret::parse(&secret).unwrap();
    busbar_domain::dialect::verify_standard(&secret, id, sent, header("webhook-signature"), &call.body, now()).unwrap();
    hub.stop().await;
}

#[tokio::test]
async fn the_checks_come_in_the_order_of_the_page() {
    let hub = Hub::start().await;
    let (own, body) = (connector(&hub).await, b"not json".to_vec());
    let key = Secret::parse(&own.secret).unwrap().text_key();
    let right = format!("sha256={}", hex::encode(key.sign(&[&body])));
    let id = ("x-erpops-connector-id", own.id.as_str());
    let unknown = ("x-erpops-connector-id", "3f0c9a52-6c1e-4c53-9d2f-0b6a7c1d2e4f");
    let (good, bad) = (("x-erpops-signature", right.as_str()), ("x-erpops-signature", &right[7..]));
    let (_, foreign) = hub.another_tenant().await;
    for (headers, status, code) in [
        (vec![], 401, "HEADER_MISSING"),
        (vec![id], 401, "HEADER_MISSING"),
        (vec![good], 401, "HEADER_MISSING"),
        (vec![unknown, good], 403, "CONNECTOR_UNKNOWN"),
        (vec![("x-erpops-connector-id", "YOUR_ID"), good], 403, "CONNECTOR_UNKNOWN"),
        (vec![id, bad], 401, "SIGNATURE_INVALID"),
        (vec![id, good, ("x-api-key", "nonsense")], 401, "UNAUTHORIZED"),
        (vec![id, good, ("x-api-key", foreign.as_str())], 403, "CONNECTOR_UNKNOWN"),
        (vec![id, good], 422, "BODY_INVALID"),
    ] {
        let reply = hub.post("/functions/v1/receive-event", &headers, body.clone()).await;
        assert_eq!((reply.status, reply.json()["code"].as_str()), (status, Some(code)), "{headers:?}");
    }
    for (change, field) in [
        (json!({ "connector_id": null }), "/connector_id"),
        (json!({ "connector_id": "3f0c9a52-6c1e-4c53-9d2f-0b6a7c1d2e4f" }), "/connector_id"),
        (json!({ "timestamp": null }), "/timestamp"),
        (json!({ "timestamp": "yesterday" }), "/timestamp"),
        (json!({ "timestamp": (now() + chrono::TimeDelta::minutes(6)).to_rfc3339() }), "/timestamp"),
        (json!({ "severity": "fatal" }), "/severity"),
    ] {
        let mut body = failed(&own.id, "JOB");
        for (name, value) in change.as_object().unwrap() {
            body[name.as_str()] = value.clone();
        }
        let reply = send(&hub, &own, &body).await;
        assert_eq!(reply.status, 422, "{change}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{change}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_call_that_is_replayed_a_thousand_times_within_five_minutes_is_accepted_once() {
    let hub = Hub::start().await;
    let connector = connector(&hub).await;
    hub.webhook("/ops", "standard", &["erpops.*"], json!({})).await;
    let body = failed(&connector.id, "JOB");
    let calls = (0..1000).map(|_| send(&hub, &connector, &body));
    let replies: Vec<Reply> = futures_util::stream::iter(calls).buffer_unordered(50).collect().await;
    assert!(replies.iter().all(|reply| reply.status == 202));
    let ids: HashSet<String> = replies.iter().map(|reply| reply.json()["event_id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(send(&hub, &connector, &failed(&connector.id, "ANOTHER")).await.status, 202);
    assert_eq!(hub.arrived("/ops", 2).await.len(), 2);
    let events = hub.admin(Method::GET, "/api/v1/events?limit=200", None).await.json();
    assert_eq!(events["data"].as_array().unwrap().len(), 2, "{events}");
    hub.stop().await;
}

#[tokio::test]
async fn a_call_may_come_from_the_future_by_five_minutes_at_most() {
    let hub = Hub::start().await;
    let connector = connector(&hub).await;
    for (ahead, status) in [(-86_400, 202), (0, 202), (290, 202), (310, 422), (86_400, 422), (100_000_000_000, 422)] {
        let mut body = failed(&connector.id, "JOB");
        body["timestamp"] = json!((now() + chrono::TimeDelta::seconds(ahead)).to_rfc3339());
        let reply = send(&hub, &connector, &body).await;
        assert_eq!(reply.status, status, "{ahead}");
        if status == 422 {
            assert_eq!(reply.json()["errors"][0]["field"], "/timestamp", "{ahead}");
        }
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_rotated_secret_counts_within_two_seconds_and_the_old_one_until_the_overlap_ends() {
    let hub = Hub::start().await;
    let old = connector(&hub).await;
    assert_eq!(send(&hub, &old, &failed(&old.id, "A")).await.status, 202);
    let path = format!("/api/v1/connectors/{}/rotate-secret", old.id);
    let rotated = hub.admin(Method::POST, &path, Some(&json!({ "overlap_seconds": 3 }))).await;
    assert_eq!(rotated.status, 200, "{:?}", rotated.body);
    let new = Connector { id: old.id.clone(), secret: rotated.json()["secret"].as_str().unwrap().into() };
    let mut at = 0;
    eventually("the new secret being known", Duration::from_secs(2), || {
        at += 1;
        let (hub, new, body) = (&hub, &new, failed(&old.id, &format!("N{at}")));
        async move { (send(hub, new, &body).await.status == 202).then_some(()) }
    })
    .await;
    assert_eq!(send(&hub, &old, &failed(&old.id, "B")).await.status, 202);
    eventually("the old secret being refused", PATIENCE, || {
        at += 1;
        let (hub, old, body) = (&hub, &old, failed(&old.id, &format!("O{at}")));
        async move { (send(hub, old, &body).await.status == 401).then_some(()) }
    })
    .await;
    hub.stop().await;
}
