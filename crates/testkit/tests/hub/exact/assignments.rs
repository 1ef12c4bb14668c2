//! `assign_batch_numbers`: items by number, place and serial; what counts as a change; and never backwards.

use serde_json::{Value, json};

use super::{documented, get, order, send, stocked, text};

fn assign(number: &str, status: &str, items: &Value) -> Value {
    json!({ "action": "assign_batch_numbers", "exact_shop_order_number": number, "materials_issued_status": status,
        "batch_assignments": items })
}

#[tokio::test]
async fn items_get_their_batches_and_keep_their_materials() {
    let (hub, connector) = stocked().await;
    hub.webhook("/ready", "exact", &["shopOrder.ready_to_start"], json!({})).await;
    let id = send(&hub, &connector, &order("SO-1", None)).await.json()["work_order_id"].as_str().unwrap().to_owned();
    let mut body = documented("assign_batch_numbers");
    body["work_order_id"] = json!(id);
    body["exact_shop_order_number"] = json!("SO-1");
    let reply = send(&hub, &connector, &body).await;
    let expected = r#"{"success":true,"message":"Assigned batch numbers to 3 items","updated_items":3,"materials_issued_status":"complete"}"#;
    assert_eq!((reply.status, text(&reply)), (200, expected));
    let shown = get(&hub, &format!("/api/v1/shop-orders/{id}")).await;
    assert_eq!((&shown["status"], &shown["materials_issued_status"]), (&json!("READY_TO_START"), &json!("complete")));
    for (item, sent) in shown["items"].as_array().unwrap().iter().zip(body["batch_assignments"].as_array().unwrap()) {
        for name in ["position_in_batch", "serial_number", "batch_number", "materials"] {
            assert_eq!(item[name], sent[name], "{name}");
        }
    }
    assert_eq!(send(&hub, &connector, &body).await.json()["updated_items"], 0, "nothing has changed");
    let by_serial = json!([{ "serial_number": "SDM-2024-0002", "batch_number": "B-9" }]);
    let reply = send(&hub, &connector, &assign("SO-1", "complete", &by_serial)).await;
    assert_eq!(reply.json()["updated_items"], 1);
    let item = get(&hub, &format!("/api/v1/shop-orders/{id}")).await["items"][1].clone();
    assert_eq!(item["batch_number"], "B-9");
    assert_eq!(item["materials"], body["batch_assignments"][1]["materials"], "what is not sent stays");
    let calls = hub.arrived("/ready", 1).await;
    assert_eq!(calls.len(), 1);
    let told: Value = serde_json::from_slice(&calls[0].body).unwrap();
    assert_eq!(told["data"]["work_order_id"], json!(id));
    assert_eq!(told["data"]["notify"], json!(["admin", "supervisor"]));
    hub.stop().await;
}

#[tokio::test]
async fn rows_that_find_no_item_are_told_and_the_others_are_written() {
    let (hub, connector) = stocked().await;
    send(&hub, &connector, &order("SO-1", None)).await;
    let named = json!([{ "position_in_batch": 1, "serial_number": "S1", "batch_number": "B" },
        { "position_in_batch": 2, "serial_number": "S2", "batch_number": "B" }]);
    assert_eq!(send(&hub, &connector, &assign("SO-1", "partial", &named)).await.json()["updated_items"], 2);
    let items = json!([
        { "position_in_batch": 1, "serial_number": "S2", "batch_number": "C" },
        { "position_in_batch": 11, "batch_number": "C" },
        { "serial_number": "S9", "batch_number": "C" },
        { "position_in_batch": 2, "serial_number": "S7", "batch_number": "C" },
        { "position_in_batch": 3, "batch_number": "C" },
    ]);
    let reply = send(&hub, &connector, &assign("SO-1", "partial", &items)).await;
    let told = reply.json();
    assert_eq!((reply.status, &told["updated_items"]), (200, &json!(1)), "{told}");
    let errors: Vec<_> = told["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["index"].clone(), error["code"].clone()))
        .collect();
    let expected = [(0, "CONFLICT"), (1, "INVALID_FIELD"), (2, "INVALID_FIELD"), (3, "CONFLICT")];
    assert_eq!(errors, expected.map(|(index, code)| (json!(index), json!(code))));
    hub.stop().await;
}

#[tokio::test]
async fn an_order_never_goes_back_and_an_unknown_one_is_told() {
    let (hub, connector) = stocked().await;
    send(&hub, &connector, &order("SO-1", None)).await;
    let one = || json!([{ "position_in_batch": 1, "batch_number": "B" }]);
    for (status, answer) in [("pending", 200), ("partial", 200), ("pending", 409), ("complete", 200), ("partial", 409)]
    {
        let reply = send(&hub, &connector, &assign("SO-1", status, &one())).await;
        assert_eq!(reply.status, answer, "{status}: {}", text(&reply));
        if answer == 409 {
            assert_eq!(reply.json()["code"], "INVALID_STATUS");
        }
    }
    let reply = send(&hub, &connector, &assign("SO-2", "partial", &one())).await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (404, Some("WORK_ORDER_NOT_FOUND")));
    let mut bad = assign("SO-1", "complete", &one());
    bad["materials_issued_status"] = json!("done");
    assert_eq!(send(&hub, &connector, &bad).await.json()["code"], "INVALID_STATUS");
    hub.stop().await;
}
