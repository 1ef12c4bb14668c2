//! A cable is pulled: connections to the broker and to the database stay open and say nothing. Whoever waits gives
//! up in time and connects anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use busbar_testkit::proxy::{Hold, Protocol};
use busbar_testkit::{Proxy, eventually};

use crate::stage::{PATIENCE, Stage, address_of, by_way_of};

/// The broker's heartbeat finds out within this.
const NOTICED_WITHIN: Duration = Duration::from_secs(25);
/// Once the cable is in again.
const BACK_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_has_fallen_silent_is_left_and_found_again() {
    let mut stage = Stage::prepare(3).await;
    let proxy = Arc::new(Proxy::start(Protocol::Plain, address_of(stage.broker(), 5672)).await);
    let url = by_way_of(stage.broker(), proxy.address());
    for service in ["ingress", "delivery"] {
        stage.tell(service, "BUSBAR_BROKER__URL", url.clone());
    }
    // Without a scheduler only a consumer that has come back takes what waits.
    stage.start(&["ingress", "delivery"]).await;
    let door = stage.door();
    publish(&stage, door, 0).await;
    stage.progress(PATIENCE).await;

    let served = proxy.served();
    proxy.hold(Hold::Both);
    let (silent, asked) = (Instant::now(), Instant::now());
    publish(&stage, door, 1).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "the door did not wait for the broker");
    let anew = || async { (proxy.served() > served).then_some(()) };
    eventually("somebody connecting anew", NOTICED_WITHIN, anew).await;
    eprintln!("the silence was noticed after {:?}", silent.elapsed());
    proxy.cut();
    proxy.hold(Hold::Nothing);
    stage.ready(&["ingress", "delivery"]).await;
    stage.start(&["scheduler"]).await;
    publish(&stage, door, 2).await;
    let all = || async { (stage.books.verdict().delivered == 3).then_some(()) };
    eventually("everything arriving", BACK_WITHIN, all).await;
    stage.books.judge(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_has_fallen_silent_is_answered_503_and_found_again() {
    let mut stage = Stage::prepare(10).await;
    let proxy = Arc::new(Proxy::start(Protocol::Plain, address_of(stage.database(), 5432)).await);
    let url = by_way_of(stage.database(), proxy.address());
    for service in ["ingress", "delivery", "scheduler"] {
        stage.tell(service, "BUSBAR_DATABASE__URL", url.clone());
    }
    stage.start(&["ingress", "delivery", "scheduler"]).await;
    let door = stage.door();
    publish(&stage, door, 0).await;
    stage.progress(PATIENCE).await;

    proxy.hold(Hold::Both);
    for event in 1..4 {
        let asked = Instant::now();
        let refused = stage.client.post(door, Some(&format!("{event}")), stage.books.body(event)).await;
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(asked.elapsed() < Duration::from_secs(2), "the refusal took {:?}", asked.elapsed());
    }
    // What was said on the old connections is lost with them, as when the cable was pulled.
    proxy.cut();
    proxy.hold(Hold::Nothing);
    let back = Instant::now();
    let accepted = || async {
        let answer = stage.client.post(door, Some("1"), stage.books.body(1)).await;
        (answer.status == 202).then_some(())
    };
    eventually("a 2xx after the database speaks again", BACK_WITHIN, accepted).await;
    eprintln!("the first 2xx came {:?} after the database spoke again", back.elapsed());
    stage.books.ledger.acked(1, Instant::now());
    let arrived = || async { (stage.books.verdict().delivered >= 2).then_some(()) };
    eventually("it arriving", BACK_WITHIN, arrived).await;
    stage.books.judge(PATIENCE).await;
}

/// Publishes one event, which is accepted.
async fn publish(stage: &Stage, door: std::net::SocketAddr, event: u64) {
    let answer = stage.client.post(door, None, stage.books.body(event)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    stage.books.ledger.acked(event, Instant::now());
}
