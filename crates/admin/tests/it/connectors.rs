//! Connectors: made, listed without secrets, changed, rotated, deleted.

use busbar_domain::id::ConnectorId;
use busbar_storage::access::Connectors;
use busbar_storage::seal::Keyring;
use busbar_storage::snapshot::Changes;
use chrono::TimeDelta;
use serde_json::json;

use crate::hub::Hub;

#[actix_web::test]
async fn a_connector_shows_its_secret_once_and_says_where_it_is_called() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let post = async |body| hub.call(&tenant.key, "POST", "/api/v1/connectors", Some(body)).await;
    let body =
        json!({ "system": "erpops", "name": "ERP", "config": { "b": 1.50, "a": [1] }, "secret": "my own secret" });
    let erpops = post(body).await.expect(201);
    assert_eq!(erpops["inbound_url"], "https://in.example/functions/v1/receive-event");
    assert_eq!(erpops["secret"], "my own secret");
    let ptw = post(json!({ "system": "ptw", "name": "Permits", "config": {} })).await.expect(201);
    assert_eq!(ptw["inbound_url"], "https://in.example/api/v1/ptw/events");
    let generated = ptw["secret"].as_str().unwrap();
    assert!(generated.starts_with("whsec_"));

    let listed = hub.call(&tenant.key, "GET", "/api/v1/connectors", None).await;
    assert!(!listed.text.contains("my own secret") && !listed.text.contains(generated));
    assert!(listed.text.contains(r#""config":{"b":1.5,"a":[1]}"#), "{}", listed.text);
    let path = format!("/api/v1/connectors/{}", erpops["id"].as_str().unwrap());
    let changed = hub.call(&tenant.key, "PATCH", &path, Some(json!({ "name": "New", "config": {} }))).await.expect(200);
    assert_eq!((&changed["name"], &changed["config"]), (&json!("New"), &json!({})));
    assert_eq!(hub.call(&tenant.key, "DELETE", &path, None).await.status.as_u16(), 204);
    hub.call(&tenant.key, "GET", &path, None).await.expect(404);
    hub.end().await;
}

#[actix_web::test]
async fn what_is_wrong_with_a_connector_is_said() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let post = async |body| hub.call(&tenant.key, "POST", "/api/v1/connectors", Some(body)).await;
    let answer = post(json!({ "system": "sap", "name": "", "config": [], "secret": "  " })).await;
    assert!(answer.text.contains("ptw, erpops"), "{}", answer.text);
    let codes: Vec<_> = answer.faults().into_iter().map(|(_, code)| code).collect();
    assert_eq!(codes, ["UNKNOWN_SYSTEM", "BLANK", "INVALID_FIELD", "INVALID_SECRET"]);
    answer.expect(422);
    post(json!({ "system": "ptw", "name": "n", "config": {}, "tenant_id": 1 })).await.expect(400);
    hub.end().await;
}

#[actix_web::test]
async fn both_secrets_count_until_the_overlap_ends() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let body = json!({ "system": "erpops", "name": "n", "config": {} });
    let made = hub.call(&tenant.key, "POST", "/api/v1/connectors", Some(body)).await.expect(201);
    let id = made["id"].as_str().unwrap();
    let path = format!("/api/v1/connectors/{id}/rotate-secret");
    let rotated = hub.call(&tenant.key, "POST", &path, Some(json!({ "overlap_seconds": 60 }))).await.expect(200);
    assert_ne!(rotated["secret"], made["secret"]);
    let known = Connectors::new(hub.database.clone(), Changes::default());
    let connector = known.find(id.parse::<ConnectorId>().unwrap()).await.unwrap().unwrap();
    let now = hub.clock.now();
    assert_eq!(connector.keys(now).count(), 2);
    assert_eq!(connector.keys(now + TimeDelta::seconds(61)).count(), 1);
    let again = hub.call(&tenant.key, "POST", &path, Some(json!({ "overlap_seconds": 60 }))).await.expect(409);
    assert_eq!(again["code"], "ROTATION_UNDER_WAY");
    let ended = hub.call(&tenant.key, "POST", &path, Some(json!({ "overlap_seconds": 0 }))).await.expect(200);
    assert!(ended["old_secret_until"].is_null());
    hub.end().await;
}

#[actix_web::test]
async fn without_a_master_key_no_secret_is_taken() {
    let hub = Hub::start_with(&[], Keyring::empty()).await;
    let tenant = hub.tenant("Acme").await;
    let body = json!({ "system": "erpops", "name": "n", "config": {} });
    let answer = hub.call(&tenant.key, "POST", "/api/v1/connectors", Some(body)).await;
    assert!(answer.text.contains("BUSBAR_SECRETS__MASTER_KEY"));
    assert_eq!(answer.expect(503)["code"], "MASTER_KEY_MISSING");
    hub.end().await;
}
