//! PostgreSQL crashes, loses an answer, is locked or full: the door says 503 and never a false 2xx.

use std::time::{Duration, Instant};

use busbar_testkit::instances::Postgres;
use busbar_testkit::proxy::Protocol;
use busbar_testkit::{Proxy, eventually};

use crate::client::OpenTransaction;
use crate::stage::{PATIENCE, SERVICES, Stage, address_of, by_way_of};

const RATE: u64 = 200;
/// The door's second, and what a busy machine adds.
const ABOUT_A_SECOND: Duration = Duration::from_millis(1_800);
/// Long enough for a crash in the middle.
const SECONDS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_database_is_answered_503_and_makes_no_answer_false() {
    let mut postgres = Postgres::start(&[]).await;
    let mut stage = Stage::prepare_on(Some(postgres.url()), None, RATE * SECONDS + 1).await;
    // Nobody delivers until the database is back, so only what it still knows can be delivered.
    stage.start(&["ingress", "processor", "scheduler", "admin"]).await;
    let door = stage.door();
    let load = stage.books.send(door, 0..RATE * SECONDS, RATE, false);
    let going = || async { (stage.books.verdict().acked >= RATE).then_some(()) };
    eventually("a second's events being accepted", PATIENCE, going).await;

    postgres.stop_immediately().await;
    let asked = Instant::now();
    let refused = stage.client.post(door, None, stage.books.body(RATE * SECONDS)).await;
    assert_eq!(refused.status, 503, "nothing is accepted that is not durable");
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    assert!(asked.elapsed() < ABOUT_A_SECOND, "the refusal took {:?}", asked.elapsed());

    postgres.launch();
    postgres.wait_accepting().await;
    let (back, before) = (Instant::now(), stage.books.verdict().acked);
    let accepted = || async { (stage.books.verdict().acked > before).then_some(()) };
    eventually("a 2xx after the database is back", Duration::from_secs(1), accepted).await;
    eprintln!("the first 2xx came {:?} after the database let clients in", back.elapsed());
    stage.start(&["delivery"]).await;

    let outcome = load.ended().await;
    assert!(outcome.answers.keys().all(|status| [202, 503].contains(status)), "{outcome:?}");
    assert_eq!(outcome.unanswered, 0, "every request is answered: {outcome:?}");
    assert!(outcome.answers.contains_key(&503), "the crash was felt: {outcome:?}");
    let verdict = stage.books.judge(PATIENCE).await;
    eprintln!("{outcome:?} {verdict:?}");
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_answered_202_and_counts_once() {
    let mut stage = Stage::prepare(3).await;
    let proxy = Proxy::start(Protocol::Postgres, address_of(stage.database(), 5432)).await;
    let url = by_way_of(stage.database(), proxy.address());
    stage.tell("ingress", "BUSBAR_DATABASE__URL", url);
    stage.start(&["ingress", "delivery", "scheduler"]).await;
    let door = stage.door();

    // The third time there is a prepared statement, so that another message carries it; keys take another way.
    for (event, key) in [(0, None), (1, Some("a-key")), (2, None)] {
        proxy.swallow(1);
        let asked = Instant::now();
        let answer = stage.client.post(door, key, stage.books.body(event)).await;
        stage.books.ledger.acked(event, Instant::now());
        assert_eq!(answer.status, 202, "{answer:?}");
        assert!(answer.headers.get("idempotency-replayed").is_none(), "it is the first of its kind");
        assert!(asked.elapsed() < ABOUT_A_SECOND, "the answer took {:?}", asked.elapsed());
        assert_eq!(proxy.swallowed(), u32::try_from(event).unwrap() + 1, "the answer of the commit was lost");
    }
    let verdict = stage.books.judge(PATIENCE).await;
    stage.quiet().await;
    assert_eq!((verdict.delivered, verdict.duplicated), (3, 0), "{verdict:?}");
    assert_eq!(stage.ask("select count(*) from events").await, "3");
    assert_eq!(stage.ask("select count(*) from deliveries").await, "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_waited_for_a_second_and_no_longer() {
    let mut stage = Stage::prepare(40).await;
    stage.start(&SERVICES).await;
    let door = stage.door();
    let pids = stage.pids(&SERVICES);
    assert_eq!(stage.client.post(door, None, stage.books.body(0)).await.status, 202);

    // Somebody has begun a transaction, looked, and gone to lunch.
    let idle = OpenTransaction::begin(stage.database(), "select count(*) from deliveries").await;
    let answer = stage.client.post(door, None, stage.books.body(1)).await;
    stage.books.ledger.acked(1, Instant::now());
    assert_eq!(answer.status, 202, "who only looks is in nobody's way");
    stage.books.judge(PATIENCE).await;
    idle.roll_back().await;

    let lock = OpenTransaction::begin(stage.database(), "lock table deliveries in access exclusive mode").await;
    for event in 2..5 {
        let asked = Instant::now();
        let refused = stage.client.post(door, Some(&format!("{event}")), stage.books.body(event)).await;
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
        assert!(asked.elapsed() < ABOUT_A_SECOND, "the refusal took {:?}", asked.elapsed());
    }
    lock.roll_back().await;
    let accepted = || async {
        let answer = stage.client.post(door, Some("2"), stage.books.body(2)).await;
        (answer.status == 202).then_some(())
    };
    eventually("a 2xx after the lock is gone", Duration::from_secs(3), accepted).await;
    stage.books.ledger.acked(2, Instant::now());
    stage.books.judge(PATIENCE).await;
    stage.quiet().await;
    assert_eq!(stage.pids(&SERVICES), pids, "nobody has died of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_a_free_connection_is_waited_for() {
    let postgres = Postgres::start(&[("max_connections", "60")]).await;
    let mut stage = Stage::prepare_on(Some(postgres.url()), None, 40).await;
    let proxy = Proxy::start(Protocol::Plain, address_of(stage.database(), 5432)).await;
    let url = by_way_of(stage.database(), proxy.address());
    for service in SERVICES {
        stage.tell(service, "BUSBAR_DATABASE__URL", url.clone());
    }
    stage.start(&SERVICES).await;
    let door = stage.door();
    let pids = stage.pids(&SERVICES);
    assert_eq!(stage.client.post(door, None, stage.books.body(0)).await.status, 202);

    // Every connection of the services is lost, and others take all there are before they return.
    proxy.refuse(true);
    proxy.cut();
    eventually("the services being cut off", PATIENCE, || async {
        let theirs = "select count(*) from pg_stat_activity where application_name like 'busbar-%'";
        (stage.ask(theirs).await == "0").then_some(())
    })
    .await;
    let mut others = Vec::new();
    while let Some(other) = postgres.connect().await {
        others.push(other);
    }
    assert!(others.len() > 30, "only {} connections were taken", others.len());
    proxy.refuse(false);
    let asked = Instant::now();
    let refused = stage.client.post(door, None, stage.books.body(1)).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(asked.elapsed() < ABOUT_A_SECOND, "the refusal took {:?}", asked.elapsed());

    drop(others);
    let accepted = || async {
        let answer = stage.client.post(door, Some("2"), stage.books.body(2)).await;
        (answer.status == 202).then_some(())
    };
    eventually("a 2xx after there are connections again", Duration::from_secs(3), accepted).await;
    stage.books.ledger.acked(2, Instant::now());
    stage.books.judge(PATIENCE).await;
    stage.ready(&SERVICES).await;
    stage.quiet().await;
    assert_eq!(stage.pids(&SERVICES), pids, "nobody has died of it");
}
