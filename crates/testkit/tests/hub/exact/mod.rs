//! Exact through Zapier: a connector, calls with its secret, and the pieces that their tests share.

mod assignments;
mod catalogue;
mod lifecycle;
mod orders;
mod receiver;

use busbar_egress::Method;
use busbar_testkit::Hub;
use busbar_testkit::hub::Reply;
use serde_json::{Value, json};

pub(crate) struct Connector {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// A connector whose secret the hub has made.
pub(crate) async fn connector(hub: &Hub, config: Value) -> Connector {
    let body = json!({ "system": "exact", "name": "Zapier", "config": config });
    let made = hub.admin(Method::POST, "/api/v1/connectors", Some(&body)).await;
    assert_eq!(made.status, 201, "{}", text(&made));
    let made = made.json();
    Connector { id: made["id"].as_str().unwrap().into(), secret: made["secret"].as_str().unwrap().into() }
}

/// Sends one action on the bare path.
pub(crate) async fn send(hub: &Hub, connector: &Connector, body: &Value) -> Reply {
    let headers = [("content-type", "application/json"), ("x-webhook-secret", connector.secret.as_str())];
    hub.post("/functions/v1/webhook-receiver", &headers, serde_json::to_vec(body).unwrap()).await
}

pub(crate) fn text(reply: &Reply) -> &str {
    std::str::from_utf8(&reply.body).unwrap()
}

/// The documented body of an action.
pub(crate) fn documented(name: &str) -> Value {
    let text = match name {
        "sync_products" => include_str!("../../../../systems/src/exact/fixtures/sync_products.json"),
        "sync_customers" => include_str!("../../../../systems/src/exact/fixtures/sync_customers.json"),
        "sync_exact_work_order" => include_str!("../../../../systems/src/exact/fixtures/sync_exact_work_order.json"),
        _ => include_str!("../../../../systems/src/exact/fixtures/assign_batch_numbers.json"),
    };
    serde_json::from_str(text).unwrap()
}

/// A hub with a connector and the documented catalogue.
pub(crate) fn stocked() -> impl Future<Output = (Hub, Connector)> {
    Box::pin(async {
        let hub = Hub::start().await;
        let connector = connector(&hub, json!({})).await;
        let reply = send(&hub, &connector, &documented("sync_products")).await;
        assert_eq!(reply.status, 200, "{}", text(&reply));
        (hub, connector)
    })
}

/// The documented order under other numbers, with nothing issued.
pub(crate) fn order(number: &str, wo_number: Option<&str>) -> Value {
    let mut body = documented("sync_exact_work_order");
    body["exact_shop_order_number"] = json!(number);
    body["wo_number"] = wo_number.map_or(Value::Null, Value::from);
    body
}

pub(crate) async fn get(hub: &Hub, path: &str) -> Value {
    let reply = hub.admin(Method::GET, path, None).await;
    assert_eq!(reply.status, 200, "{path}: {}", text(&reply));
    reply.json()
}

/// The rows of a list.
pub(crate) async fn rows(hub: &Hub, path: &str) -> Vec<Value> {
    get(hub, path).await["data"].as_array().cloned().unwrap_or_default()
}
