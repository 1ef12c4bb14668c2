//! SIGTERM under load: nobody who keeps a connection open is refused, reset or sent anything twice.

use std::time::Duration;

use busbar_sandbox::load::Exchange;
use busbar_testkit::proxy::Protocol;
use busbar_testkit::{Proxy, eventually};

use crate::stage::{PATIENCE, SERVICES, Stage};

const RATE: u64 = 300;
const SECONDS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_loses_refuses_and_repeats_nothing() {
    let mut stage = Stage::prepare(RATE * SECONDS).await;
    for service in ["ingress", "delivery"] {
        stage.tell(service, "BUSBAR_DRAIN__READY_OFF_MS", "1000");
    }
    stage.start(&SERVICES).await;
    stage.start(&["ingress-b"]).await;
    let (door, other, ops) = (stage.door(), stage.address("ingress-b", "listen"), stage.address("ingress", "ops"));
    let balancer = Proxy::start(Protocol::Plain, door).await;
    let load = stage.books.send(balancer.address(), 0..RATE * SECONDS, RATE, false);
    stage.progress(PATIENCE).await;

    // Not behind the balancer, so that this one connection stays with the door that drains.
    let mut exchange = Exchange::open(door).await.unwrap();
    assert!(exchange.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap().keeps_open);
    stage.processes().signal("ingress", "TERM").await.unwrap();
    stage.processes().signal("delivery", "TERM").await.unwrap();
    eventually("the door saying that it is not ready", Duration::from_secs(1), || async {
        let mut exchange = Exchange::open(ops).await.ok()?;
        let reply = exchange.send(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await.ok()?;
        (reply.status == 503).then_some(())
    })
    .await;
    // As a balancer does that has seen it: what comes new goes to the other one.
    balancer.redirect(other);
    let last = exchange.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(!last.keeps_open, "who keeps a connection is told to leave");

    for service in ["ingress", "delivery"] {
        let status = stage.processes().ended(service, PATIENCE).await.unwrap();
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{service} ended with {status:?}");
    }
    stage.start(&["delivery"]).await;

    let outcome = load.ended().await;
    assert_eq!(outcome.unanswered, 0, "no request was dropped: {outcome:?}");
    assert_eq!(outcome.answers.keys().collect::<Vec<_>>(), [&202], "{outcome:?}");
    let verdict = stage.books.judge(PATIENCE).await;
    assert_eq!((verdict.acked, verdict.duplicated), (RATE * SECONDS, 0), "{verdict:?}");
    stage.quiet().await;
}
