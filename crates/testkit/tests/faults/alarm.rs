//! RabbitMQ runs out of memory and blocks who publishes: the door does not notice, nothing piles up, and afterwards
//! what is owed goes out by itself.

use std::time::{Duration, Instant};

use busbar_runtime::settings;
use busbar_testkit::eventually;
use busbar_testkit::instances::RabbitMq;

use crate::stage::{PATIENCE, SERVICES, Stage};

const RATE: u64 = 200;

/// How long the alarm lasts; a minute in the full matrix.
fn seconds() -> u64 {
    let all = settings::environment().any(|(name, value)| name == "BUSBAR_FAULTS" && value == "all");
    if all { 60 } else { 12 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_blocks_publishers_is_not_noticed_at_the_door() {
    let rabbitmq = RabbitMq::start().await;
    let lasts = Duration::from_secs(seconds());
    // Twice the alarm, so that there is traffic before and after it.
    let events = RATE * seconds() * 2;
    let mut stage = Stage::prepare_on(None, Some(rabbitmq.url()), events).await;
    stage.start(&SERVICES).await;
    let door = stage.door();
    let load = stage.books.send(door, 0..events, RATE, false);
    stage.progress(PATIENCE).await;

    rabbitmq.control(&["set_vm_memory_high_watermark", "0"]).await;
    let (began, before) = (Instant::now(), stage.memory("ingress"));
    let acked = stage.books.verdict().acked;
    let accepted = || async {
        let enough = stage.books.verdict().acked >= acked + RATE * seconds() / 2;
        (enough && began.elapsed() >= lasts).then_some(())
    };
    eventually("the door accepting while the alarm lasts", lasts + PATIENCE, accepted).await;
    let grown = stage.memory("ingress").saturating_sub(before);
    assert!(grown < 64 * 1024, "the door has grown by {grown} KiB");
    rabbitmq.control(&["set_vm_memory_high_watermark", "0.4"]).await;
    let released = Instant::now();

    let outcome = load.ended().await;
    assert_eq!(outcome.unanswered, 0, "{outcome:?}");
    assert_eq!(outcome.answers.keys().collect::<Vec<_>>(), [&202], "every request is answered 202: {outcome:?}");
    let _settled = stage.books.ledger.settle(0..events, 2 * lasts + PATIENCE).await;
    let drained = released.elapsed();
    eprintln!("alarm of {lasts:?}; all delivered {drained:?} after it ended, the load included");
    assert!(drained <= 2 * lasts, "it took {drained:?} until all was delivered");
    let verdict = stage.books.judge(PATIENCE).await;
    assert_eq!(verdict.acked, events);
    stage.quiet().await;
}
