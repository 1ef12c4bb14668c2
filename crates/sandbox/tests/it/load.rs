//! The generator against the receiver: every event is sent once, arrives whole and is in the book.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use busbar_sandbox::load::{Compose, Delivery, Latency, Ledger, Load, Payload};
use busbar_sandbox::{Receiver, Recording, Script, Step};

use crate::client::{SOON, start};

const EVENTS: u64 = 500;

struct Bench {
    ledger: Arc<Ledger>,
    receiver: Receiver,
    compose: Compose,
}

fn bench(script: Script) -> Bench {
    let ledger = Arc::new(Ledger::new(500, 1));
    let payload = Payload::new(200);
    let (book, check) = (Arc::clone(&ledger), payload.clone());
    let sink = move |request: &busbar_sandbox::Request<'_>| {
        let (event, intact) = check.check(request.body).unzip();
        let webhook = request.path.strip_prefix("/hook/").and_then(|number| number.parse().ok());
        let message = request.headers.get("webhook-id").unwrap_or_default();
        book.delivered(&Delivery { webhook, event, message, intact: intact == Some(true), at: request.received_at });
    };
    let receiver = start(script.recording(Recording::Sink(Arc::new(sink))));
    let compose = move |event: u64, out: &mut Vec<u8>| {
        let length = payload.length();
        write!(out, "POST /hook/0 HTTP/1.1\r\nwebhook-id: {event}\r\ncontent-length: {length}\r\n\r\n").unwrap();
        payload.write(event, out);
    };
    Bench { ledger, receiver, compose: Arc::new(compose) }
}

fn load(bench: &Bench) -> Load {
    Load {
        target: bench.receiver.addr(),
        connections: 8,
        events: 0..EVENTS,
        rate: None,
        timeout: SOON,
        retry_until_acked: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_arrives_once_and_whole() {
    let bench = bench(Script::answering(202));
    let outcome = load(&bench).run(Arc::clone(&bench.compose), &bench.ledger).await;
    assert_eq!(outcome.answers, [(202, EVENTS)].into());
    assert!(bench.ledger.settle(0..EVENTS, SOON).await);
    let verdict = bench.ledger.check(0..EVENTS);
    assert_eq!((verdict.acked, verdict.delivered, verdict.duplicated), (EVENTS, EVENTS, 0));
    assert!(verdict.is_kept());
    assert_eq!(Latency::of(bench.ledger.ack_times(0..EVENTS)).count, 500);
    assert!(bench.receiver.connections() <= 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paced_load_keeps_its_pace() {
    let bench = bench(Script::answering(200));
    let load = Load { rate: Some(1_000), events: 100..300, ..load(&bench) };
    let started = Instant::now();
    let outcome = load.run(Arc::clone(&bench.compose), &bench.ledger).await;
    assert!(started.elapsed() >= Duration::from_millis(199), "{:?}", started.elapsed());
    assert_eq!(outcome.answers, [(200, 200)].into());
    assert_eq!(bench.ledger.check(100..300).acked, 200);
    assert_eq!(bench.ledger.check(0..100).attempted, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_sent_again_only_if_asked() {
    let refusing = || Script::default().on("/", vec![Step::status(503).times(20), Step::status(200)]);
    let once = bench(refusing());
    let outcome = load(&once).run(Arc::clone(&once.compose), &once.ledger).await;
    assert_eq!(outcome.answers, [(200, EVENTS - 20), (503, 20)].into());
    let verdict = once.ledger.check(0..EVENTS);
    assert_eq!((verdict.acked, verdict.recovered), (EVENTS - 20, 20));

    let again = bench(refusing());
    let load = Load { retry_until_acked: true, ..load(&again) };
    let outcome = load.run(Arc::clone(&again.compose), &again.ledger).await;
    assert_eq!(outcome.answers, [(200, EVENTS), (503, 20)].into());
    let verdict = again.ledger.check(0..EVENTS);
    assert_eq!((verdict.acked, verdict.duplicated, verdict.relabelled), (EVENTS, 20, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_against_nobody_ends_with_nothing_answered() {
    let bench = bench(Script::default());
    bench.receiver.stop();
    bench.receiver.stopped().await;
    let outcome = load(&bench).run(Arc::clone(&bench.compose), &bench.ledger).await;
    assert_eq!((outcome.unanswered, outcome.answers.len()), (EVENTS, 0));
}
