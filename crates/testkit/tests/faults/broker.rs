//! RabbitMQ crashes or its confirms are lost: the door does not notice, and what is owed arrives.

use std::time::{Duration, Instant};

use busbar_testkit::instances::RabbitMq;
use busbar_testkit::proxy::{Hold, Protocol};
use busbar_testkit::{Proxy, eventually};

use crate::stage::{PATIENCE, SERVICES, Stage, address_of, by_way_of};

const RATE: u64 = 200;
/// Longer than a node takes to start.
const SECONDS: u64 = 15;
/// Events whose confirm is lost, one by one; events that are lost themselves, together; and a load.
const ROUNDS: u64 = 3;
const SOME: u64 = 20;
const LOAD: u64 = RATE * 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_broker_is_not_noticed_at_the_door() {
    let mut rabbitmq = RabbitMq::start().await;
    let mut stage = Stage::prepare_on(None, Some(rabbitmq.url()), RATE * SECONDS).await;
    stage.start(&SERVICES).await;
    let door = stage.door();
    let load = stage.books.send(door, 0..RATE * SECONDS, RATE, false);
    stage.progress(PATIENCE).await;

    rabbitmq.kill().await;
    rabbitmq.launch();
    rabbitmq.wait_accepting().await;
    let back = Instant::now();
    stage.progress(Duration::from_secs(5)).await;
    eprintln!("deliveries resumed {:?} after the broker let clients in", back.elapsed());

    let outcome = load.ended().await;
    assert_eq!(outcome.unanswered, 0, "every request is answered: {outcome:?}");
    assert_eq!(outcome.answers.keys().collect::<Vec<_>>(), [&202], "{outcome:?}");
    let verdict = stage.books.judge(PATIENCE).await;
    eprintln!("{verdict:?}");
    assert_eq!(verdict.acked, RATE * SECONDS);
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wake_ups_of_unknown_outcome_are_sent_again() {
    let mut stage = Stage::prepare(ROUNDS + SOME + LOAD).await;
    let proxy = Proxy::start(Protocol::Amqp, address_of(stage.broker(), 5672)).await;
    let url = by_way_of(stage.broker(), proxy.address());
    stage.tell("ingress", "BUSBAR_BROKER__URL", url);
    // Without a scheduler nobody else wakes what was not confirmed.
    stage.start(&["ingress", "delivery"]).await;
    let door = stage.door();

    // The broker has it, but the door does not hear of it. What is taken in before the door has a new connection is
    // left to the scheduler, so events wait for that here.
    for event in 0..ROUNDS {
        let served = proxy.served();
        proxy.swallow(1);
        publish(&stage, door, event..event + 1).await;
        arrived(&stage, event..event + 1).await;
        let again = || async { (proxy.served() > served).then_some(()) };
        eventually("the door connecting again", PATIENCE, again).await;
        stage.ready(&["ingress"]).await;
    }
    assert_eq!(u64::from(proxy.swallowed()), ROUNDS, "confirms were lost");

    // The broker has none of them, and the door cannot know.
    proxy.hold(Hold::ToServer);
    publish(&stage, door, ROUNDS..ROUNDS + SOME).await;
    let before = stage.books.ledger.check(ROUNDS..ROUNDS + SOME);
    assert_eq!(before.delivered, 0, "no wake-up has left: {before:?}");
    proxy.cut();
    proxy.hold(Hold::Nothing);
    arrived(&stage, ROUNDS..ROUNDS + SOME).await;

    stage.start(&["scheduler"]).await;
    let load = stage.books.send(door, ROUNDS + SOME..ROUNDS + SOME + LOAD, RATE, false);
    for _ in 0..ROUNDS {
        stage.progress(PATIENCE).await;
        let before = proxy.swallowed();
        proxy.swallow(1);
        eventually("a confirm being lost", PATIENCE, || async { (proxy.swallowed() > before).then_some(()) }).await;
    }
    let outcome = load.ended().await;
    assert_eq!(outcome.answers.keys().collect::<Vec<_>>(), [&202], "{outcome:?}");
    let verdict = stage.books.judge(PATIENCE).await;
    eprintln!("{verdict:?}");
    stage.quiet().await;
}

/// Publishes events one by one; each is acknowledged.
async fn publish(stage: &Stage, door: std::net::SocketAddr, events: std::ops::Range<u64>) {
    for event in events {
        let answer = stage.client.post(door, None, stage.books.body(event)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        stage.books.ledger.acked(event, Instant::now());
    }
}

/// Waits until events have arrived, for less time than a wake-up's grace.
async fn arrived(stage: &Stage, events: std::ops::Range<u64>) {
    let all = || async { (stage.books.ledger.check(events.clone()).lost == 0).then_some(()) };
    eventually("what was woken arriving", Duration::from_secs(4), all).await;
}
