//! A receiver that never answers takes half of the traffic: those that do answer must not feel it.

use std::time::Duration;

use busbar_sandbox::load::Latency;

use crate::stage::{PATIENCE, SERVICES, Stage};

const RATE: u64 = 200;
const SECONDS: u64 = 8;
/// Within this every healthy delivery arrives.
const WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_never_answers_slows_nobody_else() {
    let mut stage = Stage::prepare(RATE * SECONDS).await;
    // So little room that the black hole would take all of it within a second, were it let.
    stage.tell("delivery", "BUSBAR_DELIVERY__MAX_IN_FLIGHT", "32");
    stage.tell("delivery", "BUSBAR_DELIVERY__MAX_IN_FLIGHT_PER_WEBHOOK", "16");
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
