//! What the hub reports of receivers, and that it does not report about its reports; many producers of one order.

use std::collections::HashMap;

use busbar_sandbox::Step;
use busbar_testkit::Hub;
use serde_json::{Value, json};

use super::{ask, publish, soon, until};

#[tokio::test]
async fn a_death_is_reported_and_the_death_of_a_report_is_not() {
    let hub = Hub::start().await;
    hub.receiver().script("/down", vec![Step::status(500)]);
    let (down, _) = hub.webhook("/down", "standard", &["a"], soon(2)).await;
    let (deaf, _) = hub.webhook("/down/too", "standard", &["delivery.dead"], soon(1)).await;
    hub.webhook("/told", "standard", &["delivery.dead"], json!({})).await;
    publish(&hub, "a", json!({})).await;
    let told = hub.arrived("/told", 1).await.remove(0);
    let told: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(told["type"], "delivery.dead");
    assert_eq!(told["data"]["webhook_id"], down.as_str());
    assert_eq!((told["data"]["event_type"].as_str(), told["data"]["attempts"].as_i64()), (Some("a"), Some(2)));
    assert_eq!(
        (told["data"]["reason"].as_str(), told["data"]["last_status"].as_i64()),
        (Some("attempts_exhausted"), Some(500))
    );
    until(&hub, &format!("select state from deliveries where webhook_id = '{deaf}'"), "dead").await;
    until(&hub, "select count(*) from dead_letters", "2").await;
    until(&hub, "select count(*) from deliveries where state in ('pending', 'retrying')", "0").await;
    assert_eq!(ask(&hub, "select count(*) from events where type = 'delivery.dead'"), "1");
    hub.stop().await;
}

#[tokio::test]
async fn twenty_producers_of_ten_keys_are_heard_in_the_order_of_acceptance() {
    let hub = Hub::start().await;
    hub.webhook("/keyed", "standard", &["a"], json!({})).await;
    let producers = (0..20).map(|producer| {
        let hub = &hub;
        async move {
            for number in 0..10 {
                let data = json!({ "by": format!("{producer}/{number}") });
                let body = json!({ "type": "a", "ordering_key": format!("k{number}"), "data": data });
                assert_eq!(hub.ingest("/api/v1/events", &body).await.status, 202);
            }
        }
    });
    futures_util::future::join_all(producers).await;
    let calls = hub.arrived("/keyed", 200).await;
    let mut arrived: HashMap<String, Vec<String>> = HashMap::new();
    for call in calls {
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        let by = body["data"]["by"].as_str().unwrap();
        let number = by.split('/').nth(1).unwrap();
        arrived.entry(format!("k{number}")).or_default().push(by.to_owned());
    }
    for (key, arrived) in arrived {
        let accepted = ask(
            &hub,
            &format!(
                "select string_agg(convert_from(e.payload, 'utf8')::json ->> 'by', ' ' order by d.seq)
                 from deliveries d join events e on e.id = d.event_id where d.ordering_key = '{key}'"
            ),
        );
        assert_eq!(arrived.join(" "), accepted, "{key}");
    }
    hub.stop().await;
}
