//! API keys: shown once, scoped, revoked, rotated.

use chrono::TimeDelta;
use serde_json::json;

use crate::hub::{Hub, eventually};

#[actix_web::test]
async fn a_key_shows_once() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let body = json!({ "name": "reader", "scopes": ["read", "read"] });
    let made = hub.call(&tenant.key, "POST", "/api/v1/api-keys", Some(body)).await.expect(201);
    let key = made["key"].as_str().unwrap();
    assert_eq!(made["scopes"], json!(["read"]));
    assert!(key.contains(made["key_id"].as_str().unwrap()));
    let listed = hub.call(key, "GET", "/api/v1/api-keys", None).await;
    let secret = key.split('_').nth(3).unwrap();
    assert!(!listed.text.contains(secret) && !listed.text.contains("hash"), "{}", listed.text);
    assert_eq!(listed.expect(200)["data"].as_array().unwrap().len(), 2);
    hub.end().await;
}

#[actix_web::test]
async fn a_key_gets_no_scope_that_a_tenant_does_not_have() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let post = async |body| hub.call(&tenant.key, "POST", "/api/v1/api-keys", Some(body)).await;
    let answer = post(json!({ "name": "n", "scopes": ["operator"] })).await;
    assert_eq!(answer.expect(403)["code"], "SCOPE_NOT_GRANTABLE");
    let answer = post(json!({ "name": "n", "scopes": ["read", "root"] })).await;
    assert_eq!(answer.faults(), [("/scopes/1".into(), "UNKNOWN_SCOPE".into())]);
    post(json!({ "name": "n", "scopes": [] })).await.expect(422);
    post(json!({ "name": "n", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z" })).await.expect(422);
    post(json!({ "name": "n", "scopes": ["read"], "tenant_id": "x" })).await.expect(400);
    hub.end().await;
}

#[actix_web::test]
async fn a_revoked_key_is_refused() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let body = json!({ "name": "reader", "scopes": ["read"] });
    let made = hub.call(&tenant.key, "POST", "/api/v1/api-keys", Some(body)).await.expect(201);
    let path = format!("/api/v1/api-keys/{}/revoke", made["id"].as_str().unwrap());
    assert!(hub.call(&tenant.key, "POST", &path, None).await.expect(200)["revoked_at"].is_string());
    let key = made["key"].as_str().unwrap();
    hub.call(key, "GET", "/api/v1/webhooks", None).await.expect(401);
    let path = format!("/api/v1/api-keys/{}/rotate", made["id"].as_str().unwrap());
    hub.call(&tenant.key, "POST", &path, Some(json!({ "overlap_seconds": 5 }))).await.expect(409);
    hub.end().await;
}

#[actix_web::test]
async fn a_rotated_key_ends_after_the_overlap() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let body = json!({ "name": "reader", "scopes": ["read"] });
    let old = hub.call(&tenant.key, "POST", "/api/v1/api-keys", Some(body)).await.expect(201);
    let path = format!("/api/v1/api-keys/{}/rotate", old["id"].as_str().unwrap());
    let new = hub.call(&tenant.key, "POST", &path, Some(json!({ "overlap_seconds": 60 }))).await.expect(201);
    assert_ne!(new["id"], old["id"]);
    assert_eq!((&new["name"], &new["scopes"]), (&json!("reader"), &json!(["read"])));
    let reads = async |key: &serde_json::Value| {
        hub.call(key["key"].as_str().unwrap(), "GET", "/api/v1/webhooks", None).await.status.as_u16()
    };
    assert_eq!((reads(&old).await, reads(&new).await), (200, 200));
    hub.clock.advance(TimeDelta::seconds(61));
    eventually(async || (reads(&old).await == 401).then_some(())).await;
    assert_eq!(reads(&new).await, 200);
    hub.call(&tenant.key, "POST", &path, Some(json!({ "overlap_seconds": 9_999_999 }))).await.expect(422);
    hub.end().await;
}
