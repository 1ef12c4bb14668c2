//! Where others lose messages or stall: a slow receiver, a clean restart of the broker, a database that is away while
//! wake-ups are taken, a broker that is down when an event comes, receivers that trickle.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use busbar_sandbox::load::Latency;
use busbar_sandbox::{Answer, Part, Step};
use busbar_testkit::instances::RabbitMq;
use busbar_testkit::proxy::{Hold, Protocol};
use busbar_testkit::{Proxy, eventually};

use crate::more::furnish_more;
use crate::stage::{PATIENCE, SERVICES, Stage, address_of, by_way_of};

const SOME: u64 = 500;

/// Publishes events as fast as the door takes them.
async fn publish(stage: &Stage, door: SocketAddr, events: std::ops::Range<u64>) {
    let url = format!("http://{door}/api/v1/events/batch");
    for part in events.collect::<Vec<_>>().chunks(100) {
        let bodies: Vec<_> = part.iter().map(|event| stage.books.body(*event)).collect();
        let batch = [b"[".to_vec(), bodies.join(&b","[..]), b"]".to_vec()].concat();
        let answer = stage.client.call(&url, None, batch, PATIENCE).await.unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        for event in part {
            stage.books.ledger.acked(*event, Instant::now());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_takes_its_time_is_called_many_times_at_once() {
    let mut stage = Stage::prepare(SOME).await;
    stage.books.answer(vec![Step::new(Answer::status(200).after(Duration::from_millis(100)))]);
    stage.start(&SERVICES).await;
    let door = stage.door();
    let began = Instant::now();
    publish(&stage, door, 0..SOME).await;
    let all = || async { (stage.books.verdict().delivered == SOME).then_some(()) };
    eventually("everything arriving", Duration::from_secs(10), all).await;
    eprintln!("{SOME} deliveries of 100 ms each took {:?}", began.elapsed());
    stage.books.judge(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_restart_of_the_broker_loses_nothing() {
    let rabbitmq = RabbitMq::start().await;
    let mut stage = Stage::prepare_on(None, Some(rabbitmq.url()), SOME).await;
    stage.start(&["ingress", "scheduler"]).await;
    let door = stage.door();
    publish(&stage, door, 0..SOME).await;
    rabbitmq.control(&["stop_app"]).await;
    rabbitmq.control(&["start_app"]).await;
    stage.start(&["delivery"]).await;
    let all = || async { (stage.books.verdict().delivered == SOME).then_some(()) };
    eventually("everything arriving", 2 * PATIENCE, all).await;
    stage.books.judge(PATIENCE).await;
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wake_ups_that_are_taken_while_the_database_is_away_lose_nothing() {
    let mut stage = Stage::prepare(SOME).await;
    let proxy = Proxy::start(Protocol::Plain, address_of(stage.database(), 5432)).await;
    let url = by_way_of(stage.database(), proxy.address());
    stage.tell("delivery", "BUSBAR_DATABASE__URL", url);
    stage.start(&["ingress", "delivery", "scheduler"]).await;
    let door = stage.door();
    proxy.refuse(true);
    proxy.cut();
    publish(&stage, door, 0..SOME).await;
    // Taken and failed, again and again, for as long as wake-ups need to be taken.
    let failing = || async {
        let checks = stage.ask("select count(*) from deliveries where due_at < now()").await;
        (checks != "0").then_some(())
    };
    eventually("their time having come", PATIENCE, failing).await;
    assert_eq!(stage.books.verdict().delivered, 0);
    proxy.refuse(false);
    let all = || async { (stage.books.verdict().delivered == SOME).then_some(()) };
    eventually("everything arriving", 2 * PATIENCE, all).await;
    stage.books.judge(PATIENCE).await;
    stage.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_comes_while_the_broker_is_down_is_accepted_once_and_arrives() {
    let mut stage = Stage::prepare(1).await;
    let proxy = Proxy::start(Protocol::Plain, address_of(stage.broker(), 5672)).await;
    let url = by_way_of(stage.broker(), proxy.address());
    for service in ["ingress", "delivery", "scheduler"] {
        stage.tell(service, "BUSBAR_BROKER__URL", url.clone());
    }
    stage.start(&["ingress", "delivery", "scheduler"]).await;
    let door = stage.door();
    proxy.hold(Hold::Both);
    proxy.refuse(true);
    proxy.cut();
    let first = stage.client.post(door, Some("a-key"), stage.books.body(0)).await;
    let again = stage.client.post(door, Some("a-key"), stage.books.body(0)).await;
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(first.json()["event_id"], again.json()["event_id"], "the repeat is known");
    stage.books.ledger.acked(0, Instant::now());
    proxy.hold(Hold::Nothing);
    proxy.refuse(false);
    stage.quiet().await;
    let verdict = stage.books.judge(2 * PATIENCE).await;
    assert_eq!((verdict.delivered, verdict.duplicated), (1, 0), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_trickle_hold_up_nobody() {
    const RATE: u64 = 100;
    let events = RATE * 6;
    let mut stage = Stage::prepare(events).await;
    let drop_by_drop = |part| Answer::Trickle { status: 200, body: vec![b'.'; 4096].into(), bytes_per_second: 1, part };
    for (path, answer) in [
        ("/head", drop_by_drop(Part::Head)),
        ("/body", drop_by_drop(Part::Body)),
        ("/endless", Answer::EndlessChunked),
        ("/silent", Answer::BlackHole),
    ] {
        let url = stage.books.elsewhere(path, vec![Step::new(answer)]);
        furnish_more(&stage, 20, "fault.slow", &url).await;
    }
    stage.start(&SERVICES).await;
    let door = stage.door();
    let before = stage.memory("delivery");
    for event in 0..20 {
        let body = format!(r#"{{"type":"fault.slow","data":{{"n":{event}}}}}"#).into_bytes();
        assert_eq!(stage.client.post(door, None, body).await.status, 202);
    }
    let outcome = stage.books.send(door, 0..events, RATE, false).ended().await;
    assert_eq!(outcome.answers.get(&202), Some(&events), "{outcome:?}");
    let verdict = stage.books.judge(PATIENCE).await;
    assert_eq!(verdict.delivered, events);
    let latency = Latency::of(stage.books.ledger.delivery_times(0..events));
    let grown = stage.memory("delivery").saturating_sub(before);
    eprintln!(
        "healthy deliveries: p50 {:?}, p99 {:?}, longest {:?}; {grown} KiB more",
        latency.p50, latency.p99, latency.max
    );
    assert!(latency.max <= Duration::from_secs(2), "a healthy delivery took {:?}", latency.max);
    assert!(grown < 128 * 1024, "the worker has grown by {grown} KiB");
}
