//! Webhooks: made, listed without secrets, vetted, changed, paused, rotated, deleted.

use busbar_domain::id::WebhookId;
use busbar_storage::access::{Endpoints, Plans};
use busbar_storage::snapshot::Changes;
use serde_json::{Value, json};

use crate::hub::{Hub, Tenant};

async fn make(hub: &Hub, tenant: &Tenant, body: Value) -> Value {
    hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await.expect(201)
}

fn path(webhook: &Value) -> String {
    format!("/api/v1/webhooks/{}", webhook["id"].as_str().unwrap())
}

#[actix_web::test]
async fn a_webhook_shows_its_secret_once() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let body = json!({
        "name": "ERP", "url": "http://127.0.0.1:8090/hook", "events": ["workorder.*"], "dialect": "standard", "project": 5,
        "timeout_ms": 2000, "retry": { "max_attempts": 3 }, "max_in_flight": 4, "enabled": true
    });
    let made = make(&hub, &tenant, body).await;
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"));
    assert_eq!(made["retry"], json!({ "max_attempts": 3, "first_ms": 5000, "factor": 4, "max_ms": 21_600_000 }));
    assert_eq!((&made["project"], &made["status"], &made["enabled"]), (&json!(5), &json!("active"), &json!(true)));
    for url in ["/api/v1/webhooks".to_owned(), path(&made)] {
        let shown = hub.call(&tenant.key, "GET", &url, None).await;
        assert!(!shown.text.contains(secret) && !shown.text.contains("\"secret\""), "{}", shown.text);
    }
    let id: WebhookId = made["id"].as_str().unwrap().parse().unwrap();
    let known = Endpoints::new(hub.database.clone(), Changes::default()).of([id]).await.unwrap();
    assert_eq!(known.endpoints[&id].webhook.secret.expose(), secret, "what is stored opens where it is used");
    hub.end().await;
}

#[actix_web::test]
async fn a_url_that_may_not_be_called_is_refused_with_the_reason() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let urls = [
        ("http://10.0.0.1/", "ADDRESS_FORBIDDEN"),
        ("http://169.254.169.254/latest", "ADDRESS_FORBIDDEN"),
        ("ftp://example.com/", "SCHEME_NOT_ALLOWED"),
        ("https://user:pw@example.com/", "USERINFO_NOT_ALLOWED"),
        ("nonsense", "URL_INVALID"),
    ];
    let good = make(&hub, &tenant, json!({ "name": "n", "url": "https://example.com/" })).await;
    for (url, code) in urls {
        let body = json!({ "name": "n", "url": url });
        let created = hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await;
        assert_eq!(created.faults(), [("/url".to_owned(), code.to_owned())]);
        created.expect(422);
        let changed = hub.call(&tenant.key, "PATCH", &path(&good), Some(json!({ "url": url }))).await;
        assert_eq!(changed.faults(), [("/url".to_owned(), code.to_owned())]);
    }
    hub.end().await;
}

#[actix_web::test]
async fn all_that_is_wrong_is_said_at_once() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let post = async |body| hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await;
    let answer = post(json!({
        "url": "x:", "events": ["a b"], "timeout_ms": 10, "retry": { "factor": 99 }, "max_in_flight": 0, "secret": "",
        "rate_limit": 0, "filter": "1 +", "headers": { "host": "x" }
    }))
    .await;
    let pointers: Vec<_> = answer.faults().into_iter().map(|(pointer, _)| pointer).collect();
    let first = ["/secret", "/name", "/url", "/events/0", "/timeout_ms", "/retry/factor", "/max_in_flight"];
    assert_eq!(pointers, [&first[..], &["/rate_limit", "/filter", "/headers/host"]].concat());
    answer.expect(422);
    let permit =
        post(json!({ "name": "n", "url": "https://a.com/", "dialect": "ptw", "events": ["permit_gone", "order.*"] }))
            .await;
    assert!(permit.text.contains("escalation_triggered"), "the known events are listed");
    assert_eq!(permit.faults().len(), 2);
    assert_eq!(post(json!({ "name": "n", "url": "https://a.com/", "dialect": "smoke" })).await.faults().len(), 1);
    for unknown in ["id", "tenant_id", "status", "header_names", "created_at"] {
        let body = json!({ "name": "n", "url": "https://a.com/", unknown: {} });
        assert_eq!(post(body).await.expect(400)["code"], "UNKNOWN_FIELD", "{unknown}");
    }
    let raw = actix_web::test::TestRequest::post()
        .uri("/api/v1/webhooks")
        .insert_header(("x-api-key", tenant.key.clone()))
        .insert_header(("content-type", "application/json"))
        .set_payload("{");
    assert_eq!(hub.send(raw).await.expect(400)["code"], "INVALID_JSON");
    hub.end().await;
}

#[actix_web::test]
async fn a_change_touches_what_is_given_and_a_replacement_everything() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let body = json!({ "name": "n", "url": "https://a.com/", "events": ["permit_active"], "dialect": "ptw", "project": "5", "timeout_ms": 2000 });
    let made = make(&hub, &tenant, body).await;
    assert_eq!(made["events"], json!(["permit_activated"]));
    let call = async |method, body| hub.call(&tenant.key, method, &path(&made), Some(body)).await.expect(200);
    let changed = call("PATCH", json!({ "name": "m" })).await;
    assert_eq!((&changed["name"], &changed["project"], &changed["timeout_ms"]), (&json!("m"), &json!(5), &json!(2000)));
    assert!(call("PATCH", json!({ "project": null })).await["project"].is_null());
    let replaced = call("PUT", json!({ "name": "r", "url": "https://b.com/" })).await;
    assert_eq!(
        (&replaced["events"], &replaced["timeout_ms"], &replaced["dialect"]),
        (&json!([]), &json!(10_000), &json!("ptw"))
    );
    hub.call(&tenant.key, "PUT", &path(&made), Some(json!({ "name": "r" }))).await.expect(422);
    hub.end().await;
}

#[actix_web::test]
async fn the_status_follows_its_owner() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let made = make(&hub, &tenant, json!({ "name": "n", "url": "https://a.com/", "enabled": false })).await;
    let post = async |action: &str| hub.call(&tenant.key, "POST", &format!("{}/{action}", path(&made)), None).await;
    assert_eq!(made["status"], "disabled");
    post("pause").await.expect(409);
    assert_eq!(post("resume").await.expect(200)["status"], "active");
    assert_eq!(post("pause").await.expect(200)["status"], "paused");
    let enabled = hub.call(&tenant.key, "PATCH", &path(&made), Some(json!({ "enabled": true }))).await.expect(200);
    assert_eq!(enabled["status"], "paused", "what its owner paused stays paused");
    hub.end().await;
}

#[actix_web::test]
async fn a_rotation_keeps_the_old_secret_for_the_overlap() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let made = make(&hub, &tenant, json!({ "name": "n", "url": "https://a.com/" })).await;
    let rotate = format!("{}/rotate-secret", path(&made));
    let rotated = hub.call(&tenant.key, "POST", &rotate, Some(json!({ "overlap_seconds": 60 }))).await.expect(200);
    let id: WebhookId = made["id"].as_str().unwrap().parse().unwrap();
    let endpoint = async || {
        let mut known = Endpoints::new(hub.database.clone(), Changes::default()).of([id]).await.unwrap();
        known.endpoints.remove(&id).unwrap()
    };
    let webhook = &endpoint().await.webhook;
    assert_eq!(webhook.secret.expose(), rotated["secret"].as_str().unwrap());
    assert_eq!(webhook.old_secret.as_ref().unwrap().expose(), made["secret"].as_str().unwrap());
    let again = hub.call(&tenant.key, "POST", &rotate, Some(json!({ "overlap_seconds": 60 }))).await.expect(409);
    assert_eq!(again["code"], "ROTATION_UNDER_WAY");
    let webhook = &endpoint().await.webhook;
    assert_eq!(webhook.secret.expose(), rotated["secret"].as_str().unwrap(), "nothing has changed");
    hub.call(&tenant.key, "PATCH", &path(&made), Some(json!({ "secret": "chosen" }))).await.expect(200);
    let webhook = &endpoint().await.webhook;
    assert_eq!((webhook.secret.expose(), &webhook.old_secret), ("chosen", &None));
    hub.end().await;
}

#[actix_web::test]
async fn the_next_event_hears_of_every_change() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let version = async || {
        let plans = Plans::new(hub.database.clone(), Changes::default());
        plans.of([tenant.id]).await.unwrap()[&tenant.id].version()
    };
    let mut last = version().await;
    let made = make(&hub, &tenant, json!({ "name": "n", "url": "https://a.com/", "events": ["*"] })).await;
    let actions = [
        ("PATCH", "", Some(json!({ "events": [] }))),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("POST", "/rotate-secret", Some(json!({ "overlap_seconds": 0 }))),
        ("DELETE", "", None),
    ];
    for (method, action, body) in actions {
        let now = version().await;
        assert!(now > last, "before {method} {action}");
        last = now;
        hub.call(&tenant.key, method, &format!("{}{action}", path(&made)), body).await;
    }
    assert!(version().await > last);
    hub.call(&tenant.key, "GET", &path(&made), None).await.expect(404);
    hub.end().await;
}
