//! What a webhook asked for holds on the way of every event: its project, its filter, its time limit; and what became
//! of a call that got no answer is told by class.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use busbar_egress::Method;
use busbar_sandbox::{Answer, Step};
use busbar_testkit::hub::PATIENCE;
use busbar_testkit::{Hub, eventually};
use serde_json::{Value, json};

/// One attempt and no more.
fn once() -> Value {
    json!({ "max_attempts": 1, "first_ms": 100, "factor": 1, "max_ms": 100 })
}

/// The first attempt of the only delivery of a webhook, once it is dead.
async fn failed(hub: &Hub, webhook: &str) -> Value {
    let list = format!("/api/v1/deliveries?webhook={webhook}&status=dead");
    let id = eventually("the delivery being dead", PATIENCE, || async {
        let page = hub.admin(Method::GET, &list, None).await.json();
        page["data"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    hub.admin(Method::GET, &format!("/api/v1/deliveries/{id}"), None).await.json()["attempts"][0].clone()
}

#[tokio::test]
async fn a_webhook_hears_what_its_project_and_its_filter_let_through() {
    let hub = Hub::start().await;
    hub.webhook("/all", "standard", &["order.*"], json!({})).await;
    hub.webhook("/project", "standard", &["order.*"], json!({ "project": 7 })).await;
    hub.webhook("/filter", "standard", &["order.*"], json!({ "filter": "event.data.total > 100" })).await;
    let both = json!({ "project": "7", "filter": "event.data.total > 100" });
    hub.webhook("/both", "standard", &["order.*"], both).await;
    let events: Vec<Value> = [(7, 50), (7, 500), (8, 50), (8, 500)]
        .into_iter()
        .map(|(project, total)| json!({ "type": "order.made", "project_id": project, "data": { "total": total } }))
        .chain([json!({ "type": "orders", "project_id": 7, "data": { "total": 500 } })])
        .collect();
    assert_eq!(hub.ingest("/api/v1/events/batch", &json!(events)).await.status, 202);
    for (path, count) in [("/all", 4), ("/project", 2), ("/filter", 2), ("/both", 1)] {
        hub.arrived(path, count).await;
    }
    eventually("every delivery having succeeded", PATIENCE, || async {
        let page = hub.admin(Method::GET, "/api/v1/deliveries?status=succeeded", None).await.json();
        (page["data"].as_array()?.len() == 9).then_some(())
    })
    .await;
    assert_eq!(hub.receiver().count(), 9, "nobody hears more than that");
    hub.stop().await;
}

#[tokio::test]
async fn a_webhook_that_wants_an_answer_sooner_waits_no_longer_than_it_said() {
    let hub = Hub::start().await;
    hub.receiver().script("/slow", vec![Step::new(Answer::status(200).after(Duration::from_secs(4)))]);
    let (webhook, _) = hub.webhook("/slow", "standard", &["a"], json!({ "timeout_ms": 1000, "retry": once() })).await;
    assert_eq!(hub.ingest("/api/v1/events", &json!({ "type": "a", "data": 1 })).await.status, 202);
    let attempt = failed(&hub, &webhook).await;
    assert_eq!(attempt["error_class"], "timeout", "{attempt}");
    let took = attempt["duration_ms"].as_f64().unwrap();
    assert!((1000.0..1600.0).contains(&took), "{attempt}");
    hub.stop().await;
}

#[tokio::test]
async fn a_call_that_got_no_answer_says_where_it_failed() {
    let hub = Hub::start().await;
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let plain = hub.receiver().url().replace("http://", "https://");
    for (kind, url, class) in [
        ("tls", format!("{plain}/never"), "tls"),
        ("connect", format!("http://{nobody}/never"), "connect"),
        ("dns", "http://receiver.invalid/never".to_owned(), "dns"),
    ] {
        let body = json!({ "name": kind, "url": url, "events": [kind], "dialect": "standard", "retry": once() });
        let made = hub.admin(Method::POST, "/api/v1/webhooks", Some(&body)).await;
        assert_eq!(made.status, 201, "{:?}", made.body);
        assert_eq!(hub.ingest("/api/v1/events", &json!({ "type": kind, "data": 1 })).await.status, 202);
        let attempt = failed(&hub, made.json()["id"].as_str().unwrap()).await;
        assert_eq!(attempt["error_class"], class, "{attempt}");
    }
    assert_eq!(hub.receiver().count(), 0, "nothing went out in the clear");
    hub.stop().await;
}
