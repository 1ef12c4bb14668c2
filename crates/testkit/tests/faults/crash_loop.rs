//! A worker that crashes again and again with its hands full: what it held was innocent, so nothing of it is given up.

use std::time::Duration;

use busbar_sandbox::{Answer, Step};
use busbar_testkit::eventually;

use crate::stage::{PATIENCE, READY_WITHIN, Stage};

const CRASHES: u32 = 25;
const RATE: u64 = 200;
/// More than the longest run sends.
const EVENTS: u64 = RATE * 600;
/// Deliveries that the worker holds when it is killed; far more wait.
const IN_HAND: u64 = 64;
/// So slow that the worker's hands are full.
const SLOW: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it has not been seen to pass yet"]
async fn innocent_deliveries_outlive_a_worker_that_crashes_twenty_five_times() {
    let mut stage = Stage::prepare(EVENTS).await;
    stage.books.answer(vec![Step::new(Answer::status(200).after(SLOW))]);
    stage.start(&["ingress", "delivery", "scheduler"]).await;
    let door = stage.door();
    let sending = stage.books.send(door, 0..EVENTS, RATE, true);
    stage.progress(PATIENCE).await;

    let mut most = 0;
    for _ in 0..CRASHES {
        let held = || async {
            let held = stage.ask("select count(*) from deliveries where lease_until > now()").await;
            held.parse::<u64>().ok().filter(|held| *held >= IN_HAND)
        };
        most = most.max(eventually("the worker having its hands full", READY_WITHIN, held).await);
        stage.kill("delivery").await;
        stage.launch("delivery");
        stage.ready(&["delivery"]).await;
    }
    drop(sending);
    let crashed = stage.ask("select max(crashes) from deliveries").await;
    eprintln!("up to {most} deliveries were in hand; one was in hand at up to {crashed} crashes");

    stage.books.answer(vec![Step::status(200)]);
    let open = || async {
        let open = stage.ask("select count(*) from deliveries where state in ('pending', 'retrying', 'held')").await;
        (open == "0").then_some(())
    };
    eventually("every delivery having ended", 8 * PATIENCE, open).await;
    assert_eq!(stage.ask("select count(*) from dead_letters").await, "0", "nothing was given up");
    assert_eq!(stage.ask("select count(*) from deliveries where state <> 'succeeded'").await, "0");
    let verdict = stage.books.judge(PATIENCE).await;
    eprintln!("{verdict:?}");
}
