//! A worker that crashes again and again with its hands full: what it held was innocent, so nothing of it is given up.

use std::time::Duration;

use busbar_runtime::settings;
use busbar_sandbox::{Answer, Step};
use busbar_testkit::eventually;

use crate::stage::{PATIENCE, READY_WITHIN, Stage};

/// All of them are in the worker's hands when it is killed for the first time.
const EVENTS: u64 = 64;
const RATE: u64 = 500;
/// So slow that nothing is answered before the worker is killed.
const SLOW: Duration = Duration::from_secs(5);
/// From then on what was in hand is worked alone, one at a time.
const TOGETHER: u32 = 3;

/// How often the worker is killed: more often than a delivery may crash it.
fn crashes() -> u32 {
    let all = settings::environment().any(|(name, value)| name == "BUSBAR_FAULTS" && value == "all");
    if all { 25 } else { 9 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn innocent_deliveries_outlive_a_worker_that_crashes_again_and_again() {
    let mut stage = Stage::prepare(EVENTS).await;
    stage.books.answer(vec![Step::new(Answer::status(200).after(SLOW))]);
    stage.start(&["ingress", "scheduler"]).await;
    let door = stage.door();
    let outcome = stage.books.send(door, 0..EVENTS, RATE, true).ended().await;
    assert_eq!(outcome.answers.get(&202), Some(&EVENTS), "{outcome:?}");

    let mut killed_at = "-infinity".to_owned();
    for round in 0..crashes() {
        stage.launch("delivery");
        // A lease that was taken after the last crash ends later than any that was taken before it.
        let own = format!("lease_until > timestamptz '{killed_at}' + interval '5 seconds'");
        let wanted = if round < TOGETHER { EVENTS } else { 1 };
        let held = || async {
            let held = stage.ask(&format!("select count(*) from deliveries where {own}")).await;
            (held.parse::<u64>().unwrap() >= wanted).then_some(held)
        };
        let held = eventually("the worker having its hands full", READY_WITHIN, held).await;
        let most = stage.ask("select max(crashes) from deliveries").await;
        stage.kill("delivery").await;
        killed_at = stage.ask("select clock_timestamp()").await;
        eprintln!("crash {round}: {held} in hand, of which one was there at {most} crashes before");
        assert_eq!(stage.ask("select count(*) from dead_letters").await, "0", "nothing is given up");
    }
    let crashed = "select count(*) from deliveries where crashes >= 2";
    assert_eq!(stage.ask(crashed).await, EVENTS.to_string(), "each was in hand at several crashes");

    stage.books.answer(vec![Step::status(200)]);
    stage.launch("delivery");
    let open = || async {
        let open = stage.ask("select count(*) from deliveries where state <> 'succeeded'").await;
        (open == "0").then_some(())
    };
    eventually("every delivery having succeeded", 8 * PATIENCE, open).await;
    let verdict = stage.books.judge(PATIENCE).await;
    assert_eq!(verdict.delivered, EVENTS, "{verdict:?}");
    eprintln!("{verdict:?}");
}
