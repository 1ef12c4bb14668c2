//! Those who call the hub: connectors and API keys keep their old credential until the overlap ends, and no longer.

use busbar_domain::Timestamp;
use busbar_domain::secret::Secret;
use busbar_egress::Method;
use busbar_testkit::Hub;
use busbar_testkit::hub::now;
use chrono::{DateTime, TimeDelta};
use serde_json::{Value, json};

/// How one call was answered.
#[derive(Debug)]
struct Answer {
    by_new: bool,
    sent: Timestamp,
    answered: Timestamp,
    status: u16,
}

/// How long a process may take to hear of a change.
fn heard() -> TimeDelta {
    TimeDelta::seconds(2)
}

/// How far the clocks of the hub and of this test may be apart.
fn apart() -> TimeDelta {
    TimeDelta::milliseconds(200)
}

/// Calls with the old and the new credential in turn, without a pause, until `end`.
async fn call_until(end: Timestamp, call: impl AsyncFn(bool) -> u16) -> Vec<Answer> {
    let mut answers = Vec::new();
    while now() < end {
        for by_new in [false, true] {
            let sent = now();
            let status = call(by_new).await;
            answers.push(Answer { by_new, sent, answered: now(), status });
        }
    }
    answers
}

/// Holds the answers against the rotation that was asked for at `asked` and whose overlap ends at `until`.
fn judge(answers: &[Answer], asked: Timestamp, until: Timestamp) {
    let of = |by_new: bool| answers.iter().filter(move |answer| answer.by_new == by_new);
    let in_time: Vec<_> = of(false).filter(|answer| answer.answered < until - apart()).collect();
    assert!(in_time.iter().all(|answer| answer.status == 202), "the old one was refused too early: {in_time:?}");
    let late: Vec<_> = of(false).filter(|answer| answer.sent > (until + apart()).max(asked + heard())).collect();
    assert!(!late.is_empty() && late.iter().all(|answer| answer.status == 401), "the old one is taken: {late:?}");
    let new: Vec<_> = of(true).filter(|answer| answer.sent > asked + heard()).collect();
    assert!(!new.is_empty() && new.iter().all(|answer| answer.status == 202), "the new one is refused: {new:?}");
    eprintln!(
        "{} calls; old ones in time {}, too late {}, new ones {}",
        answers.len(),
        in_time.len(),
        late.len(),
        new.len()
    );
}

/// When the overlap ends that an answer tells of.
fn until_of(reply: &Value) -> Option<Timestamp> {
    let text = reply["old_secret_until"].as_str()?;
    Some(DateTime::parse_from_rfc3339(text).unwrap().to_utc())
}

/// When an API key ends.
async fn end_of(hub: &Hub, id: &str) -> Timestamp {
    let listed = hub.admin(Method::GET, "/api/v1/api-keys", None).await.json();
    let key = listed["data"].as_array().unwrap().iter().find(|key| key["id"] == id).unwrap();
    DateTime::parse_from_rfc3339(key["expires_at"].as_str().unwrap()).unwrap().to_utc()
}

async fn send(hub: &Hub, connector: &str, secret: &str) -> u16 {
    let body = json!({
        "connector_id": connector, "event_type": "integration.failed", "timestamp": now().to_rfc3339(),
        "severity": "error", "source": fastrand::u64(..).to_string(), "message": "It failed.", "metadata": {},
    });
    let bytes = serde_json::to_vec(&body).unwrap();
    let code = Secret::parse(secret).unwrap().text_key().sign(&[&bytes]);
    let signature = format!("sha256={}", hex::encode(code));
    let headers = [
        ("content-type", "application/json"),
        ("x-erpops-connector-id", connector),
        ("x-erpops-signature", signature.as_str()),
    ];
    hub.post("/functions/v1/receive-event", &headers, bytes).await.status
}

#[tokio::test]
async fn a_connector_takes_both_secrets_until_the_overlap_ends_and_then_the_new_one_alone() {
    let hub = Hub::start().await;
    let body = json!({ "system": "erpops", "name": "ERP", "config": {} });
    let made = hub.admin(Method::POST, "/api/v1/connectors", Some(&body)).await.json();
    let id = made["id"].as_str().unwrap().to_owned();
    let mut secret = made["secret"].as_str().unwrap().to_owned();
    assert_eq!(send(&hub, &id, &secret).await, 202);
    for overlap_seconds in [4, 0] {
        let (asked, url) = (now(), format!("/api/v1/connectors/{id}/rotate-secret"));
        let reply = hub.admin(Method::POST, &url, Some(&json!({ "overlap_seconds": overlap_seconds }))).await.json();
        let new = reply["secret"].as_str().unwrap().to_owned();
        let until = until_of(&reply).unwrap_or(asked);
        let end = until.max(asked + heard()) + TimeDelta::seconds(1);
        let answers = call_until(end, async |by_new| send(&hub, &id, if by_new { &new } else { &secret }).await).await;
        judge(&answers, asked, until);
        secret = new;
    }
    hub.stop().await;
}

#[tokio::test]
async fn an_api_key_is_taken_until_its_overlap_ends_and_the_new_one_from_the_beginning() {
    let hub = Hub::start().await;
    let body = json!({ "name": "producer", "scopes": ["publish"] });
    let mut made = hub.admin(Method::POST, "/api/v1/api-keys", Some(&body)).await.json();
    let publish = async |key: &str| {
        let headers = [("x-api-key", key), ("content-type", "application/json")];
        hub.post("/api/v1/events", &headers, br#"{"type":"a","data":1}"#.to_vec()).await.status
    };
    for overlap_seconds in [4, 0] {
        let old = made["key"].as_str().unwrap().to_owned();
        assert_eq!(publish(&old).await, 202);
        let id = made["id"].as_str().unwrap().to_owned();
        let (asked, url) = (now(), format!("/api/v1/api-keys/{id}/rotate"));
        let reply = hub.admin(Method::POST, &url, Some(&json!({ "overlap_seconds": overlap_seconds }))).await;
        assert_eq!(reply.status, 201, "{:?}", reply.body);
        made = reply.json();
        let new = made["key"].as_str().unwrap();
        assert_eq!(publish(new).await, 202, "a new key need not be heard of");
        let until = end_of(&hub, &id).await;
        let end = until.max(asked + heard()) + TimeDelta::seconds(1);
        let answers = call_until(end, async |by_new| publish(if by_new { new } else { &old }).await).await;
        judge(&answers, asked, until);
    }
    hub.stop().await;
}
