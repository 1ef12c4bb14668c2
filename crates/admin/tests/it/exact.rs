//! Exact: a connector's settings and their secrets, and orders that repeat, are unknown, or belong to another.

use actix_web::test::TestRequest;
use busbar_storage::products::{self, NewProduct};
use serde_json::{Value, json};

use crate::hub::{Hub, Tenant, members};

fn settings() -> Value {
    json!({
        "default_product_type": "SENSOR",
        "direct": { "base_url": "https://start.exactonline.nl", "division": 7, "client_id": "app",
            "client_secret": "hunter2", "webhook_secret": "hunter3" },
    })
}

async fn connector(hub: &Hub, tenant: &Tenant) -> Value {
    let body = json!({ "system": "exact", "name": "Zapier", "config": settings() });
    hub.call(&tenant.key, "POST", "/api/v1/connectors", Some(body)).await.expect(201)
}

async fn stock(hub: &Hub, tenant: &Tenant) {
    let product = NewProduct {
        tenant: tenant.id,
        exact_item_id: "item-1",
        item_code: "SDM",
        name: "Sensor",
        name_nl: None,
        description: None,
        product_type: "SENSOR",
        is_active: true,
        item_group: None,
        barcode: None,
        stock: Some("-65.50"),
    };
    products::upsert(&mut hub.database.acquire().await.unwrap(), &[product], hub.clock.now()).await.unwrap();
}

#[actix_web::test]
async fn what_is_secret_in_the_settings_is_kept_and_never_comes_back() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let made = connector(&hub, &tenant).await;
    let id = made["id"].as_str().unwrap();
    let path = format!("/api/v1/connectors/{id}");
    assert_eq!(made["inbound_url"], format!("https://in.example/functions/v1/webhook-receiver/{id}"));
    for shown in [made.clone(), hub.call(&tenant.key, "GET", &path, None).await.expect(200)] {
        assert!(!shown.to_string().contains("hunter"), "{shown}");
        assert_eq!(members(&shown["config"]["direct"]), ["base_url", "division", "client_id"]);
    }
    let mut public = settings();
    public["direct"].as_object_mut().unwrap().retain(|name, _| !name.ends_with("_secret"));
    public["direct"]["division"] = json!(8);
    let changed = hub.call(&tenant.key, "PATCH", &path, Some(json!({ "config": public }))).await.expect(200);
    assert_eq!(changed["config"]["direct"]["division"], 8, "secrets that are left out stay");
    public["direct"]["base_url"] = json!("https://start.exactonline.be");
    let moved = hub.call(&tenant.key, "PATCH", &path, Some(json!({ "config": public }))).await;
    assert_eq!(moved.faults(), [("/config/direct".to_owned(), "SECRET_REQUIRED".to_owned())]);
    let wrong = json!({ "config": { "default_product_type": "CAR", "speed": 9 } });
    let refused = hub.call(&tenant.key, "PATCH", &path, Some(wrong)).await;
    assert_eq!(refused.status.as_u16(), 422);
    let pointers: Vec<String> = refused.faults().into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(pointers, ["/config/default_product_type", "/config/speed"]);
    hub.end().await;
}

#[actix_web::test]
async fn an_order_is_made_once_for_one_key_and_seen_by_its_tenant_only() {
    let hub = Hub::start().await;
    let (tenant, other) = (hub.tenant("Acme").await, hub.tenant("Other").await);
    stock(&hub, &tenant).await;
    let body =
        json!({ "product": { "exact_item_id": "item-1" }, "batch_size": 3, "customer": { "exact_customer_id": "c" } });
    let ask = || {
        let request = TestRequest::post().uri("/api/v1/shop-orders").insert_header(("x-api-key", tenant.key.clone()));
        request.insert_header(("idempotency-key", "k")).set_json(&body)
    };
    let made = hub.send(ask()).await.expect(201);
    let again = hub.send(ask()).await;
    assert!(again.replayed);
    assert_eq!(again.body, made);
    assert_eq!(members(&made), ["id", "wo_number", "status"]);
    let path = format!("/api/v1/shop-orders/{}", made["id"].as_str().unwrap());
    let shown = hub.call(&tenant.key, "GET", &path, None).await.expect(200);
    assert_eq!((&shown["status"], shown["items"].as_array().unwrap().len()), (&json!("PENDING"), 3));
    assert_eq!(shown["customer"], json!({ "exact_customer_id": "c", "name": null }));
    let listed = hub.call(&tenant.key, "GET", "/api/v1/shop-orders?status=PENDING", None).await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let events = hub.call(&tenant.key, "GET", "/api/v1/events?type=shopOrder.create.requested", None).await.expect(200);
    assert_eq!(events["data"][0]["subject"], made["wo_number"]);
    assert_eq!(events["data"].as_array().unwrap().len(), 1);
    for (method, path) in [
        ("GET", path.clone()),
        ("PATCH", path.clone()),
        ("POST", format!("{path}/items/1/complete")),
        ("POST", format!("{path}/request-again")),
    ] {
        let body = (method != "GET").then(|| json!({}));
        hub.call(&other.key, method, &path, body).await.expect(404);
    }
    let nobody = hub.call(&tenant.key, "POST", &format!("{path}/request-again"), Some(json!({}))).await.expect(409);
    assert_eq!(nobody["code"], "NOBODY_ASKED");
    let shown = hub.call(&tenant.key, "GET", "/api/v1/products", None).await;
    assert!(shown.text.contains("\"stock\":-65.50,"), "{}", shown.text);
    hub.end().await;
}

#[actix_web::test]
async fn orders_of_one_millisecond_have_numbers_of_their_own() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    stock(&hub, &tenant).await;
    let body = json!({ "product": { "item_code": "SDM" }, "batch_size": 1 });
    let mut numbers = std::collections::HashSet::new();
    for _ in 0..20 {
        let made = hub.call(&tenant.key, "POST", "/api/v1/shop-orders", Some(body.clone())).await.expect(201);
        numbers.insert(made["wo_number"].to_string());
    }
    assert_eq!(numbers.len(), 20);
    hub.end().await;
}
