//! Credentials, scopes and the wall between tenants.

use actix_web::test::TestRequest;
use serde_json::json;
use uuid::Uuid;

use crate::hub::Hub;

#[actix_web::test]
async fn without_a_good_credential_everything_is_401() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let invented = "bb_live_0000000000000000_0_00000000";
    for path in ["/api/v1/tenants", "/api/v1/webhooks", "/api/v1/deliveries", "/api/v1/events", "/api/v1/api-keys"] {
        for key in ["", invented, "nonsense"] {
            let answer = hub.call(key, "GET", path, None).await;
            assert_eq!(answer.status.as_u16(), 401, "{path} {key}");
            assert_eq!(answer.body["code"], "UNAUTHORIZED");
        }
    }
    let unread = hub.call("", "POST", "/api/v1/webhooks", Some(json!({ "nonsense": true }))).await;
    assert_eq!(unread.status.as_u16(), 401, "the credential is looked at before the body");
    let bearer =
        TestRequest::with_uri("/api/v1/webhooks").insert_header(("authorization", format!("Bearer {}", tenant.key)));
    hub.send(bearer).await.expect(200);
    hub.end().await;
}

#[actix_web::test]
async fn a_scope_opens_what_it_covers_and_no_more() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let read = hub.key(&tenant, &["read"]).await;
    let publish = hub.key(&tenant, &["publish", "ingest"]).await;
    let hook = json!({ "name": "n", "url": "https://example.com/" });

    hub.call(&read, "GET", "/api/v1/webhooks", None).await.expect(200);
    assert_eq!(hub.call(&read, "POST", "/api/v1/webhooks", Some(hook)).await.expect(403)["code"], "MISSING_SCOPE");
    hub.call(&publish, "GET", "/api/v1/webhooks", None).await.expect(403);
    hub.call(&tenant.key, "GET", "/api/v1/tenants", None).await.expect(403);
    hub.call(&read, "POST", "/api/v1/api-keys", Some(json!({ "name": "n", "scopes": ["read"] }))).await.expect(403);
    hub.end().await;
}

#[actix_web::test]
async fn an_operator_names_its_tenant_and_a_tenant_cannot() {
    let hub = Hub::start().await;
    let (acme, other) = (hub.tenant("Acme").await, hub.tenant("Other").await);
    let hook = json!({ "name": "mine", "url": "https://example.com/" });
    hub.call(&acme.key, "POST", "/api/v1/webhooks", Some(hook)).await.expect(201);

    let unnamed = hub.call(&hub.operator, "GET", "/api/v1/webhooks", None).await;
    assert_eq!(unnamed.expect(400)["code"], "TENANT_REQUIRED");
    let list = |key: &str, tenant: String| {
        TestRequest::with_uri("/api/v1/webhooks")
            .insert_header(("x-api-key", key.to_owned()))
            .insert_header(("x-busbar-tenant", tenant))
    };
    let named = hub.send(list(&hub.operator, acme.id.to_string())).await.expect(200);
    assert_eq!(named["data"].as_array().unwrap().len(), 1);
    hub.send(list(&hub.operator, Uuid::now_v7().to_string())).await.expect(404);
    let ignored = hub.send(list(&other.key, acme.id.to_string())).await.expect(200);
    assert_eq!(ignored["data"].as_array().unwrap().len(), 0);
    hub.end().await;
}

#[actix_web::test]
async fn what_belongs_to_another_tenant_does_not_exist() {
    let hub = Hub::start().await;
    let (acme, other) = (hub.tenant("Acme").await, hub.tenant("Other").await);
    let hook = json!({ "name": "n", "url": "https://example.com/", "dialect": "ptw", "events": ["permit_*"] });
    let hook = hub.call(&acme.key, "POST", "/api/v1/webhooks", Some(hook)).await.expect(201)["id"].clone();
    let link = json!({ "system": "erpops", "name": "n", "config": {} });
    let link = hub.call(&acme.key, "POST", "/api/v1/connectors", Some(link)).await.expect(201)["id"].clone();
    let key = hub.call(&acme.key, "GET", "/api/v1/api-keys", None).await.expect(200)["data"][0]["id"].clone();
    let event = hub.publish(&acme, "permit_approved", "P-1", r#"{"permit_id":1}"#).await.to_string();
    let delivery = hub.call(&acme.key, "GET", "/api/v1/deliveries", None).await.expect(200)["data"][0]["id"].clone();
    let overlap = || Some(json!({ "overlap_seconds": 0 }));
    let name = || Some(json!({ "name": "taken over" }));

    let routes = [
        ("GET", "webhooks/{}", &hook, None),
        ("PATCH", "webhooks/{}", &hook, name()),
        ("PUT", "webhooks/{}", &hook, Some(json!({ "name": "n", "url": "https://example.com/" }))),
        ("DELETE", "webhooks/{}", &hook, None),
        ("POST", "webhooks/{}/rotate-secret", &hook, overlap()),
        ("POST", "webhooks/{}/pause", &hook, None),
        ("POST", "webhooks/{}/resume", &hook, None),
        ("POST", "webhooks/{}/test", &hook, None),
        ("GET", "webhooks/{}/deliveries", &hook, None),
        ("GET", "ptw/webhooks/{}/", &hook, None),
        ("PATCH", "ptw/webhooks/{}/", &hook, name()),
        ("PUT", "ptw/webhooks/{}/", &hook, Some(json!({ "name": "n", "url": "https://example.com/" }))),
        ("DELETE", "ptw/webhooks/{}/", &hook, None),
        ("POST", "ptw/webhooks/{}/test/", &hook, None),
        ("GET", "ptw/webhooks/{}/deliveries/", &hook, None),
        ("GET", "connectors/{}", &link, None),
        ("PATCH", "connectors/{}", &link, name()),
        ("DELETE", "connectors/{}", &link, None),
        ("POST", "connectors/{}/rotate-secret", &link, overlap()),
        ("POST", "api-keys/{}/revoke", &key, None),
        ("POST", "api-keys/{}/rotate", &key, overlap()),
        ("GET", "events/{}", &json!(event), None),
        ("GET", "deliveries/{}", &delivery, None),
    ];
    for (method, route, id, body) in routes {
        let path = |id: &str| format!("/api/v1/{}", route.replace("{}", id));
        let foreign = hub.call(&other.key, method, &path(id.as_str().unwrap()), body.clone()).await;
        let absent = hub.call(&other.key, method, &path(&Uuid::now_v7().to_string()), body.clone()).await;
        assert_eq!(foreign.status.as_u16(), 404, "{method} {route}: {}", foreign.text);
        assert_eq!((foreign.status, foreign.text), (absent.status, absent.text), "{method} {route}");
        hub.call(&other.key, method, &path("no-id"), body).await.expect(404);
    }
    let filtered = format!("/api/v1/deliveries?webhook={}", hook.as_str().unwrap());
    assert_eq!(hub.call(&other.key, "GET", &filtered, None).await.expect(200)["data"], json!([]));
    assert_eq!(hub.call(&acme.key, "GET", &filtered, None).await.expect(200)["data"].as_array().unwrap().len(), 1);
    hub.end().await;
}
