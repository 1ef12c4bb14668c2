//! The permit system's own API: shapes, words and statuses exactly as documented.

use serde_json::{Value, json};

use crate::hub::{Hub, Tenant, members};

const CREATED: [&str; 7] = ["id", "name", "project", "url", "secret", "enabled", "events"];
const SHOWN: [&str; 12] = [
    "id",
    "name",
    "project",
    "url",
    "enabled",
    "events",
    "created_at",
    "updated_at",
    "last_sent_at",
    "last_status_code",
    "last_error",
    "secret_masked",
];
const LOGGED: [&str; 10] = [
    "id",
    "webhook",
    "webhook_name",
    "event",
    "permit_id",
    "response_code",
    "error",
    "status",
    "sent_at",
    "retry_count",
];

async fn make(hub: &Hub, tenant: &Tenant, name: &str) -> Value {
    let body = json!({
        "name": name, "url": "https://example.com/hook", "secret": "your_secret_key_here", "enabled": true,
        "events": ["permit_approved", "permit_rejected"], "project": 1
    });
    hub.call(&tenant.key, "POST", "/api/v1/ptw/webhooks/", Some(body)).await.expect(201)
}

#[actix_web::test]
async fn a_permit_webhook_has_the_documented_members() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let made = make(&hub, &tenant, "ERP Integration").await;
    assert_eq!(members(&made), CREATED);
    assert_eq!((&made["secret"], &made["project"]), (&json!("your_secret_key_here"), &json!(1)));
    let id = made["id"].as_str().unwrap();
    for path in [format!("/api/v1/ptw/webhooks/{id}/"), format!("/api/v1/ptw/webhooks/{id}")] {
        let shown = hub.call(&tenant.key, "GET", &path, None).await.expect(200);
        assert_eq!(members(&shown), SHOWN);
        assert_eq!(shown["secret_masked"], "********here");
        for (method, body) in [("PATCH", json!({ "name": "new" })), ("PUT", shown.clone())] {
            let changed = hub.call(&tenant.key, method, &path, Some(body)).await.expect(200);
            assert_eq!(members(&changed), SHOWN);
        }
    }
    let path = format!("/api/v1/ptw/webhooks/{id}/");
    let rotated = hub.call(&tenant.key, "PATCH", &path, Some(json!({ "secret": "another one" }))).await;
    assert!(!rotated.text.contains("another one"));
    assert_eq!(rotated.expect(200)["secret_masked"], "******** one");
    let generic = hub.call(&tenant.key, "GET", &format!("/api/v1/webhooks/{id}"), None).await.expect(200);
    assert_eq!(generic["dialect"], "ptw");
    let gone = hub.call(&tenant.key, "DELETE", &format!("/api/v1/ptw/webhooks/{id}/"), None).await;
    assert_eq!((gone.status.as_u16(), gone.text.as_str()), (204, ""));
    let absent = hub.call(&tenant.key, "GET", &format!("/api/v1/ptw/webhooks/{id}/"), None).await.expect(404);
    assert_eq!(absent, json!({ "detail": "Not found." }));
    hub.end().await;
}

#[actix_web::test]
async fn a_list_is_paged_by_number() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let list = async |query: &str| hub.call(&tenant.key, "GET", &format!("/api/v1/ptw/webhooks/{query}"), None).await;
    let empty = list("").await.expect(200);
    assert_eq!(empty, json!({ "count": 0, "next": null, "previous": null, "results": [] }));
    for number in 0..21 {
        make(&hub, &tenant, &format!("hook {number}")).await;
    }
    let other = json!({ "name": "n", "url": "https://example.com/" });
    hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(other)).await.expect(201);

    let first = list("").await.expect(200);
    assert_eq!((&first["count"], first["results"].as_array().unwrap().len()), (&json!(21), 20));
    assert_eq!(first["results"][0]["name"], "hook 20");
    assert_eq!(members(&first["results"][0]), SHOWN);
    assert!(first["next"].as_str().unwrap().ends_with("/api/v1/ptw/webhooks/?page=2"), "{}", first["next"]);
    assert!(first["previous"].is_null());
    let second = list("?page=2").await.expect(200);
    assert_eq!((second["results"].as_array().unwrap().len(), &second["next"]), (1, &Value::Null));
    assert!(second["previous"].as_str().unwrap().ends_with("/api/v1/ptw/webhooks/"));
    for page in ["?page=3", "?page=0", "?page=x"] {
        assert_eq!(list(page).await.expect(404), json!({ "detail": "Invalid page." }));
    }
    hub.end().await;
}

#[actix_web::test]
async fn what_is_wrong_is_said_under_each_field() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let post = async |body| hub.call(&tenant.key, "POST", "/api/v1/ptw/webhooks/", Some(body)).await.expect(400);
    let required = json!(["This field is required."]);
    assert_eq!(post(json!({})).await, json!({ "name": required, "secret": required, "url": required }));
    let bad = json!({
        "name": "n", "url": "http://10.1.1.1/", "secret": " ", "events": ["permit_gone"], "enabled": "yes",
        "project": true, "colour": 1
    });
    let refused = post(bad).await;
    assert_eq!(members(&refused), ["colour", "enabled", "events", "project", "secret", "url"]);
    let events = refused["events"][0].as_str().unwrap();
    assert!(events.contains("permit_gone") && events.contains("permit_created"), "{events}");
    assert!(post(json!([])).await["detail"].as_str().unwrap().starts_with("JSON parse error"));
    hub.end().await;
}

#[actix_web::test]
async fn refusals_have_the_documented_sentences() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let read = hub.key(&tenant, &["read"]).await;
    let path = "/api/v1/ptw/webhooks/";
    let absent = hub.call("", "GET", path, None).await.expect(401);
    assert_eq!(absent, json!({ "detail": "Authentication credentials were not provided." }));
    assert_eq!(members(&hub.call("bad", "GET", path, None).await.expect(401)), ["detail"]);
    let forbidden = hub.call(&read, "POST", path, Some(json!({}))).await.expect(403);
    assert_eq!(forbidden, json!({ "detail": "You do not have permission to perform this action." }));
    hub.call(&read, "GET", path, None).await.expect(200);
    hub.end().await;
}

#[actix_web::test]
async fn the_log_is_a_bare_list_in_the_documented_words() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let body = json!({ "name": "all", "url": "https://example.com/", "secret": "s", "events": ["permit_approved"] });
    let made = hub.call(&tenant.key, "POST", "/api/v1/ptw/webhooks", Some(body)).await.expect(201);
    for _ in 0..51 {
        hub.publish(
            &tenant,
            "permit_approved",
            "P-1",
            r#"{"permit_id":123,"permit_number":"P-1","project_id":null,"data":{}}"#,
        )
        .await;
    }
    let path = format!("/api/v1/ptw/webhooks/{}/deliveries/", made["id"].as_str().unwrap());
    let log = hub.call(&tenant.key, "GET", &path, None).await.expect(200);
    let log = log.as_array().unwrap();
    assert_eq!(log.len(), 50);
    assert_eq!(members(&log[0]), LOGGED);
    assert_eq!(
        (&log[0]["status"], &log[0]["permit_id"], &log[0]["retry_count"]),
        (&json!("queued"), &json!(123), &json!(0))
    );
    assert!(log[0]["sent_at"].as_str() > log[49]["sent_at"].as_str());
    hub.end().await;
}
