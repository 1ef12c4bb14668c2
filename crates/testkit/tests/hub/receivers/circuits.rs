//! Circuits: a receiver that keeps failing is probed by one call at a time over all processes, and a success closes.

use std::cell::Cell;
use std::time::{Duration, Instant};

use busbar_sandbox::{Received, Step};
use busbar_testkit::hub::PATIENCE;
use busbar_testkit::{Hub, eventually};
use serde_json::{Value, json};

use super::paces::a_second_process;
use super::{act, ask, calls, publish, soon, until};

const OPEN: &str = "select count(*) from circuits";
/// Longer than any retry of these webhooks waits, shorter than the pause before a probe.
const QUIET: Duration = Duration::from_secs(2);

/// A hub whose circuits open after three failures that last a fifth of a second.
async fn start() -> Hub {
    Hub::start_with(|values| {
        values.push(("BUSBAR_DELIVERY__CIRCUIT_FAILURES".to_owned(), "3".to_owned()));
        values.push(("BUSBAR_DELIVERY__CIRCUIT_WINDOW_MS".to_owned(), "200".to_owned()));
    })
    .await
}

fn calls_of(hub: &Hub, path: &str) -> Vec<Received> {
    hub.receiver().requests().into_iter().filter(|call| call.path == path).collect()
}

#[tokio::test]
async fn a_receiver_that_keeps_failing_is_probed_by_one_call_over_all_processes_until_it_recovers() {
    const EVENTS: usize = 6;
    let hub = start().await;
    let second = a_second_process(&hub);
    let test = async {
        hub.receiver().script("/down", vec![Step::status(500)]);
        hub.webhook("/down", "standard", &["a"], soon(50)).await;
        hub.webhook("/told", "standard", &["webhook.recovered"], json!({})).await;
        for _ in 0..EVENTS {
            publish(&hub, "a", json!({})).await;
        }
        until(&hub, OPEN, "1").await;
        // Every process finds out by itself; then all is quiet before the first probe.
        let last = Cell::new((0, Instant::now()));
        let before = eventually("all being quiet", PATIENCE, || async {
            let now = calls(&hub, "/down");
            if now != last.get().0 {
                last.set((now, Instant::now()));
            }
            (last.get().1.elapsed() > QUIET).then_some(now)
        })
        .await;
        hub.receiver().script("/down", vec![Step::status(500).times(1), Step::status(200)]);
        eventually("two probes", Duration::from_secs(40), || async {
            (calls(&hub, "/down") >= before + 2).then_some(())
        })
        .await;
        let told = hub.arrived("/told", 1).await.remove(0);
        let told: Value = serde_json::from_slice(&told.body).unwrap();
        assert_eq!(told["type"], "webhook.recovered");
        until(&hub, "select count(*) from deliveries where state = 'succeeded'", &(EVENTS + 1).to_string()).await;

        let arrivals: Vec<_> = calls_of(&hub, "/down").iter().map(|call| call.received_at).collect();
        assert_eq!(arrivals.len(), before + 1 + EVENTS, "one probe failed, then each arrived once");
        let pause = arrivals[before] - arrivals[before - 1];
        let doubled = arrivals[before + 1] - arrivals[before];
        assert!(pause >= Duration::from_millis(4500), "{pause:?} before the first probe");
        assert!(doubled >= Duration::from_millis(9500), "{doubled:?} before the second");
        let counted = "select sum(attempts) from deliveries d join events e on e.id = d.event_id where e.type = 'a'";
        assert_eq!(ask(&hub, counted), arrivals.len().to_string(), "what waited was not counted as an attempt");
        assert_eq!(calls(&hub, "/told"), 1, "one process reports it");
        assert_eq!(ask(&hub, OPEN), "0");
    };
    second.beside(test).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_test_passes_an_open_circuit_and_its_success_closes_it() {
    let hub = start().await;
    hub.receiver().script("/tested", vec![Step::status(500)]);
    let (webhook, _) = hub.webhook("/tested", "standard", &["a"], soon(50)).await;
    publish(&hub, "a", json!({})).await;
    until(&hub, OPEN, "1").await;
    assert_eq!(act(&hub, &webhook, "test").await["response_code"], 500);
    assert_eq!(ask(&hub, "select count(*) || ' ' || sum(probes) from circuits"), "1 0", "a test is no probe");
    hub.receiver().script("/tested", vec![Step::status(200)]);
    assert_eq!(act(&hub, &webhook, "test").await["response_code"], 200);
    until(&hub, OPEN, "0").await;
    publish(&hub, "a", json!({})).await;
    until(&hub, "select count(*) from deliveries where state = 'succeeded'", "3").await;
    hub.stop().await;
}

#[tokio::test]
async fn a_circuit_that_an_ended_process_has_left_open_is_closed_by_a_success() {
    let hub = start().await;
    let (webhook, _) = hub.webhook("/well", "standard", &["a"], json!({})).await;
    hub.webhook("/told", "standard", &["webhook.recovered"], json!({})).await;
    ask(
        &hub,
        &format!(
            "insert into circuits (webhook_id, tenant_id, failing_since, opened_at, probe_at)
             select id, tenant_id, now() - interval '1 day', now() - interval '1 day', now() - interval '10 minutes'
             from webhooks where id = '{webhook}'"
        ),
    );
    publish(&hub, "a", json!({})).await;
    hub.arrived("/well", 1).await;
    until(&hub, OPEN, "0").await;
    hub.arrived("/told", 1).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_receiver_that_refuses_what_it_gets_is_not_failing() {
    let hub = start().await;
    hub.receiver().script("/picky", vec![Step::status(422)]);
    let (webhook, _) = hub.webhook("/picky", "standard", &["a"], soon(20)).await;
    publish(&hub, "a", json!({})).await;
    until(&hub, &format!("select state || attempts from deliveries where webhook_id = '{webhook}'"), "dead20").await;
    assert_eq!(ask(&hub, OPEN), "0");
    hub.stop().await;
}
