//! `sync_exact_work_order`: which order is meant, and what of it is refused.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{documented, get, order, rows, send, stocked, text};

#[tokio::test]
async fn an_order_of_exact_is_made_once_with_its_items_and_its_customer() {
    let (hub, connector) = stocked().await;
    let reply = send(&hub, &connector, &order("SO-1", None)).await;
    assert_eq!(reply.status, 200, "{}", text(&reply));
    let id = reply.json()["work_order_id"].as_str().unwrap().to_owned();
    assert_eq!(
        text(&reply),
        format!(
            r#"{{"success":true,"message":"Shop order synced","work_order_id":"{id}","exact_shop_order_number":"SO-1"}}"#
        )
    );
    let shown = get(&hub, &format!("/api/v1/shop-orders/{id}")).await;
    assert_eq!((&shown["status"], &shown["batch_size"]), (&json!("PLANNED"), &json!(10)));
    assert_eq!(shown["items"].as_array().unwrap().len(), 10);
    let sent = documented("sync_exact_work_order");
    for name in
        ["materials_summary", "notes", "planned_start_date", "planned_end_date", "exact_shop_order_link", "customer"]
    {
        assert_eq!(shown[name], sent[name], "{name}");
    }
    assert_eq!(rows(&hub, "/api/v1/customers").await[0]["exact_customer_id"], "cust-001");
    let mut again = order("SO-1", None);
    again["notes"] = json!("another word");
    again["batch_size"] = json!(12);
    let reply = send(&hub, &connector, &again).await;
    assert_eq!(reply.json()["work_order_id"], json!(id));
    let shown = get(&hub, &format!("/api/v1/shop-orders/{id}")).await;
    assert_eq!((&shown["notes"], shown["items"].as_array().unwrap().len()), (&json!("another word"), 12));
    assert_eq!(rows(&hub, "/api/v1/shop-orders").await.len(), 1);
    hub.stop().await;
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind() {
    let (hub, connector) = stocked().await;
    let with = |change: Value| {
        let mut body = order("SO-9", None);
        for (name, value) in change.as_object().unwrap() {
            body[name.as_str()] = value.clone();
        }
        body
    };
    let unknown = json!({ "exact_item_id": "nope", "item_code": "NOPE" });
    for (change, status, code, path) in [
        (json!({ "product": unknown }), 404, "PRODUCT_NOT_FOUND", "product.exact_item_id"),
        (
            json!({ "work_order_id": "3f0c9a52-6c1e-4c53-9d2f-0b6a7c1d2e4f" }),
            404,
            "WORK_ORDER_NOT_FOUND",
            "work_order_id",
        ),
        (json!({ "materials_issued_status": "issued" }), 400, "INVALID_STATUS", "materials_issued_status"),
        (json!({ "batch_size": 0 }), 400, "INVALID_FIELD", "batch_size"),
        (json!({ "batch_size": -1 }), 400, "INVALID_FIELD", "batch_size"),
        (json!({ "batch_size": "x" }), 400, "INVALID_FIELD", "batch_size"),
        (json!({ "planned_start_date": "2024-13-01" }), 400, "INVALID_FIELD", "planned_start_date"),
        (json!({ "exact_shop_order_link": null }), 400, "MISSING_REQUIRED_FIELD", "exact_shop_order_link"),
    ] {
        let reply = send(&hub, &connector, &with(change.clone())).await;
        let told = reply.json();
        assert_eq!((reply.status, told["code"].as_str()), (status, Some(code)), "{change}: {told}");
        assert!(told["error"].as_str().unwrap().starts_with(path), "{told}");
    }
    assert!(rows(&hub, "/api/v1/shop-orders").await.is_empty());
    assert!(rows(&hub, "/api/v1/customers").await.is_empty());
    hub.stop().await;
}

#[tokio::test]
async fn two_orders_are_never_taken_for_one() {
    let (hub, connector) = stocked().await;
    assert_eq!(send(&hub, &connector, &order("SO-A", Some("A"))).await.status, 200);
    assert_eq!(send(&hub, &connector, &order("SO-B", Some("B"))).await.status, 200);
    for body in [order("SO-B", Some("A")), order("SO-C", Some("A"))] {
        let reply = send(&hub, &connector, &body).await;
        assert_eq!((reply.status, reply.json()["code"].as_str()), (409, Some("CONFLICT")), "{}", text(&reply));
    }
    let orders = rows(&hub, "/api/v1/shop-orders?wo_number=A").await;
    assert_eq!(orders[0]["exact_shop_order_number"], "SO-A");
    hub.stop().await;
}

#[tokio::test]
async fn an_order_whose_own_number_would_be_anothers_is_refused_and_holds_up_nobody() {
    let (hub, connector) = stocked().await;
    assert_eq!(send(&hub, &connector, &order("SO-1", Some("WO-SO-2"))).await.status, 200);
    let reply = send(&hub, &connector, &order("SO-2", None)).await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (409, Some("CONFLICT")), "{}", text(&reply));
    assert_eq!(send(&hub, &connector, &order("SO-2", Some("mine"))).await.status, 200);
    assert_eq!(rows(&hub, "/api/v1/shop-orders").await.len(), 2);
    hub.stop().await;
}

#[tokio::test]
async fn what_a_repeat_says_nothing_of_stays_as_it_was() {
    let (hub, connector) = stocked().await;
    let id = send(&hub, &connector, &order("SO-1", None)).await.json()["work_order_id"].as_str().unwrap().to_owned();
    let mut half = order("SO-1", None);
    half["customer"] = json!({ "name": "Acme, renamed" });
    assert_eq!(send(&hub, &connector, &half).await.status, 200);
    let shown = get(&hub, &format!("/api/v1/shop-orders/{id}")).await;
    assert_eq!(shown["customer"], json!({ "exact_customer_id": "cust-001", "name": "Acme, renamed" }), "{shown}");
    hub.stop().await;
}

#[tokio::test]
async fn ten_senders_on_two_processors_make_one_order() {
    let (hub, connector) = stocked().await;
    let second = hub.another_processor(&["inbound.exact"]);
    for round in 0..5 {
        let number = format!("SO-{round}");
        let body = order(&number, (round % 2 == 0).then_some(number.as_str()));
        let replies = join_all((0..10).map(|_| send(&hub, &connector, &body))).await;
        let ids: std::collections::HashSet<String> =
            replies.iter().map(|reply| reply.json()["work_order_id"].to_string()).collect();
        assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
        assert_eq!(ids.len(), 1);
    }
    assert_eq!(rows(&hub, "/api/v1/shop-orders").await.len(), 5);
    second.stop().await;
    hub.stop().await;
}

#[tokio::test]
async fn tenants_do_not_see_each_others_orders() {
    let (hub, own) = stocked().await;
    let (_, key) = hub.another_tenant().await;
    let body = json!({ "system": "exact", "name": "theirs", "config": {} });
    let made = hub.admin_as(&key, busbar_egress::Method::POST, "/api/v1/connectors", Some(&body)).await.json();
    let theirs = super::Connector { id: String::new(), secret: made["secret"].as_str().unwrap().into() };
    assert_eq!(send(&hub, &own, &order("SO-1", None)).await.status, 200);
    let reply = send(&hub, &theirs, &order("SO-1", None)).await;
    assert_eq!(reply.json()["code"], "PRODUCT_NOT_FOUND");
    assert_eq!(send(&hub, &theirs, &documented("sync_products")).await.status, 200);
    assert_eq!(send(&hub, &theirs, &order("SO-1", None)).await.status, 200);
    assert_eq!(rows(&hub, "/api/v1/shop-orders").await.len(), 1);
    hub.stop().await;
}
