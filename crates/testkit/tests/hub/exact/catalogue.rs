//! Products and customers: repeats, bad rows, and the whole catalogue in one call.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{connector, documented, rows, send, stocked, text};
use busbar_testkit::Hub;

#[tokio::test]
async fn a_repeat_changes_the_same_rows() {
    let (hub, connector) = stocked().await;
    let mut again = documented("sync_products");
    again["products"][0]["name"] = json!("SDM ECO 2");
    let reply = send(&hub, &connector, &again).await;
    assert_eq!(text(&reply), r#"{"success":true,"message":"Synced 2 products","synced_count":2}"#);
    let products = rows(&hub, "/api/v1/products").await;
    assert_eq!(products.len(), 2);
    let eco = rows(&hub, "/api/v1/products?item_code=SDM-ECO-001").await.remove(0);
    assert_eq!((&eco["name"], &eco["product_type"]), (&json!("SDM ECO 2"), &json!("SDM_ECO")));
    let reply = send(&hub, &connector, &documented("sync_customers")).await;
    assert_eq!(text(&reply), r#"{"success":true,"message":"Synced 1 customers","synced_count":1}"#);
    let customers = rows(&hub, "/api/v1/customers").await;
    let sent = &documented("sync_customers")["customers"][0];
    for name in ["exact_customer_id", "name", "name_nl", "email", "phone", "address", "is_active"] {
        assert_eq!(customers[0][name], sent[name], "{name}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn one_bad_row_is_told_by_its_index_and_the_others_are_written() {
    let hub = Hub::start().await;
    let connector = connector(&hub, json!({})).await;
    let row = |id: &str| json!({ "exact_item_id": id, "item_code": id, "name": id, "product_type": "SENSOR" });
    let mut bad = row("b");
    bad["name"] = Value::Null;
    let body = json!({ "action": "sync_products", "products": [row("a"), bad, row("c")] });
    let reply = send(&hub, &connector, &body).await;
    let told = reply.json();
    assert_eq!((reply.status, &told["synced_count"], &told["failed_count"]), (200, &json!(2), &json!(1)));
    assert_eq!(
        (&told["errors"][0]["index"], &told["errors"][0]["code"]),
        (&json!(1), &json!("MISSING_REQUIRED_FIELD"))
    );
    assert_eq!(rows(&hub, "/api/v1/products").await.len(), 2);
    let all_bad = json!({ "action": "sync_products", "products": [{ "exact_item_id": "x" }] });
    let reply = send(&hub, &connector, &all_bad).await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (400, Some("MISSING_REQUIRED_FIELD")));
    hub.stop().await;
}

#[tokio::test]
async fn the_later_of_two_rows_counts_and_stock_comes_out_as_it_was_sent() {
    let hub = Hub::start().await;
    let connector = connector(&hub, json!({ "default_product_type": "HMI" })).await;
    for (number, stock) in ["2544.5", "0.20", "-65.5", "12345678901234567890.125", "0"].iter().enumerate() {
        let body = format!(
            r#"{{"action":"sync_products","Items":[{{"ID":"{number}","Code":"\tC{number}","Description":"first","Stock":1}},{{"ID":"{number}","Code":"\tC{number}","Description":"DN50(2\")","Stock":{stock}}}]}}"#
        );
        let headers = [("content-type", "application/json"), ("x-webhook-secret", connector.secret.as_str())];
        let reply = hub.post("/functions/v1/webhook-receiver", &headers, body.into_bytes()).await;
        assert_eq!(reply.status, 200, "{}", text(&reply));
        let path = format!("/api/v1/products?exact_item_id={number}");
        let shown = hub.admin(busbar_egress::Method::GET, &path, None).await;
        assert!(text(&shown).contains(&format!("\"stock\":{stock},")), "{}", text(&shown));
        let product = &shown.json()["data"][0];
        assert_eq!((&product["name"], &product["item_code"]), (&json!("DN50(2\")"), &json!(format!("C{number}"))));
        assert_eq!(product["product_type"], "HMI");
    }
    hub.stop().await;
}

#[tokio::test]
async fn the_whole_catalogue_comes_in_one_call_of_more_than_a_megabyte() {
    let hub = Hub::start().await;
    let connector = connector(&hub, json!({ "default_product_type": "SENSOR" })).await;
    let padding = "x".repeat(470);
    let item = |number: usize| {
        json!({ "ID": format!("id-{number}"), "Code": format!("C-{number}"), "Description": format!("Dichtheidsmeter ø {number}"),
            "Stock": number, "Barcode": null, "GLCostsDescription": padding })
    };
    let items: Vec<Value> = (0..2361).map(item).collect();
    let inner = json!({ "items": items, "skiptoken": "" }).to_string();
    let body = json!({ "json": inner });
    assert!(inner.len() > 1_300_000, "{}", inner.len());
    let began = Instant::now();
    let reply = send(&hub, &connector, &body).await;
    assert_eq!(text(&reply), r#"{"success":true,"message":"Synced 2361 products","synced_count":2361}"#);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    hub.stop().await;
}
