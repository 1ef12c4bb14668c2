//! Ordering keys: what is accepted first arrives first, key by key; a failing head holds its own key only.

use std::collections::HashMap;
use std::time::Duration;

use busbar_egress::Method;
use busbar_sandbox::{Answer, Step};
use busbar_testkit::hub::PATIENCE;
use busbar_testkit::{Hub, eventually};
use serde_json::{Value, json};

fn soon(attempts: u32) -> Value {
    json!({ "retry": { "max_attempts": attempts, "first_ms": 100, "factor": 1, "max_ms": 100 } })
}

async fn publish(hub: &Hub, kind: &str, key: &str, number: u64) {
    let body = json!({ "type": kind, "ordering_key": key, "data": { "key": key, "n": number } });
    let reply = hub.ingest("/api/v1/events", &body).await;
    assert_eq!(reply.status, 202, "{:?}", reply.body);
}

/// The numbers that arrived at a path, by key, each once, in the order of their first arrival.
async fn numbers(hub: &Hub, path: &str, count: usize) -> HashMap<String, Vec<u64>> {
    eventually("every number having arrived", PATIENCE, || async {
        let mut by_key: HashMap<String, Vec<u64>> = HashMap::new();
        for call in hub.receiver().requests().iter().filter(|call| call.path == path) {
            let body: Value = serde_json::from_slice(&call.body).unwrap();
            let numbers = by_key.entry(body["data"]["key"].as_str().unwrap().to_owned()).or_default();
            let number = body["data"]["n"].as_u64().unwrap();
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        (by_key.values().map(Vec::len).sum::<usize>() >= count).then_some(by_key)
    })
    .await
}

#[tokio::test]
async fn events_with_one_key_arrive_in_the_order_of_their_acceptance() {
    const EACH: u64 = 25;
    let hub = Hub::start().await;
    // The earlier a call comes, the longer it takes: without an order, later ones would overtake it.
    let slow = |millis| Step::new(Answer::status(200).after(Duration::from_millis(millis))).times(4);
    hub.receiver().script("/keyed", vec![slow(120), slow(60), slow(30), Step::status(200)]);
    hub.webhook("/keyed", "standard", &["a"], json!({})).await;
    let producers = ["one", "two", "three", "four"].map(|key| {
        let hub = &hub;
        async move {
            for number in 0..EACH {
                publish(hub, "a", key, number).await;
            }
        }
    });
    futures_util::future::join_all(producers).await;
    let arrived = numbers(&hub, "/keyed", 4 * usize::try_from(EACH).unwrap()).await;
    assert_eq!(arrived.len(), 4);
    for (key, numbers) in arrived {
        assert_eq!(numbers, (0..EACH).collect::<Vec<_>>(), "{key}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_failing_head_holds_its_own_key_only() {
    let hub = Hub::start().await;
    hub.receiver().script("/head", vec![Step::status(500).times(2), Step::status(200)]);
    let (webhook, _) = hub.webhook("/head", "standard", &["a"], soon(10)).await;
    publish(&hub, "a", "stuck", 0).await;
    hub.arrived("/head", 1).await;
    for number in 1..4 {
        publish(&hub, "a", "stuck", number).await;
    }
    let held = hub.admin(Method::GET, &format!("/api/v1/deliveries?webhook={webhook}&status=held"), None).await.json();
    assert!(held["data"].as_array().unwrap().iter().all(|delivery| delivery["reason"] == "order"), "{held}");
    publish(&hub, "a", "free", 0).await;
    let arrived = numbers(&hub, "/head", 5).await;
    assert_eq!(arrived["stuck"], [0, 1, 2, 3]);
    assert_eq!(arrived["free"], [0]);
    hub.stop().await;
}

#[tokio::test]
async fn a_dead_head_lets_the_next_one_go() {
    let hub = Hub::start().await;
    hub.receiver().script("/dying", vec![Step::status(500).times(2), Step::status(200)]);
    let (webhook, _) = hub.webhook("/dying", "standard", &["a"], soon(2)).await;
    for number in 0..3 {
        publish(&hub, "a", "k", number).await;
    }
    let arrived = numbers(&hub, "/dying", 3).await;
    assert_eq!(arrived["k"], [0, 1, 2]);
    let dead = format!("/api/v1/deliveries?webhook={webhook}&status=dead");
    eventually("one being dead", PATIENCE, || async {
        let page = hub.admin(Method::GET, &dead, None).await.json();
        (page["data"].as_array()?.len() == 1).then_some(())
    })
    .await;
    hub.stop().await;
}
