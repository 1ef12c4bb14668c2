//! A webhook's own pace, which all processes share, and what goes first within it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use busbar_runtime::{Context, Health, Shutdown};
use busbar_sandbox::Step;
use busbar_testkit::{Hub, eventually};
use serde_json::{Value, json};

use super::{act, ask, publish};

/// A further process that delivers, as far as this test can tell.
pub(super) struct SecondProcess {
    shutdown: Shutdown,
    health: Health,
    running: std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>>>>,
}

pub(super) fn a_second_process(hub: &Hub) -> SecondProcess {
    let shutdown = Shutdown::new(&hub.settings().drain);
    let health = Health::new(shutdown.clone());
    let context = Context { service: "second", health: health.clone(), shutdown: shutdown.clone() };
    let running = Box::pin(busbar_delivery::run(Arc::new(hub.settings().clone()), context));
    SecondProcess { shutdown, health, running }
}

impl SecondProcess {
    /// Runs it until `test` has ended.
    pub(super) async fn beside(self, test: impl Future<Output = ()>) {
        let Self { shutdown, health, running } = self;
        let test = async {
            eventually("the second process being ready", Duration::from_secs(10), || async {
                (health.is_ready() && health.readiness().checks.len() >= 3).then_some(())
            })
            .await;
            test.await;
            shutdown.trigger();
        };
        let (ended, ()) = tokio::join!(running, test);
        ended.unwrap();
    }
}

/// When `path` was called, in order.
fn arrivals(hub: &Hub, path: &str) -> Vec<Instant> {
    let calls = hub.receiver().requests();
    let mut at: Vec<_> = calls.iter().filter(|call| call.path == path).map(|call| call.received_at).collect();
    at.sort_unstable();
    at
}

/// The most calls within any second.
fn busiest_second(at: &[Instant]) -> usize {
    let within = |from: &Instant| at.iter().filter(|at| *at >= from && **at < *from + Duration::from_secs(1)).count();
    at.iter().map(within).max().unwrap_or(0)
}

async fn twenty_at_five_a_second(hub: &Hub) {
    hub.webhook("/paced", "standard", &["a"], json!({ "rate_limit": 5 })).await;
    futures_util::future::join_all((0..20).map(|_| publish(hub, "a", json!({})))).await;
    hub.arrived("/paced", 20).await;
    let at = arrivals(hub, "/paced");
    let took = at[19] - at[0];
    assert!((Duration::from_secs(3)..=Duration::from_secs(5)).contains(&took), "{took:?}");
    assert!(busiest_second(&at) <= 6, "{} in one second", busiest_second(&at));
}

#[tokio::test]
async fn a_webhook_with_a_pace_gets_no_more_in_any_second() {
    let hub = Hub::start().await;
    twenty_at_five_a_second(&hub).await;
    hub.stop().await;
}

#[tokio::test]
async fn two_processes_share_a_webhooks_pace() {
    let hub = Hub::start().await;
    a_second_process(&hub).beside(twenty_at_five_a_second(&hub)).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_test_waits_for_no_pace() {
    let hub = Hub::start().await;
    let (webhook, _) = hub.webhook("/slow", "standard", &["a"], json!({ "rate_limit": 1 })).await;
    for _ in 0..10 {
        publish(&hub, "a", json!({})).await;
    }
    hub.arrived("/slow", 1).await;
    let asked = Instant::now();
    assert_eq!(act(&hub, &webhook, "test").await["response_code"], 200);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    hub.stop().await;
}

#[tokio::test]
async fn what_is_new_goes_before_what_was_tried_before() {
    let hub = Hub::start().await;
    hub.receiver().script("/both", vec![Step::status(500).times(4), Step::status(200)]);
    let more = json!({
        "rate_limit": 3, "retry": { "max_attempts": 5, "first_ms": 100, "factor": 1, "max_ms": 100 }
    });
    hub.webhook("/both", "standard", &["a"], more).await;
    for _ in 0..4 {
        publish(&hub, "a", json!({ "old": true })).await;
    }
    hub.arrived("/both", 5).await;
    // The first retry has begun; the others wait in the lane for the webhook's pace.
    eventually("the others waiting", Duration::from_secs(5), || async {
        let waiting = "select count(*) filter (where lease_until is not null) = count(*)
            from deliveries where state in ('pending', 'retrying')";
        (ask(&hub, waiting) == "t").then_some(())
    })
    .await;
    futures_util::future::join_all((0..4).map(|_| publish(&hub, "a", json!({ "old": false })))).await;
    let calls = hub.arrived("/both", 12).await;
    let old = |call: &busbar_sandbox::Received| {
        serde_json::from_slice::<Value>(&call.body).unwrap()["data"]["old"].as_bool().unwrap()
    };
    assert!(old(&calls[11]), "a retry that waited longer than anything new comes last");
    hub.stop().await;
}
