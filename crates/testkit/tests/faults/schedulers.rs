//! Several schedulers and processors, killed in turn: a retry is made once, by whomever, and none is forgotten.

use busbar_sandbox::Step;
use busbar_testkit::eventually;

use crate::stage::{PATIENCE, Stage};

const EVENTS: u64 = 400;
const RATE: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_made_once_however_many_schedulers_there_are_and_die() {
    let mut stage = Stage::prepare(EVENTS).await;
    stage.books.answer(vec![Step::status(500).times(u32::try_from(EVENTS).unwrap()), Step::status(200)]);
    let soon =
        "with soon as (update webhooks set retry_first_ms = 1000, retry_factor = 2, retry_max_ms = 2000 returning 1)";
    stage.ask(&format!("{soon} select count(*) from soon")).await;
    stage.start(&["ingress", "delivery", "processor", "scheduler", "scheduler-b"]).await;
    let door = stage.door();
    let load = stage.books.send(door, 0..EVENTS, RATE, false);
    for victim in ["scheduler", "processor", "scheduler-b", "scheduler", "processor", "scheduler-b"] {
        let before = stage.books.ledger.arrivals();
        let goes_on = || async { (stage.books.ledger.arrivals() >= before + EVENTS / 20).then_some(()) };
        eventually("deliveries going on", PATIENCE, goes_on).await;
        stage.kill(victim).await;
        stage.launch(victim);
    }
    let outcome = load.ended().await;
    assert_eq!(outcome.answers.get(&202), Some(&EVENTS), "{outcome:?}");
    stage.quiet().await;
    let verdict = stage.books.judge(PATIENCE).await;
    assert_eq!(verdict.delivered, EVENTS, "{verdict:?}");
    let attempts: u64 = stage.ask("select sum(attempts) from deliveries").await.parse().unwrap();
    assert_eq!(stage.books.ledger.arrivals(), attempts, "no call was made beside those that are recorded");
    let most: u64 = stage.ask("select max(attempts) from deliveries").await.parse().unwrap();
    assert!(attempts >= 2 * EVENTS - EVENTS / 2 && most <= 6, "{attempts} attempts, at most {most} of one");
}
