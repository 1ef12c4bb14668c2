//! `Idempotency-Key`: a repeat gets the first answer, secrets included, and nothing is done twice.

use actix_web::test::TestRequest;
use busbar_storage::seal::Keyring;
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::hub::{Answer, Hub};

async fn post(hub: &Hub, key: &str, path: &str, name: &str, body: &Value) -> Answer {
    let request = TestRequest::post()
        .uri(path)
        .insert_header(("x-api-key", key.to_owned()))
        .insert_header(("idempotency-key", name.to_owned()))
        .set_json(body);
    hub.send(request).await
}

#[actix_web::test]
async fn a_repeat_is_answered_like_the_first() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let bodies = [
        ("/api/v1/webhooks", json!({ "name": "n", "url": "https://a.com/" })),
        ("/api/v1/connectors", json!({ "system": "erpops", "name": "n", "config": {} })),
        ("/api/v1/api-keys", json!({ "name": "n", "scopes": ["read"] })),
        ("/api/v1/ptw/webhooks/", json!({ "name": "n", "url": "https://a.com/", "secret": "s" })),
    ];
    for (path, body) in bodies {
        let first = post(&hub, &tenant.key, path, "k-1", &body).await;
        let again = post(&hub, &tenant.key, path, "\"k-1\"", &body).await;
        assert_eq!(
            (first.status.as_u16(), first.replayed, again.replayed),
            (201, false, true),
            "{path}: {}",
            first.text
        );
        assert_eq!((first.status, &first.text), (again.status, &again.text));
        let other = post(&hub, &tenant.key, path, "k-2", &body).await;
        assert_ne!(other.expect(201)["id"], first.body["id"]);
        let reused = post(&hub, &tenant.key, path, "k-1", &json!({ "name": "another" })).await;
        assert_eq!(reused.status.as_u16(), 409, "{path}");
    }
    let plan = json!({ "name": "n", "plan": "free" });
    let first = post(&hub, &hub.operator, "/api/v1/tenants", "k-1", &plan).await.expect(201);
    assert_eq!(post(&hub, &hub.operator, "/api/v1/tenants", "k-1", &plan).await.expect(201), first);
    hub.end().await;
}

#[actix_web::test]
async fn a_key_is_one_tenants_and_ends_after_a_day() {
    let hub = Hub::start().await;
    let (acme, other) = (hub.tenant("Acme").await, hub.tenant("Other").await);
    let reader = hub.key(&acme, &["read"]).await;
    let body = json!({ "name": "n", "url": "https://a.com/" });
    let path = "/api/v1/webhooks";
    let first = post(&hub, &acme.key, path, "k", &body).await.expect(201);
    assert_ne!(post(&hub, &other.key, path, "k", &body).await.expect(201)["id"], first["id"]);
    post(&hub, &reader, path, "k", &body).await.expect(403);
    post(&hub, "nonsense", path, "k", &body).await.expect(401);
    post(&hub, &acme.key, path, "not visible", &body).await.expect(400);
    hub.clock.advance(TimeDelta::hours(25));
    assert_ne!(post(&hub, &acme.key, path, "k", &body).await.expect(201)["id"], first["id"]);
    hub.end().await;
}

#[actix_web::test]
async fn what_could_not_be_done_may_be_tried_again() {
    let hub = Hub::start_with(&[], Keyring::empty()).await;
    let tenant = hub.tenant("Acme").await;
    let body = json!({ "name": "n", "url": "https://a.com/" });
    for _ in 0..2 {
        let answer = post(&hub, &tenant.key, "/api/v1/webhooks", "k", &body).await;
        assert_eq!((answer.status.as_u16(), answer.replayed), (503, false));
    }
    hub.end().await;
}
