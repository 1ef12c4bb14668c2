//! One delivery by hand: its replay and its cancellation over the API, and what its attempts show.

use std::time::Duration;

use actix_web::test::TestRequest;
use busbar_domain::delivery::{DeadReason, DeliveryState};
use busbar_domain::trace::TraceContext;
use busbar_messaging::{Queue, topology};
use busbar_storage::audit;
use busbar_storage::claims::{self, AttemptRecord, Finished};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::hub::{Hub, Tenant, eventually};

/// A tenant with one webhook and one delivery to it.
async fn owed(hub: &Hub) -> (Tenant, String, Uuid) {
    let tenant = hub.tenant("Acme").await;
    let body = json!({ "name": "n", "url": "https://a.com/", "events": ["*"] });
    let hook = hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await.expect(201);
    hub.publish_with(&tenant, "order.made", |event| event.trace = TraceContext::root()).await;
    let listed = hub.call(&tenant.key, "GET", "/api/v1/deliveries", None).await.expect(200);
    let id = listed["data"][0]["id"].as_str().unwrap().parse().unwrap();
    (tenant, hook["id"].as_str().unwrap().to_owned(), id)
}

/// Plays the delivery service.
async fn die(hub: &Hub, id: Uuid, attempt: AttemptRecord) {
    let now = hub.clock.now();
    let mut conn = hub.database.acquire().await.unwrap();
    let claimed = claims::claim(&mut conn, &[id], now).await.unwrap().remove(0);
    let state = DeliveryState::Dead { reason: DeadReason::AttemptsExhausted };
    let attempt = Some(AttemptRecord { number: 1, started_at: now, ..attempt });
    let done = Finished { claim: claimed.claim, state, attempt, about: None };
    assert_eq!(claims::finish(&mut conn, &[done], now).await.unwrap(), [id]);
}

async fn post(hub: &Hub, key: &str, id: Uuid, action: &str) -> crate::hub::Answer {
    hub.call(key, "POST", &format!("/api/v1/deliveries/{id}/{action}"), None).await
}

#[actix_web::test]
async fn a_replay_is_a_new_delivery_of_the_same_message() {
    let hub = Hub::start().await;
    hub.apply_topology().await;
    let (tenant, hook, id) = owed(&hub).await;
    assert_eq!(post(&hub, &tenant.key, id, "replay").await.expect(409)["code"], "DELIVERY_OPEN");
    die(&hub, id, AttemptRecord::default()).await;

    let request = || {
        TestRequest::post()
            .uri(&format!("/api/v1/deliveries/{id}/replay"))
            .insert_header(("x-api-key", tenant.key.clone()))
            .insert_header(("idempotency-key", "once"))
    };
    let first = hub.send(request()).await;
    let again = hub.send(request()).await;
    assert_eq!((first.replayed, again.replayed), (false, true));
    let made = first.expect(201);
    assert_eq!(again.expect(201), made);
    assert_eq!((&made["replay_of"], &made["status"]), (&json!(id), &json!("pending")));
    eventually(async || {
        let depths = topology::depths(&hub.broker).await.unwrap();
        depths.contains(&(Queue::Deliveries.name(), Some(1))).then_some(())
    })
    .await;

    let path = format!("/api/v1/deliveries/{}", made["id"].as_str().unwrap());
    let shown = hub.call(&tenant.key, "GET", &path, None).await.expect(200);
    assert_eq!((&shown["replay_of"], &shown["message_id"]), (&json!(id), &json!(id)));
    assert!(shown["next_attempt_at"].is_string() && shown.get("rank").is_none());
    let other = post(&hub, &tenant.key, id, "replay").await.expect(201);
    assert_ne!(other["id"], made["id"], "without the key it is another one");

    hub.call(&tenant.key, "DELETE", &format!("/api/v1/webhooks/{hook}"), None).await.expect(204);
    assert_eq!(post(&hub, &tenant.key, id, "replay").await.expect(409)["code"], "WEBHOOK_DELETED");
    hub.end().await;
}

#[actix_web::test]
async fn a_delivery_is_called_off_once_and_by_its_owner_only() {
    let hub = Hub::start().await;
    let (tenant, _, id) = owed(&hub).await;
    let (stranger, reader) = (hub.tenant("Other").await, hub.key(&tenant, &["read"]).await);
    for action in ["cancel", "replay"] {
        post(&hub, &stranger.key, id, action).await.expect(404);
        post(&hub, &tenant.key, Uuid::max(), action).await.expect(404);
        post(&hub, &reader, id, action).await.expect(403);
        post(&hub, "", id, action).await.expect(401);
    }
    let shown = post(&hub, &tenant.key, id, "cancel").await.expect(200);
    assert_eq!((&shown["status"], &shown["reason"]), (&json!("cancelled"), &json!("cancelled_by_owner")));
    assert_eq!(shown["next_attempt_at"], Value::Null);
    assert_eq!(post(&hub, &tenant.key, id, "cancel").await.expect(409)["code"], "DELIVERY_ENDED");
    let listed = hub.call(&tenant.key, "GET", "/api/v1/deliveries?status=cancelled", None).await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);

    let mut conn = hub.database.acquire().await.unwrap();
    let acts = audit::list(&mut conn, Some(tenant.id), Uuid::max(), 10).await.unwrap();
    assert_eq!((acts.len(), acts[0].action.as_str(), acts[0].object_id), (1, "delivery.cancelled", id));
    assert!(!acts[0].actor.is_nil(), "it tells which key");
    drop(conn);
    hub.end().await;
}

#[actix_web::test]
async fn an_attempt_shows_what_was_sent_and_what_came_back() {
    let hub = Hub::start().await;
    let (tenant, _, id) = owed(&hub).await;
    let micros = |count| Some(Duration::from_micros(count));
    let attempt = AttemptRecord {
        duration: Duration::from_micros(12_345),
        status: Some(503),
        error_class: Some("http_status"),
        error: Some("HTTP 503".to_owned()),
        response_body: (&b"\xff\xfe\x00"[..]).into(),
        request_headers: "x-tenant: ***\nwebhook-id: abc\n".into(),
        response_headers: "retry-after: 7\n".into(),
        address: Some("192.0.2.1:443".parse().unwrap()),
        dns: None,
        connect: micros(700),
        tls: micros(1500),
        first_byte: micros(12_000),
        ..AttemptRecord::default()
    };
    die(&hub, id, attempt).await;
    let shown = hub.call(&tenant.key, "GET", &format!("/api/v1/deliveries/{id}"), None).await.expect(200);
    assert_eq!((&shown["event_type"], &shown["subject"]), (&json!("order.made"), &Value::Null));
    assert_eq!(shown["trace_id"].as_str().unwrap().len(), 32);
    let attempt = &shown["attempts"][0];
    assert_eq!(
        attempt["request_headers"],
        json!([{ "name": "x-tenant", "value": "***" }, { "name": "webhook-id", "value": "abc" }])
    );
    assert_eq!(attempt["response_headers"], json!([{ "name": "retry-after", "value": "7" }]));
    assert_eq!((&attempt["status"], &attempt["address"]), (&json!(503), &json!("192.0.2.1:443")));
    assert_eq!(attempt["response_body_base64"], "//4A");
    let timings = json!({ "dns": null, "connect": 0.7, "tls": 1.5, "first_byte": 12.0, "total": 12.345 });
    assert_eq!((&attempt["timings_ms"], &attempt["duration_ms"]), (&timings, &json!(12.345)));
    assert_eq!((&attempt["error_class"], &attempt["error"]), (&json!("http_status"), &json!("HTTP 503")));
    hub.end().await;
}
