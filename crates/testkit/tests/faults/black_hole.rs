//! A receiver that never answers takes half of the traffic: those that do answer must not feel it.

use std::time::{Duration, Instant};

use busbar_sandbox::load::Latency;
use busbar_testkit::eventually;

use crate::stage::{PATIENCE, SERVICES, Stage};

const RATE: u64 = 200;
const SECONDS: u64 = 8;
/// More events than half of the room takes, several times.
const BATCH: u64 = 40;
const BATCHES: u64 = 10;
/// Within this every healthy delivery arrives.
const WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_never_answers_slows_nobody_else() {
    let mut stage = Stage::prepare(RATE * SECONDS).await;
    give_little_room(&mut stage);
    stage.start(&SERVICES).await;
    let door = stage.door();
    let outcome = stage.books.send_half_to_the_hole(door, 0..RATE * SECONDS, RATE).ended().await;
    assert_eq!(outcome.answers.get(&202), Some(&(RATE * SECONDS)), "{outcome:?}");
    let verdict = stage.books.judge(PATIENCE).await;
    assert_eq!(verdict.delivered, RATE * SECONDS / 2, "{verdict:?}");
    let latency = Latency::of(stage.books.ledger.delivery_times(0..RATE * SECONDS));
    eprintln!("healthy deliveries: p50 {:?}, p99 {:?}, longest {:?}", latency.p50, latency.p99, latency.max);
    assert!(latency.max <= WITHIN, "a healthy delivery took {:?}", latency.max);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_never_answers_holds_up_no_batch() {
    let mut stage = Stage::prepare(BATCHES * BATCH).await;
    give_little_room(&mut stage);
    stage.start(&SERVICES).await;
    let door = stage.door();
    for batch in 0..BATCHES {
        let events = batch * BATCH..(batch + 1) * BATCH;
        let bodies: Vec<_> = events.clone().map(|event| stage.books.body_with_holes(event)).collect();
        let body = [b"[".to_vec(), bodies.join(&b","[..]), b"]".to_vec()].concat();
        let url = format!("http://{door}/api/v1/events/batch");
        let answer = stage.client.call(&url, None, body, PATIENCE).await.unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        events.clone().for_each(|event| stage.books.ledger.acked(event, Instant::now()));
        let arrived = || async { (stage.books.ledger.check(events.clone()).lost == 0).then_some(()) };
        eventually("the healthy half of a batch arriving", WITHIN, arrived).await;
    }
    stage.books.judge(PATIENCE).await;
}

/// So little that the black hole would take all of it within a second, were it let.
fn give_little_room(stage: &mut Stage) {
    stage.tell("delivery", "BUSBAR_DELIVERY__MAX_IN_FLIGHT", "32");
    stage.tell("delivery", "BUSBAR_DELIVERY__MAX_IN_FLIGHT_PER_WEBHOOK", "16");
}
