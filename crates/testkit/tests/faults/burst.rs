//! One tenant's flood and a thousand receivers that recover at once: everybody else's new events keep their pace.

use std::time::{Duration, Instant};

use busbar_sandbox::load::Latency;
use busbar_sandbox::{Answer, Step};
use busbar_testkit::eventually;

use crate::more::{another_tenant, furnish_more};
use crate::stage::{PATIENCE, SERVICES, Stage};

/// What the tenant that is watched sends, per second.
const RATE: u64 = 100;
const SECONDS: u64 = 6;
/// What the other one sends, per second.
const FLOOD: u64 = 1_000;
/// Webhooks that fail and recover together, and what each of them is owed.
const HOOKS: usize = 400;
const OWED: u64 = 10;
/// Below this a latency is as good as any on a machine that does everything at once.
const UNNOTICED: Duration = Duration::from_millis(60);

/// The 99th percentile may grow by half, or to what nobody notices.
fn assert_unhurt(calm: &Latency, busy: &Latency) {
    eprintln!("p50 {:?} -> {:?}, p99 {:?} -> {:?}, longest {:?}", calm.p50, busy.p50, calm.p99, busy.p99, busy.max);
    let bound = UNNOTICED.max(calm.p99 * 3 / 2);
    assert!(busy.p99 <= bound, "p99 went from {:?} to {:?}", calm.p99, busy.p99);
}

/// Sends at the watched tenant's pace and answers how long deliveries took.
async fn watched(stage: &Stage, door: std::net::SocketAddr, events: std::ops::Range<u64>) -> Latency {
    let outcome = stage.books.send(door, events.clone(), RATE, false).ended().await;
    assert_eq!(outcome.answers.keys().collect::<Vec<_>>(), [&202], "{outcome:?}");
    assert!(stage.books.ledger.settle(events.clone(), PATIENCE).await, "what was sent has arrived");
    Latency::of(stage.books.ledger.delivery_times(events))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_recover_together_slow_no_new_event() {
    let each = RATE * SECONDS;
    let mut stage = Stage::prepare(2 * each).await;
    let url = stage.books.elsewhere("/storm", vec![Step::status(503)]);
    furnish_more(&stage, HOOKS, "fault.storm", &url).await;
    stage.start(&SERVICES).await;
    let door = stage.door();
    let calm = watched(&stage, door, 0..each).await;

    for event in 0..OWED {
        let body = format!(r#"{{"type":"fault.storm","data":{{"n":{event}}}}}"#).into_bytes();
        assert_eq!(stage.client.post(door, None, body).await.status, 202);
    }
    let storm = "from deliveries d join events e on e.id = d.event_id where e.type = 'fault.storm'";
    eventually("each having failed once", 2 * PATIENCE, || async {
        (stage.ask(&format!("select count(*) {storm} and d.attempts = 0")).await == "0").then_some(())
    })
    .await;
    // An hour of waiting ends: everything is due at once, and everybody takes it again.
    let _ = stage.books.elsewhere("/storm", vec![Step::new(Answer::status(200))]);
    stage.ask("with due as (update deliveries set due_at = now() where state = 'retrying' returning 1) select count(*) from due").await;
    let began = Instant::now();
    let busy = watched(&stage, door, each..2 * each).await;
    assert_unhurt(&calm, &busy);
    eventually("the storm having passed", 2 * PATIENCE, || async {
        (stage.ask(&format!("select count(*) {storm} and d.state <> 'succeeded'")).await == "0").then_some(())
    })
    .await;
    eprintln!("{} retries were delivered within {:?}", HOOKS as u64 * OWED, began.elapsed());
    stage.books.judge(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tenants_flood_slows_no_other_tenant() {
    let each = RATE * SECONDS;
    let mut stage = Stage::prepare(2 * each).await;
    let slow = stage.books.elsewhere("/flood", vec![Step::new(Answer::status(200).after(Duration::from_millis(50)))]);
    let flood = another_tenant(&stage, "fault.flood", &slow).await;
    stage.start(&SERVICES).await;
    let door = stage.door();
    let calm = watched(&stage, door, 0..each).await;

    let mut flooding = flood.pour(door, FLOOD * SECONDS, FLOOD);
    let busy = watched(&stage, door, each..2 * each).await;
    assert_unhurt(&calm, &busy);
    eprintln!("the flood was answered {:?}", flooding.join_next().await.unwrap().unwrap());
    stage.books.judge(PATIENCE).await;
}
