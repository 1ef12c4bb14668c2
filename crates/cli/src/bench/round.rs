//! One round: a load, the wait for what it owes, and what it took of the machine.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use busbar_runtime::Settings;
use busbar_sandbox::load::{Latency, Load, Outcome, Verdict};
use secrecy::ExposeSecret as _;

use crate::bench::Options;
use crate::bench::hub::{Hub, SERVICES};
use crate::bench::machine::{self, Cost, Watched};
use crate::bench::traffic::Traffic;

/// How long nothing may come before what is missing counts as lost.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long an answer may take.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Paced rounds warm up at their own rate, for at most this long.
const WARM_UP_SECONDS: u64 = 3;

/// Which events warm up and which are measured.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    warm_up: u64,
    events: u64,
}

impl Plan {
    pub(super) fn new(options: &Options) -> Self {
        let warm_up = options.rate.map_or(options.warm_up, |rate| options.warm_up.min(rate * WARM_UP_SECONDS));
        Self { warm_up, events: options.events() }
    }

    /// So many events, none of which warms up.
    pub(super) const fn of(events: u64) -> Self {
        Self { warm_up: 0, events }
    }

    /// All events.
    pub(super) const fn total(&self) -> u64 {
        self.warm_up + self.events
    }

    const fn measured(&self) -> Range<u64> {
        self.warm_up..self.total()
    }
}

/// What one round showed.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// How the door answered.
    pub(super) outcome: Outcome,
    /// What the ledger says of the measured events.
    pub(super) verdict: Verdict,
    /// From sending an event, or from when it was due, to its answer.
    pub(super) ack: Latency,
    /// From the same moment to its arrival at a healthy webhook.
    pub(super) end_to_end: Latency,
    /// Events answered with 2xx per second.
    pub(super) accepted_per_second: f64,
    /// Events delivered to every healthy webhook, per second.
    pub(super) delivered_per_second: f64,
    /// Requests that the black hole got.
    pub(super) swallowed: u64,
    /// What each process took, in the order of the table.
    pub(super) costs: Vec<Cost>,
    /// What generator and receiver took.
    pub(super) own: Cost,
}

/// Measures a round through a hub.
pub(super) async fn measure(options: &Options, plan: &Plan, traffic: &Traffic, hub: &Hub) -> anyhow::Result<Round> {
    traffic.waive_holes(plan);
    let compose = traffic.requests(hub.door);
    let load = |events| load(options, hub.door, events);
    let warm_up = 0..plan.warm_up;
    load(warm_up.clone()).run(compose.clone(), &traffic.ledger).await;
    // What is missing after this is told by the verdict of the measured events' neighbours, or is theirs as well.
    let _ = traffic.ledger.settle(warm_up, PATIENCE).await;

    let watched = watch(hub);
    let own = Watched::this();
    let before: Vec<_> = watched.iter().map(Watched::look).collect();
    let own_before = own.look();
    let outcome = load(plan.measured()).run(compose, &traffic.ledger).await;
    let _ = traffic.ledger.settle(plan.measured(), PATIENCE).await;
    let costs = watched.iter().zip(&before).map(|(watched, before)| watched.cost(before)).collect();
    let own = own.cost(&own_before);
    Ok(sum_up(plan, traffic, outcome, costs, own))
}

/// Measures the same load straight into the receiver.
pub(super) async fn measure_raw(options: &Options, plan: &Plan, traffic: &Traffic) -> Round {
    let compose = traffic.straight();
    let load = |events| load(options, traffic.receiver.addr(), events);
    load(0..plan.warm_up).run(compose.clone(), &traffic.ledger).await;
    let own = Watched::this();
    let before = own.look();
    let outcome = load(plan.measured()).run(compose, &traffic.ledger).await;
    let own = own.cost(&before);
    sum_up(plan, traffic, outcome, Vec::new(), own)
}

fn load(options: &Options, target: std::net::SocketAddr, events: Range<u64>) -> Load {
    Load {
        target,
        connections: options.connections.into(),
        events,
        rate: options.rate,
        timeout: ANSWER_WITHIN,
        retry_until_acked: false,
    }
}

fn sum_up(plan: &Plan, traffic: &Traffic, outcome: Outcome, costs: Vec<Cost>, own: Cost) -> Round {
    let (ledger, range) = (&traffic.ledger, plan.measured());
    let mut verdict = ledger.check(range.clone());
    // What warming up has lost is lost too.
    verdict.lost += ledger.check(0..range.start).lost;
    let webhooks = traffic.webhooks.max(1) as u64;
    Round {
        outcome,
        ack: Latency::of(ledger.ack_times(range.clone())),
        end_to_end: Latency::of(ledger.delivery_times(range.clone())),
        accepted_per_second: per_second(verdict.acked, ledger.acking_lasted(range.clone())),
        delivered_per_second: per_second(verdict.delivered / webhooks, ledger.delivering_lasted(range)),
        swallowed: traffic.swallowed.load(Ordering::Relaxed),
        verdict,
        costs,
        own,
    }
}

/// The processes that are measured: the services, and both servers if they are on this machine.
fn watch(hub: &Hub) -> Vec<Watched> {
    let pids = SERVICES.iter().filter_map(|name| Some((*name, hub.processes.pid(name)?)));
    let mut watched: Vec<_> = pids.map(|(name, pid)| Watched::process(name, pid)).collect();
    let settings: &Settings = hub.settings();
    watched.push(machine::postgres(settings.database.url.expose_secret()));
    watched.push(machine::rabbitmq(settings.broker.url.expose_secret()));
    watched
}

/// So many of a thing in a time, per second; 0 if there was no time.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}
