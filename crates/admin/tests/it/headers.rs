//! What a webhook may ask for besides: custom headers, whose values never come back, a filter, and a rate.

use actix_web::test::TestRequest;
use busbar_domain::id::WebhookId;
use busbar_storage::access::Endpoints;
use busbar_storage::snapshot::Changes;
use busbar_storage::webhooks;
use serde_json::{Value, json};

use crate::hub::{Answer, Hub, Tenant};

const MASK: &str = "********";

fn path(webhook: &Value) -> String {
    format!("/api/v1/webhooks/{}", webhook["id"].as_str().unwrap())
}

/// A webhook with everything that this file is about.
fn full() -> Value {
    json!({
        "name": "n", "url": "https://example.com/hook", "headers": { "X-Key": "hunter2", "authorization": "Bearer abc" },
        "filter": "event.data.total > 100", "rate_limit": 5
    })
}

async fn make(hub: &Hub, tenant: &Tenant, body: Value) -> Value {
    hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await.expect(201)
}

/// The headers as they are sent.
async fn sent(hub: &Hub, webhook: &Value) -> Vec<(String, String)> {
    let id: WebhookId = webhook["id"].as_str().unwrap().parse().unwrap();
    let known = Endpoints::new(hub.database.clone(), Changes::default()).of([id]).await.unwrap();
    let headers = known.endpoints[&id].webhook.headers.iter();
    let mut headers: Vec<_> = headers.map(|header| (header.name().to_owned(), header.expose().to_owned())).collect();
    headers.sort();
    headers
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Cuts the stored headers off.
async fn damage(hub: &Hub, tenant: &Tenant, webhook: &Value) {
    let id: WebhookId = webhook["id"].as_str().unwrap().parse().unwrap();
    let mut conn = hub.database.acquire().await.unwrap();
    let mut fields = webhooks::find(&mut conn, tenant.id, id, None).await.unwrap().unwrap().fields;
    fields.headers.as_mut().unwrap().truncate(20);
    webhooks::update(&mut conn, id, &fields, hub.clock.now()).await.unwrap();
}

fn fault(answer: &Answer) -> (String, String) {
    answer.faults().into_iter().next().unwrap_or_default()
}

#[actix_web::test]
async fn what_a_webhook_asks_for_is_kept_and_its_values_never_come_back() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    for dialect in ["standard", "ptw", "workpro", "exact"] {
        let mut body = full();
        body["dialect"] = json!(dialect);
        let answer = hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await;
        assert!(!answer.text.contains("hunter2") && !answer.text.contains("Bearer"), "{}", answer.text);
        let made = answer.expect(201);
        assert_eq!(made["headers"], json!({ "x-key": MASK, "authorization": MASK }), "{dialect}");
        assert_eq!((&made["filter"], &made["rate_limit"]), (&json!("event.data.total > 100"), &json!(5)));
        assert_eq!(sent(&hub, &made).await, pairs(&[("authorization", "Bearer abc"), ("x-key", "hunter2")]));
        for url in ["/api/v1/webhooks".to_owned(), path(&made)] {
            let shown = hub.call(&tenant.key, "GET", &url, None).await;
            assert!(shown.text.contains(MASK) && !shown.text.contains("hunter2"), "{}", shown.text);
        }
    }
    hub.end().await;
}

#[actix_web::test]
async fn a_change_keeps_what_it_does_not_give_and_what_it_gives_masked() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let made = make(&hub, &tenant, full()).await;
    let patch = async |body| hub.call(&tenant.key, "PATCH", &path(&made), Some(body)).await.expect(200);
    let all = pairs(&[("authorization", "Bearer abc"), ("x-key", "hunter2")]);

    let renamed = patch(json!({ "name": "m" })).await;
    assert_eq!((&renamed["filter"], &renamed["rate_limit"]), (&made["filter"], &made["rate_limit"]));
    assert_eq!(sent(&hub, &made).await, all);
    let mut whole = json!({ "headers": renamed["headers"] });
    for name in ["name", "url", "events", "filter", "rate_limit"] {
        whole[name] = renamed[name].clone();
    }
    patch(whole.clone()).await;
    assert_eq!(sent(&hub, &made).await, all, "what was read can be written");
    let replaced = hub.call(&tenant.key, "PUT", &path(&made), Some(whole)).await.expect(200);
    assert_eq!((&replaced["filter"], &replaced["rate_limit"]), (&made["filter"], &made["rate_limit"]));
    assert_eq!(sent(&hub, &made).await, all, "also by a replacement");

    let changed = patch(json!({ "headers": { "x-key": MASK, "X-New": "fresh" } })).await;
    assert_eq!(changed["headers"], json!({ "x-key": MASK, "x-new": MASK }));
    assert_eq!(sent(&hub, &made).await, pairs(&[("x-key", "hunter2"), ("x-new", "fresh")]));
    let cleared = patch(json!({ "headers": null, "filter": null, "rate_limit": null })).await;
    assert_eq!(
        (&cleared["headers"], &cleared["filter"], &cleared["rate_limit"]),
        (&json!({}), &Value::Null, &Value::Null)
    );
    assert_eq!(sent(&hub, &made).await, []);
    hub.end().await;
}

#[actix_web::test]
async fn a_replacement_resets_what_it_does_not_give() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let made = make(&hub, &tenant, full()).await;
    let bare = json!({ "name": "r", "url": "https://example.com/hook" });
    let replaced = hub.call(&tenant.key, "PUT", &path(&made), Some(bare)).await.expect(200);
    assert_eq!(
        (&replaced["headers"], &replaced["filter"], &replaced["rate_limit"]),
        (&json!({}), &Value::Null, &Value::Null)
    );
    assert_eq!(sent(&hub, &made).await, []);
    hub.end().await;
}

#[actix_web::test]
async fn nothing_can_be_smuggled_in_a_header() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let good = make(&hub, &tenant, full()).await;
    let reserved = ["Host", "Content-Length", "transfer-encoding", "Connection", "TE", "Upgrade", "webhook-id"];
    let also = ["Webhook-Signature", "X-Webhook-Signature", "x-athens-event", "busbar-hops", "traceparent", "expect"];
    let reserved = reserved.iter().chain(&also).map(|name| (*name, "x", "RESERVED_HEADER"));
    let names =
        ["", "a b", "a:b", "a\r\nhost: x", "a\0", "a\n", "ä", "a/b"].map(|name| (name, "x", "INVALID_HEADER_NAME"));
    let values = ["a\r\nhost: x", "a\rb", "a\nb", "a\0b", "a\tb", "ä", " a", "a ", "\u{7f}"];
    let values = values.map(|value| ("x-a", value, "INVALID_HEADER_VALUE"));
    for (name, value, code) in reserved.chain(names).chain(values) {
        let headers = json!({ name: value });
        let expected = (format!("/headers/{}", name.replace('/', "~1")), code.to_owned());
        let mut body = full();
        body["headers"] = headers.clone();
        let created = hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body.clone())).await;
        assert_eq!(fault(&created), expected, "{name:?}: {value:?}");
        for (method, body) in [("PUT", body), ("PATCH", json!({ "headers": headers }))] {
            let changed = hub.call(&tenant.key, method, &path(&good), Some(body)).await;
            assert_eq!((changed.status.as_u16(), fault(&changed)), (422, expected.clone()));
        }
    }
    assert_eq!(sent(&hub, &good).await.len(), 2, "nothing has changed");
    let listed = hub.call(&tenant.key, "GET", "/api/v1/webhooks", None).await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "nothing was made");
    hub.end().await;
}

#[actix_web::test]
async fn headers_are_bounded_and_given_once() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let post = async |headers: &Value| {
        let mut body = full();
        body["headers"] = headers.clone();
        hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await
    };
    let many = |count: usize| (0..count).map(|n| (format!("x-{n}"), json!("v"))).collect::<Value>();
    post(&many(20)).await.expect(201);
    assert_eq!(fault(&post(&many(21)).await), ("/headers".to_owned(), "TOO_MANY".to_owned()));
    let twice = post(&json!({ "x-key": "a", "X-KEY": "b" })).await;
    assert_eq!(fault(&twice).1, "DUPLICATE_HEADER");
    let raw = TestRequest::post()
        .uri("/api/v1/webhooks")
        .insert_header(("x-api-key", tenant.key.clone()))
        .insert_header(("content-type", "application/json"))
        .set_payload(r#"{"name":"n","url":"https://example.com/","headers":{"x-key":"a","x-key":"b"}}"#);
    assert_eq!(fault(&hub.send(raw).await).1, "DUPLICATE_HEADER", "no member wins silently");
    let masked = post(&json!({ "x-key": MASK })).await;
    assert_eq!(fault(&masked), ("/headers/x-key".to_owned(), "SECRET_REQUIRED".to_owned()));
    assert_eq!(post(&json!(["x-key"])).await.status.as_u16(), 422);
    hub.end().await;
}

#[actix_web::test]
async fn a_stored_value_is_never_sent_to_another_place() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let made = make(&hub, &tenant, full()).await;
    let patch = async |body| hub.call(&tenant.key, "PATCH", &path(&made), Some(body)).await;
    for url in ["http://example.com/hook", "https://evil.example/hook", "https://example.com:8443/hook"] {
        let put = json!({ "name": "n", "url": url, "headers": made["headers"] });
        let answers = [
            patch(json!({ "url": url })).await,
            patch(json!({ "url": url, "headers": { "x-key": "new", "authorization": MASK } })).await,
            hub.call(&tenant.key, "PUT", &path(&made), Some(put)).await,
        ];
        for answer in answers {
            assert_eq!(answer.faults(), [("/headers".to_owned(), "SECRET_REQUIRED".to_owned())], "{url}");
            answer.expect(422);
        }
    }
    for url in ["https://example.com/other?x=1", "HTTPS://Example.COM:443/hook"] {
        patch(json!({ "url": url })).await.expect(200);
    }
    assert_eq!(sent(&hub, &made).await.len(), 2, "the same place under another name");
    let given = json!({ "url": "https://a.example/", "headers": { "x-key": "new" } });
    patch(given).await.expect(200);
    assert_eq!(sent(&hub, &made).await, pairs(&[("x-key", "new")]));
    patch(json!({ "url": "https://b.example/", "headers": null })).await.expect(200);
    patch(json!({ "url": "https://c.example/" })).await.expect(200);
    hub.end().await;
}

#[actix_web::test]
async fn headers_that_do_not_open_must_be_given_again() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let made = make(&hub, &tenant, full()).await;
    damage(&hub, &tenant, &made).await;
    let patch = async |body| hub.call(&tenant.key, "PATCH", &path(&made), Some(body)).await;
    let masked = patch(json!({ "headers": { "x-key": MASK } })).await;
    assert_eq!(fault(&masked), ("/headers/x-key".to_owned(), "SECRET_REQUIRED".to_owned()));
    patch(json!({ "headers": { "x-key": "again" } })).await.expect(200);
    assert_eq!(sent(&hub, &made).await, pairs(&[("x-key", "again")]));
    hub.end().await;
}

#[actix_web::test]
async fn a_filter_and_a_rate_are_vetted() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let post = async |name: &str, value: Value| {
        let mut body = full();
        body[name] = value;
        hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await
    };
    for filter in ["event.data.total >", "", "secrets.key == 1", "shell('x')", "1 + 1", &"(".repeat(500)] {
        let answer = post("filter", json!(filter)).await;
        assert_eq!(fault(&answer), ("/filter".to_owned(), "INVALID_FILTER".to_owned()), "{filter}");
        assert!(answer.body["errors"][0]["detail"].as_str().unwrap().contains("filter"), "{}", answer.text);
        answer.expect(422);
    }
    for rate in [0, 10_001] {
        assert_eq!(
            fault(&post("rate_limit", json!(rate)).await),
            ("/rate_limit".to_owned(), "OUT_OF_RANGE".to_owned())
        );
    }
    for rate in [1, 10_000] {
        post("rate_limit", json!(rate)).await.expect(201);
    }
    hub.end().await;
}

#[actix_web::test]
async fn a_permit_webhook_keeps_what_its_own_api_does_not_know() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let mut body = full();
    body["dialect"] = json!("ptw");
    let made = make(&hub, &tenant, body).await;
    let facade = format!("/api/v1/ptw/webhooks/{}/", made["id"].as_str().unwrap());
    let shown = hub.call(&tenant.key, "GET", &facade, None).await.expect(200);
    assert!(shown.get("headers").is_none() && shown.get("filter").is_none());
    for (method, change) in [("PATCH", json!({ "name": "new" })), ("PUT", shown)] {
        hub.call(&tenant.key, method, &facade, Some(change)).await.expect(200);
    }
    let generic = hub.call(&tenant.key, "GET", &path(&made), None).await.expect(200);
    for name in ["headers", "filter", "rate_limit"] {
        assert_eq!(generic[name], made[name]);
    }
    assert_eq!(sent(&hub, &made).await.len(), 2);
    let elsewhere = hub.call(&tenant.key, "PATCH", &facade, Some(json!({ "url": "https://evil.example/" }))).await;
    assert!(elsewhere.expect(400)["headers"][0].as_str().unwrap().contains("again"));
    hub.end().await;
}
