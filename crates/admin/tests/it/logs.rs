//! Events and deliveries as people read them.

use std::time::Duration;

use busbar_domain::delivery::{DeadReason, DeliveryState};
use busbar_storage::claims::{self, AttemptRecord, Finished};
use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use crate::hub::Hub;

#[actix_web::test]
async fn an_event_shows_its_payload_and_what_it_owes() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    for name in ["one", "two"] {
        let body = json!({ "name": name, "url": "https://a.com/", "events": ["order.*"] });
        hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await.expect(201);
    }
    let id = hub.publish(&tenant, "order.made", "O-1", r#"{"z":1.50,"a":"ü"}"#).await;
    hub.publish(&tenant, "order.gone", "O-2", "{}").await;
    let shown = hub.call(&tenant.key, "GET", &format!("/api/v1/events/{id}"), None).await;
    assert!(shown.text.contains(r#""data":{"z":1.50,"a":"ü"}"#), "{}", shown.text);
    let shown = shown.expect(200);
    assert_eq!((&shown["type"], &shown["subject"]), (&json!("order.made"), &json!("O-1")));
    assert_eq!(shown["deliveries"].as_array().unwrap().len(), 2);
    assert_eq!(shown["deliveries"][0]["status"], "pending");
    let count = async |query: &str| {
        let path = format!("/api/v1/events?{query}");
        hub.call(&tenant.key, "GET", &path, None).await.expect(200)["data"].as_array().unwrap().len()
    };
    assert_eq!((count("").await, count("type=order.made").await, count("subject=O-2").await), (2, 1, 1));
    assert_eq!(count("type=order.gone&subject=O-1").await, 0);
    hub.end().await;
}

#[actix_web::test]
async fn deliveries_are_found_by_status_webhook_type_and_time() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let mut hooks = Vec::new();
    for name in ["one", "two"] {
        let body = json!({ "name": name, "url": "https://a.com/", "events": ["order.*"] });
        let made = hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await.expect(201);
        hooks.push(made["id"].as_str().unwrap().to_owned());
    }
    let before = hub.clock.now();
    for subject in ["O-1", "O-2", "O-3"] {
        hub.publish(&tenant, "order.made", subject, "{}").await;
    }
    let list = async |query: String| {
        hub.call(&tenant.key, "GET", &format!("/api/v1/deliveries?{query}"), None).await.expect(200)
    };
    let count = async |query: String| list(query).await["data"].as_array().unwrap().len();
    let time = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    assert_eq!(count(String::new()).await, 6);
    assert_eq!(count(format!("webhook={}", hooks[0])).await, 3);
    assert_eq!(count("event_type=order.made".to_owned()).await, 6);
    assert_eq!(count("event_type=order.gone".to_owned()).await, 0);
    assert_eq!((count("status=pending".to_owned()).await, count("status=dead".to_owned()).await), (6, 0));
    assert_eq!(count(format!("since={}", time(before))).await, 6);
    assert_eq!(count(format!("until={}", time(before - TimeDelta::milliseconds(1)))).await, 0);
    hub.call(&tenant.key, "GET", "/api/v1/deliveries?status=queued", None).await.expect(422);

    let mut ids = Vec::new();
    let mut query = "limit=4".to_owned();
    loop {
        let page = list(query).await;
        ids.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=4&cursor={cursor}");
    }
    let mut sorted = ids.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!((ids.len(), &ids), (6, &sorted));
    let own = format!("/api/v1/webhooks/{}/deliveries?limit=2", hooks[1]);
    let own = hub.call(&tenant.key, "GET", &own, None).await.expect(200);
    assert!(own["next_cursor"].is_string());
    assert_eq!(own["data"][0]["webhook_name"], "two");
    hub.end().await;
}

#[actix_web::test]
async fn a_delivery_shows_its_attempts() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let body = json!({ "name": "n", "url": "https://a.com/", "events": ["*"] });
    let hook = hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await.expect(201);
    hub.publish(&tenant, "order.made", "O-1", "{}").await;
    let listed = hub.call(&tenant.key, "GET", "/api/v1/deliveries", None).await.expect(200);
    let id: Uuid = listed["data"][0]["id"].as_str().unwrap().parse().unwrap();
    assert!(listed["data"][0]["next_attempt_at"].is_string());

    let now = hub.clock.now();
    let mut conn = hub.database.pool().acquire().await.unwrap();
    let claimed = claims::claim(&mut conn, &[id], now).await.unwrap();
    let attempt = AttemptRecord {
        number: 1,
        started_at: now,
        duration: Duration::from_micros(12_345),
        status: Some(410),
        error_class: Some("http_status"),
        error: Some("HTTP 410: gone".to_owned()),
        response_body: (&b"g\xffne"[..]).into(),
        ..AttemptRecord::default()
    };
    let state = DeliveryState::Dead { reason: DeadReason::Gone };
    claims::finish(&mut conn, &[Finished { claim: claimed[0].claim, state, attempt: Some(attempt), about: None }], now)
        .await
        .unwrap();
    drop(conn);

    let shown = hub.call(&tenant.key, "GET", &format!("/api/v1/deliveries/{id}"), None).await.expect(200);
    assert_eq!(
        (&shown["status"], &shown["reason"], &shown["response_code"]),
        (&json!("dead"), &json!("gone"), &json!(410))
    );
    let attempt = &shown["attempts"][0];
    assert_eq!((&attempt["number"], &attempt["duration_ms"]), (&json!(1), &json!(12.345)));
    assert_eq!((&attempt["error_class"], &attempt["response_body"]), (&json!("http_status"), &json!("g\u{fffd}ne")));
    let hook = format!("/api/v1/webhooks/{}", hook["id"].as_str().unwrap());
    let hook = hub.call(&tenant.key, "GET", &hook, None).await.expect(200);
    assert_eq!((&hook["last_status_code"], &hook["last_error"]), (&json!(410), &json!("HTTP 410: gone")));
    hub.end().await;
}
