//! An order from the app's request to the last finished item.

use busbar_domain::secret::Secret;
use busbar_egress::Method;
use busbar_testkit::hub::{PATIENCE, Reply};
use busbar_testkit::{Hub, eventually};
use serde_json::{Value, json};

use super::{get, order, send, stocked, text};

async fn post(hub: &Hub, path: &str, body: Value) -> Reply {
    hub.admin(Method::POST, path, Some(&body)).await
}

fn body_of(call: &busbar_sandbox::Received) -> Value {
    serde_json::from_slice(&call.body).unwrap()
}

#[tokio::test]
async fn an_order_goes_from_the_request_to_the_last_item() {
    let (hub, connector) = stocked().await;
    let (_, secret) = hub.webhook("/zap", "exact", &["shopOrder.*"], json!({})).await;
    let wanted = json!({ "product": { "item_code": "SDM-ECO-001" }, "batch_size": 2, "planned_start_date": "2024-01-15",
        "planned_end_date": "2024-01-20", "notes": "Rush order" });
    let made = post(&hub, "/api/v1/shop-orders", wanted).await;
    assert_eq!(made.status, 201, "{}", text(&made));
    let made = made.json();
    let (id, wo_number) = (made["id"].as_str().unwrap(), made["wo_number"].as_str().unwrap());
    assert!(wo_number.starts_with("PENDING-") && made["status"] == "PENDING", "{made}");

    let call = hub.arrived("/zap", 1).await.remove(0);
    let header = |name: &str| call.header(name).unwrap_or_default().to_owned();
    let key = Secret::parse(&secret).unwrap().text_key();
    assert_eq!(header("x-webhook-signature"), hex::encode(key.sign(&[&call.body])));
    assert_eq!(header("x-webhook-event"), "shopOrder.create.requested");
    assert!(!header("x-webhook-timestamp").is_empty() && !header("webhook-id").is_empty());
    let data = format!(
        r#""data":{{"work_order_id":"{id}","wo_number":"{wo_number}","product":{{"exact_item_id":"abc123-uuid-from-exact","item_code":"SDM-ECO-001","name":"SDM ECO Sensor Unit"}},"batch_size":2,"planned_start_date":"2024-01-15","planned_end_date":"2024-01-20","notes":"Rush order"}}}}"#
    );
    let sent = std::str::from_utf8(&call.body).unwrap();
    assert!(
        sent.starts_with(r#"{"event":"shopOrder.create.requested","timestamp":""#) && sent.ends_with(&data),
        "{sent}"
    );

    let path = format!("/api/v1/shop-orders/{id}");
    let waiting = get(&hub, &path).await;
    assert!(waiting["waiting_since"].is_string() && waiting["overdue"] == json!(false), "{waiting}");
    eventually("the first delivery having ended", PATIENCE, || async {
        (post(&hub, &format!("{path}/request-again"), json!({})).await.status == 202).then_some(())
    })
    .await;
    let repeat = hub.arrived("/zap", 2).await.remove(1);
    assert_eq!(repeat.header("webhook-id"), call.header("webhook-id"));
    assert_eq!(repeat.body, call.body);

    let mut answer = order("SO-77", Some(wo_number));
    answer["batch_size"] = json!(2);
    assert_eq!(send(&hub, &connector, &answer).await.json()["work_order_id"], json!(id));
    let planned = get(&hub, &path).await;
    assert_eq!((&planned["status"], &planned["waiting_since"]), (&json!("PLANNED"), &Value::Null));
    assert_eq!(post(&hub, &format!("{path}/request-again"), json!({})).await.status, 409);

    let early = post(&hub, &format!("{path}/items/1/complete"), json!({})).await;
    assert_eq!((early.status, early.json()["code"].as_str()), (409, Some("INVALID_TRANSITION")));
    let issued = json!({ "action": "assign_batch_numbers", "work_order_id": id, "materials_issued_status": "complete",
        "batch_assignments": [{ "position_in_batch": 1, "serial_number": "S1", "batch_number": "B1" },
            { "position_in_batch": 2, "serial_number": "S2", "batch_number": "B2" }] });
    assert_eq!(send(&hub, &connector, &issued).await.status, 200);
    assert_eq!(body_of(&hub.arrived("/zap", 3).await[2])["event"], "shopOrder.ready_to_start");
    let start = hub.admin(Method::PATCH, &path, Some(&json!({ "production_start_date": "2024-01-16" }))).await;
    assert_eq!(start.json()["status"], "READY_TO_START");
    let end = hub.admin(Method::PATCH, &path, Some(&json!({ "production_end_date": "2024-01-19" }))).await;
    assert_eq!(end.json()["status"], "IN_PROGRESS", "{}", text(&end));
    let told = body_of(&hub.arrived("/zap", 4).await[3]);
    assert_eq!((&told["event"], &told["data"]["notify"]), (&json!("shopOrder.in_progress"), &json!(["operator"])));

    for position in [1, 1, 2, 2] {
        let done = post(&hub, &format!("{path}/items/{position}/complete"), json!({})).await;
        assert_eq!(done.status, 200, "{}", text(&done));
    }
    assert_eq!(post(&hub, &format!("{path}/items/3/complete"), json!({})).await.status, 404);
    let completed = get(&hub, &path).await;
    assert_eq!((&completed["status"], &completed["completed_items"]), (&json!("COMPLETED"), &json!(2)));
    let calls = hub.arrived("/zap", 5).await;
    let told = body_of(&calls[4]);
    assert_eq!(told["event"], "shopOrder.completion.requested");
    assert_eq!(
        (&told["data"]["exact_shop_order_number"], &told["data"]["completed_items"]),
        (&json!("SO-77"), &json!(2))
    );
    assert_eq!(told["data"]["items"][1]["batch_number"], "B2");
    assert_eq!(calls.len(), 5, "it is asked for once");
    hub.stop().await;
}

#[tokio::test]
async fn an_order_that_cannot_be_made_says_why() {
    let (hub, _) = stocked().await;
    for (body, pointer) in [
        (json!({ "batch_size": 1 }), "/product"),
        (json!({ "product": { "item_code": "NOPE" }, "batch_size": 1 }), "/product"),
        (json!({ "product": { "item_code": "SDM-ECO-001" } }), "/batch_size"),
        (json!({ "product": { "item_code": "SDM-ECO-001" }, "batch_size": 0 }), "/batch_size"),
        (
            json!({ "product": { "item_code": "SDM-ECO-001" }, "batch_size": 1, "planned_start_date": "2024-13-01" }),
            "/planned_start_date",
        ),
    ] {
        let reply = post(&hub, "/api/v1/shop-orders", body).await;
        assert_eq!(
            (reply.status, reply.json()["errors"][0]["pointer"].as_str()),
            (422, Some(pointer)),
            "{}",
            text(&reply)
        );
    }
    hub.stop().await;
}

#[tokio::test]
async fn an_order_that_exact_leaves_unanswered_is_overdue_and_reported_once() {
    let hub = Hub::start_with(|settings| {
        settings.push(("BUSBAR_SCHEDULER__SHOP_ORDER_OVERDUE_SECONDS".to_owned(), "1".to_owned()));
    })
    .await;
    let connector = super::connector(&hub, json!({})).await;
    send(&hub, &connector, &super::documented("sync_products")).await;
    hub.webhook("/alarm", "standard", &["shopOrder.overdue"], json!({})).await;
    let wanted = json!({ "product": { "item_code": "SDM-ECO-001" }, "batch_size": 1 });
    let id = post(&hub, "/api/v1/shop-orders", wanted).await.json()["id"].as_str().unwrap().to_owned();
    let told = body_of(&hub.arrived("/alarm", 1).await[0]);
    assert_eq!(told["data"]["work_order_id"], json!(id));
    assert_eq!(get(&hub, &format!("/api/v1/shop-orders/{id}")).await["overdue"], json!(true));
    hub.stop().await;
}
