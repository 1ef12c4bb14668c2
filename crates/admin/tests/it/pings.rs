//! Test pings: owed like any delivery, woken at once, answered with their true outcome.

use std::time::Duration;

use busbar_domain::delivery::{DeadReason, DeliveryState};
use busbar_messaging::{Queue, topology};
use busbar_storage::claims::{self, AttemptRecord, Claimed, Finished};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::hub::{Answer, Hub, Tenant, eventually};

/// Plays the delivery service: claims the one pending delivery and ends it.
async fn deliver(hub: &Hub, tenant: &Tenant, status: u16) -> Claimed {
    let id: Uuid = eventually(async || {
        let listed = hub.call(&tenant.key, "GET", "/api/v1/deliveries?status=pending", None).await.expect(200);
        listed["data"][0]["id"].as_str().map(|id| id.parse().unwrap())
    })
    .await;
    let now = hub.clock.now();
    let mut conn = hub.database.pool().acquire().await.unwrap();
    let claimed = claims::claim(&mut conn, &[id], now).await.unwrap().remove(0);
    let good = status == 200;
    let attempt = AttemptRecord {
        number: 1,
        started_at: now,
        duration: Duration::from_millis(3),
        status: Some(status),
        error_class: (!good).then_some("http_status"),
        error: (!good).then(|| format!("HTTP {status}")),
        response_body: bytes::Bytes::new(),
        ..AttemptRecord::default()
    };
    let state = if good {
        DeliveryState::Succeeded { at: now }
    } else {
        DeliveryState::Dead { reason: DeadReason::AttemptsExhausted }
    };
    let done = Finished { claim: claimed.claim, state, attempt: Some(attempt), about: None };
    claims::finish(&mut conn, &[done], now).await.unwrap();
    claimed
}

async fn ping(hub: &Hub, tenant: &Tenant, path: &str, status: u16) -> (Answer, Claimed) {
    tokio::join!(hub.call(&tenant.key, "POST", path, None), deliver(hub, tenant, status))
}

async fn make(hub: &Hub, tenant: &Tenant, dialect: &str) -> String {
    let body = json!({ "name": "n", "url": "https://a.com/", "dialect": dialect, "enabled": false });
    let made = hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn a_test_is_woken_at_once_and_tells_its_outcome() {
    let hub = Hub::start().await;
    hub.apply_topology().await;
    let tenant = hub.tenant("Acme").await;
    let id = make(&hub, &tenant, "standard").await;
    let path = format!("/api/v1/webhooks/{id}/test");

    let (answer, claimed) = ping(&hub, &tenant, &path, 200).await;
    let answer = answer.expect(200);
    assert_eq!((&answer["status"], &answer["response_code"]), (&json!("succeeded"), &json!(200)));
    assert_eq!(answer["delivery_id"].as_str().unwrap(), claimed.claim.delivery.to_string());
    assert!(claimed.test && claimed.payload.starts_with(br#"{"test":true"#));
    eventually(async || {
        let depths = topology::depths(&hub.broker).await.unwrap();
        depths.contains(&(Queue::Deliveries.name(), Some(1))).then_some(())
    })
    .await;

    let (answer, _) = ping(&hub, &tenant, &path, 500).await;
    let answer = answer.expect(200);
    assert_eq!((&answer["status"], &answer["error"]), (&json!("dead"), &json!("HTTP 500")));
    hub.end().await;
}

#[actix_web::test]
async fn a_permit_test_sends_the_documented_sample() {
    let hub = Hub::start().await;
    hub.apply_topology().await;
    let tenant = hub.tenant("Acme").await;
    let id = make(&hub, &tenant, "ptw").await;
    let path = format!("/api/v1/ptw/webhooks/{id}/test/");

    let (answer, claimed) = ping(&hub, &tenant, &path, 200).await;
    let sent = json!({ "message": "Test webhook sent successfully", "status": "success", "response_code": 200 });
    assert_eq!(answer.expect(200), sent);
    assert_eq!(claimed.kind, "webhook_test");
    let payload: Value = serde_json::from_slice(&claimed.payload).unwrap();
    assert_eq!((&payload["permit_id"], &payload["permit_number"]), (&json!(123), &json!("PTW-2024-001")));

    let (answer, _) = ping(&hub, &tenant, &path, 404).await;
    let failed = answer.expect(502);
    assert_eq!(
        (&failed["status"], &failed["response_code"], &failed["error"]),
        (&json!("failed"), &json!(404), &json!("HTTP 404"))
    );
    let log = hub.call(&tenant.key, "GET", &format!("/api/v1/ptw/webhooks/{id}/deliveries/"), None).await.expect(200);
    assert_eq!((&log[0]["status"], &log[1]["status"]), (&json!("failed"), &json!("success")));
    hub.end().await;
}

#[actix_web::test]
async fn a_test_that_does_not_end_is_told_so() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let id = make(&hub, &tenant, "standard").await;
    let answer = hub.call(&tenant.key, "POST", &format!("/api/v1/webhooks/{id}/test"), None).await;
    assert!(answer.text.contains("/api/v1/deliveries/"));
    assert_eq!(answer.expect(504)["code"], "TEST_PENDING");
    hub.end().await;
}
