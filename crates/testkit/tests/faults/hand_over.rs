//! A service is killed between two steps: after a commit and before its wake-up, after a call and before its record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use busbar_testkit::proxy::{Hold, Protocol};
use busbar_testkit::{Proxy, eventually};

use crate::stage::{PATIENCE, Stage, address_of, by_way_of};

/// How long after a lost wake-up a row is due.
const WAKE_GRACE: Duration = Duration::from_secs(5);
/// How long what is due, or whose lease has ended, may take.
const WITHIN: Duration = Duration::from_secs(6);
/// Deliveries in flight when the worker is killed.
const IN_FLIGHT: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_whose_wake_up_was_never_sent_arrives_all_the_same() {
    let mut stage = Stage::prepare(1).await;
    let proxy = Proxy::start(Protocol::Plain, address_of(stage.broker(), 5672)).await;
    let url = by_way_of(stage.broker(), proxy.address());
    stage.tell("ingress", "BUSBAR_BROKER__URL", url);
    stage.start(&["ingress", "delivery", "scheduler"]).await;
    let door = stage.door();

    proxy.hold(Hold::ToServer);
    let answer = stage.client.post(door, None, stage.books.body(0)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    stage.books.ledger.acked(0, Instant::now());
    stage.kill("ingress").await;
    proxy.cut();
    let killed = Instant::now();
    assert_eq!(stage.books.ledger.arrivals(), 0, "no wake-up has left");

    let arrived = || async { (stage.books.ledger.arrivals() > 0).then_some(()) };
    eventually("the event arriving", WAKE_GRACE + WITHIN, arrived).await;
    eprintln!("it arrived {:?} after the door was killed", killed.elapsed());
    let verdict = stage.books.judge(PATIENCE).await;
    stage.quiet().await;
    assert_eq!(verdict.duplicated, 0, "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_saw_no_answer_tries_again_and_gets_the_first_id() {
    let mut stage = Stage::prepare(1).await;
    let door = stage.door();
    let proxy = Proxy::start(Protocol::Plain, door).await;
    stage.start(&["ingress", "delivery", "scheduler"]).await;
    let body = stage.books.body(0);
    let permit = br#"{"event":"permit_approved","permit_id":1,"permit_number":"P-1","project_id":5,"data":{}}"#;

    // Both are committed, neither is answered.
    proxy.hold(Hold::ToClient);
    let permits = format!("http://{}/api/v1/ptw/events", proxy.address());
    let unanswered = async {
        let short = Duration::from_secs(3);
        let event = stage.client.try_post(proxy.address(), Some("a-key"), body.clone(), short);
        let permit = stage.client.call(&permits, None, permit.to_vec(), short);
        let (event, permit) = tokio::join!(event, permit);
        assert!(event.is_err() && permit.is_err(), "nobody was answered");
    };
    let committed = eventually("both being durable", PATIENCE, || async {
        (stage.ask("select count(*) from events").await == "2").then_some(())
    });
    tokio::join!(unanswered, committed);
    stage.kill("ingress").await;
    proxy.hold(Hold::Nothing);
    proxy.cut();
    stage.start(&["ingress"]).await;

    let again = stage.client.post(door, Some("a-key"), body).await;
    assert_eq!(again.status, 202, "{again:?}");
    assert_eq!(again.headers.get("idempotency-replayed").map(busbar_egress::HeaderValue::as_bytes), Some(&b"true"[..]));
    let first = stage.ask("select id from events where type = 'fault.event'").await;
    assert_eq!(again.json()["event_id"].as_str(), Some(first.as_str()));
    stage.books.ledger.acked(0, Instant::now());

    let again = stage.client.call(&format!("http://{door}/api/v1/ptw/events"), None, permit.to_vec(), PATIENCE).await;
    let again = again.unwrap().json();
    let first = stage.ask("select id from events where type = 'permit_approved'").await;
    assert_eq!((again["event_id"].as_str(), again["duplicate"].as_bool()), (Some(first.as_str()), Some(true)));
    let verdict = stage.books.judge(PATIENCE).await;
    assert_eq!((verdict.delivered, verdict.duplicated), (1, 0), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_was_made_but_not_recorded_is_repeated_once_under_its_id() {
    let mut stage = Stage::prepare(IN_FLIGHT).await;
    let proxy = Arc::new(Proxy::start(Protocol::Plain, address_of(stage.database(), 5432)).await);
    let url = by_way_of(stage.database(), proxy.address());
    stage.tell("delivery", "BUSBAR_DATABASE__URL", url);
    stage.start(&["ingress", "delivery", "scheduler"]).await;
    let door = stage.door();

    // From the first call on, the worker reaches its database no more, so no attempt can be recorded.
    let (holding, is_first) = (Arc::clone(&proxy), AtomicBool::new(true));
    stage.books.on_arrival(move || {
        if is_first.swap(false, Ordering::SeqCst) {
            holding.hold(Hold::Both);
        }
    });
    let bodies: Vec<_> = (0..IN_FLIGHT).map(|event| stage.books.body(event)).collect();
    let batch = [b"[".to_vec(), bodies.join(&b","[..]), b"]".to_vec()].concat();
    let url = format!("http://{door}/api/v1/events/batch");
    let answer = stage.client.call(&url, None, batch, PATIENCE).await.unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    (0..IN_FLIGHT).for_each(|event| stage.books.ledger.acked(event, Instant::now()));
    let all = || async { (stage.books.ledger.arrivals() >= IN_FLIGHT).then_some(()) };
    eventually("every delivery being made", PATIENCE, all).await;
    assert_eq!(stage.ask("select count(*) from attempts").await, "0", "nothing is recorded");
    stage.kill("delivery").await;
    let killed = Instant::now();
    proxy.cut();
    proxy.hold(Hold::Nothing);

    stage.start(&["delivery"]).await;
    let resumed = || async { (stage.books.ledger.arrivals() > IN_FLIGHT).then_some(()) };
    eventually("the deliveries being made again", WITHIN.saturating_sub(killed.elapsed()), resumed).await;
    eprintln!("they were made again {:?} after the worker was killed", killed.elapsed());
    stage.quiet().await;
    let verdict = stage.books.judge(PATIENCE).await;
    assert!((1..=IN_FLIGHT).contains(&verdict.duplicated), "{verdict:?}");
    assert_eq!(stage.ask("select max(attempts) from deliveries").await, "1", "what was not recorded does not count");
}
