//! A process is paused for longer than its leases hold and goes on: what it had begun has passed to others meanwhile,
//! and what it writes late is refused.

use std::time::Duration;

use busbar_runtime::settings;
use busbar_sandbox::{Answer, Step};
use busbar_testkit::eventually;

use crate::stage::{PATIENCE, Stage};

const RATE: u64 = 100;
/// Longer than a lease (5 s) and than the pause; a minute each in the full matrix.
const SECONDS: u64 = 40;
/// How long the receiver takes, so that there is always something in flight.
const SLOW: Duration = Duration::from_millis(200);

/// How long each process is paused.
fn pause() -> Duration {
    let all = settings::environment().any(|(name, value)| name == "BUSBAR_FAULTS" && value == "all");
    Duration::from_secs(if all { 60 } else { 7 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_paused_writes_nothing_late() {
    let pause = pause();
    let events = RATE * (SECONDS + 5 * pause.as_secs());
    let mut stage = Stage::prepare(events).await;
    stage.books.answer(vec![Step::new(Answer::status(200).after(SLOW))]);
    stage.start(&["ingress", "processor", "delivery", "delivery-b", "scheduler"]).await;
    let door = stage.door();
    let load = stage.books.send(door, 0..events, RATE, true);
    stage.progress(PATIENCE).await;

    for service in ["delivery", "delivery-b", "scheduler", "processor", "ingress"] {
        stage.processes().signal(service, "STOP").await.unwrap();
        // The pause itself is the fault; nothing can be waited for.
        tokio::time::sleep(pause).await;
        stage.processes().signal(service, "CONT").await.unwrap();
        stage.progress(PATIENCE).await;
    }
    drop(load);
    stage.quiet().await;
    let verdict = stage.books.judge(PATIENCE).await;
    eprintln!("{verdict:?}");
    let lost = stage.metric("delivery", "busbar_delivery_claims_lost_total").await
        + stage.metric("delivery-b", "busbar_delivery_claims_lost_total").await;
    assert!(lost > 0.0, "the paused worker had work in flight that others took");
    let doubled = "select count(*) from deliveries d where d.attempts <>
        (select count(*) from attempts a where a.delivery_id = d.id)";
    assert_eq!(stage.ask(doubled).await, "0", "one row for each attempt that counts");
    eventually("nothing being claimed any more", PATIENCE, || async {
        (stage.ask("select count(*) from deliveries where lease_until is not null").await == "0").then_some(())
    })
    .await;
}
