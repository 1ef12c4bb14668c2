//! All lanes of the process, and the bound that they share: lanes that are slow or not yet proven hold at most half
//! of it together, or three quarters with one each, so that one customer's trouble stays that customer's. Deliveries
//! that go behind what is live hold at most half of it, and of those that may have crashed a worker there is one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use busbar_domain::delivery::CRASHES_BEFORE_ALONE;
use busbar_domain::id::WebhookId;
use busbar_egress::{HeaderName, HeaderValue, Policy, Refusal, Target};
use busbar_storage::access::Endpoint;
use busbar_storage::budgets::Want;
use busbar_storage::claims::Claimed;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::circuit::{Change, Gate};
use crate::lane::{End, Lane, Rules};
use crate::line::{Flow, Line};

/// A claimed delivery on its way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) claimed: Claimed,
    pub(crate) route: Arc<Route>,
    /// There while it is worked alone.
    pub(crate) alone: Option<OwnedSemaphorePermit>,
}

/// Where a webhook's deliveries go, made ready once for many attempts.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) target: Result<Target, Refusal>,
    /// The webhook's custom headers.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The longest that an attempt may take, whatever the webhook asks for.
    pub(crate) longest: Duration,
}

/// An attempt that may begin.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) job: Job,
    pub(crate) ticket: u64,
    /// Whether it is the probe of an open circuit, which the database must grant.
    pub(crate) probe: bool,
}

/// What becomes of a delivery that is offered.
#[derive(Debug)]
pub(crate) enum Place {
    /// It may begin.
    Start(Start),
    /// It waits in its lane.
    Waits,
    /// There is no room; it should come again after this time.
    Refused(Claimed, Duration),
}

/// What a look at all lanes came to.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// What goes back, and after which time it should come again.
    pub(crate) parked: Vec<(Claimed, Duration)>,
    /// What may begin.
    pub(crate) starts: Vec<Start>,
    /// Whether something waits for its webhook's own pace.
    pub(crate) limited: bool,
    /// Open circuits.
    pub(crate) open: usize,
    /// Receivers that asked to be left alone.
    pub(crate) paused: usize,
}

/// Every webhook's lane.
#[derive(Debug)]
pub(crate) struct Lanes {
    rules: Rules,
    most_held: usize,
    longest: Duration,
    held: usize,
    held_untrusted: usize,
    held_late: usize,
    by_webhook: HashMap<WebhookId, Slot>,
    /// Of those in slow lanes that find no room beside each other.
    crowd: Line,
    /// How fast slow and unproven lanes give room back.
    freed: Flow,
    /// One at a time of what may have crashed a worker.
    suspects: Arc<Semaphore>,
    /// Of further suspects.
    suspects_line: Line,
}

#[derive(Debug)]
struct Slot {
    lane: Lane<Job>,
    route: Arc<Route>,
    /// The process's rules, narrowed to what the webhook asked for.
    rules: Rules,
    used_at: Instant,
}

/// How far behind each other those come that may have crashed a worker.
const SUSPECT_STEP: Duration = Duration::from_millis(100);
/// How long a lane that holds nothing is remembered.
const MEMORY: Duration = Duration::from_mins(2);
/// The same, while its circuit is open.
const LONG_MEMORY: Duration = Duration::from_hours(1);

impl Lanes {
    pub(crate) fn new(rules: Rules, most_held: usize, longest: Duration) -> Self {
        Self {
            rules,
            most_held,
            longest,
            held: 0,
            held_untrusted: 0,
            held_late: 0,
            by_webhook: HashMap::new(),
            crowd: Line::default(),
            freed: Flow::default(),
            suspects: Arc::new(Semaphore::new(1)),
            suspects_line: Line::default(),
        }
    }

    /// Deliveries in flight or waiting.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Finds a place for a claimed delivery of `endpoint`.
    pub(crate) fn offer(&mut self, claimed: Claimed, endpoint: &Arc<Endpoint>, policy: &Policy, now: Instant) -> Place {
        let alone = if claimed.crashes < CRASHES_BEFORE_ALONE {
            None
        } else if let Ok(permit) = Arc::clone(&self.suspects).try_acquire_owned() {
            Some(permit)
        } else {
            return Place::Refused(claimed, self.suspects_line.stand(SUSPECT_STEP, now));
        };
        let longest = self.longest;
        let slot = self.by_webhook.entry(claimed.webhook).or_insert_with(|| Slot {
            lane: Lane::new(),
            route: Arc::new(Route::to(endpoint, policy, longest)),
            rules: self.rules,
            used_at: now,
        });
        if !Arc::ptr_eq(&slot.route.endpoint, endpoint) {
            slot.route = Arc::new(Route::to(endpoint, policy, longest));
        }
        slot.used_at = now;
        let most = self.rules.most_in_flight;
        slot.rules.most_in_flight = endpoint.webhook.max_in_flight.map_or(most, |asked| asked.min(most));
        slot.rules.rate = endpoint.webhook.rate_limit;
        let rules = slot.rules;
        let trusted = slot.lane.is_trusted();
        let late = claimed.late;
        let gate = if claimed.test { Gate::Free } else { slot.lane.gate(now) };
        if matches!(gate, Gate::Shut(_)) || (late && self.held_late >= self.most_held / 2) {
            return Place::Refused(claimed, slot.lane.line_up(now, rules));
        }
        // A lane has room for one, so that it can prove itself, but not so many lanes that nothing else fits.
        let bound = if slot.lane.held() == 0 { self.most_held / 4 * 3 } else { self.most_held / 2 };
        let crowded = !trusted && self.held_untrusted >= bound;
        let probe = gate == Gate::Probe;
        let ticket = match gate {
            Gate::Probe => Some(slot.lane.begin_probe(now)),
            _ if claimed.test => Some(slot.lane.begin_at_once(now)),
            _ if crowded || slot.lane.has_waiting() => None,
            _ => slot.lane.begin(now, rules),
        };
        let place = match ticket {
            Some(ticket) => {
                Place::Start(Start { job: Job { claimed, route: Arc::clone(&slot.route), alone }, ticket, probe })
            }
            None if !crowded && slot.lane.has_room(late, now, rules) => {
                slot.lane.wait(Job { claimed, route: Arc::clone(&slot.route), alone }, late);
                Place::Waits
            }
            None if crowded && slot.lane.is_slow(now) => {
                // Room comes back at the latest when attempts reach their time limit. Who is not known to be slow does
                // not stand behind those who are.
                let slowest = longest / u32::try_from(bound).unwrap_or(u32::MAX).max(1);
                let step = self.freed.gap(now).map_or(slowest, |gap| gap.min(slowest));
                return Place::Refused(claimed, self.crowd.stand(step, now));
            }
            None => return Place::Refused(claimed, slot.lane.line_up(now, rules)),
        };
        self.held += 1;
        self.held_late += usize::from(late);
        self.held_untrusted += usize::from(!trusted);
        place
    }

    /// Ends an attempt; answers those that may begin in its place, and what has become of the webhook's circuit.
    pub(crate) fn end(
        &mut self,
        claimed: &Claimed,
        ticket: u64,
        end: End,
        now: Instant,
    ) -> (Vec<Start>, Option<Change>) {
        let Some(slot) = self.by_webhook.get_mut(&claimed.webhook) else { return (Vec::new(), None) };
        let (before, was_trusted) = (slot.lane.held(), slot.lane.is_trusted());
        let change = slot.lane.end(ticket, end, now, slot.rules);
        let starts = slot.begin_waiting(now);
        slot.used_at = now;
        let (after, is_trusted) = (slot.lane.held(), slot.lane.is_trusted());
        if !was_trusted {
            self.freed.add(now);
        }
        self.held_late -= usize::from(claimed.late);
        self.count(before, was_trusted, after, is_trusted);
        (starts, change)
    }

    /// Takes a probe back that another process has taken; the delivery should come again after the answered time.
    pub(crate) fn give_probe_back(
        &mut self,
        claimed: &Claimed,
        ticket: u64,
        again_at: Instant,
        now: Instant,
    ) -> Duration {
        let Some(slot) = self.by_webhook.get_mut(&claimed.webhook) else { return again_at - now };
        let (before, trusted) = (slot.lane.held(), slot.lane.is_trusted());
        slot.lane.end_probe(ticket, Some(again_at));
        let (after, wait) = (slot.lane.held(), slot.lane.line_up(now, slot.rules));
        self.held_late -= usize::from(claimed.late);
        self.count(before, trusted, after, trusted);
        wait
    }

    /// Another process has closed the circuit: the probe goes on as an attempt like any other.
    pub(crate) fn free_probe(&mut self, webhook: WebhookId, ticket: u64) {
        if let Some(slot) = self.by_webhook.get_mut(&webhook) {
            slot.lane.end_probe(ticket, None);
        }
    }

    /// Another process has closed the circuits of these webhooks.
    pub(crate) fn close_circuits(&mut self, webhooks: &[WebhookId]) {
        for webhook in webhooks {
            if let Some(slot) = self.by_webhook.get_mut(webhook).filter(|slot| slot.lane.is_open()) {
                slot.lane.close();
            }
        }
    }

    /// The next probe of a webhook may be taken at `at`.
    pub(crate) fn probe_at(&mut self, webhook: WebhookId, at: Instant) {
        if let Some(slot) = self.by_webhook.get_mut(&webhook) {
            slot.lane.probe_at(at);
        }
    }

    /// What webhooks with a pace of their own could send if it allowed it, in key order.
    pub(crate) fn wants(&self, now: Instant) -> Vec<Want> {
        let mut wants: Vec<Want> = self
            .by_webhook
            .iter()
            .filter_map(|(webhook, slot)| {
                let count = u32::try_from(slot.lane.wants(now, slot.rules)).unwrap_or(u32::MAX);
                slot.rules.rate.filter(|_| count > 0).map(|rate| Want { webhook: *webhook, rate, count })
            })
            .collect();
        wants.sort_unstable_by_key(|want| want.webhook);
        wants
    }

    /// Lets so many deliveries of a webhook begin.
    pub(crate) fn grant(&mut self, webhook: WebhookId, tokens: u32, now: Instant) -> Vec<Start> {
        let Some(slot) = self.by_webhook.get_mut(&webhook) else { return Vec::new() };
        slot.lane.grant(tokens);
        let starts = slot.begin_waiting(now);
        // What nothing could use is gone, or it would add to a later grant.
        slot.lane.grant(0);
        starts
    }

    /// The webhooks whose circuits are open in this process, and those that have taken something since the last look.
    pub(crate) fn look_at_circuits(&mut self) -> (Vec<WebhookId>, Vec<WebhookId>) {
        let (mut open, mut taken) = (Vec::new(), Vec::new());
        for (webhook, slot) in &mut self.by_webhook {
            let has_taken = slot.lane.has_taken();
            if slot.lane.is_open() {
                open.push(*webhook);
            } else if has_taken {
                taken.push(*webhook);
            }
        }
        (open, taken)
    }

    /// Takes out what waits in lanes that have become slow, begins what waits in lanes that have become free, and
    /// forgets lanes that nobody uses.
    pub(crate) fn round(&mut self, now: Instant) -> Round {
        let mut round = Round::default();
        for slot in self.by_webhook.values_mut() {
            let trusted = slot.lane.is_trusted();
            for job in slot.lane.trim(now, slot.rules) {
                self.held -= 1;
                self.held_untrusted -= usize::from(!trusted);
                self.held_late -= usize::from(job.claimed.late);
                round.parked.push((job.claimed, slot.lane.line_up(now, slot.rules)));
            }
            round.starts.extend(slot.begin_waiting(now));
            round.limited |= slot.rules.rate.is_some() && slot.lane.has_waiting();
            round.open += usize::from(slot.lane.is_open());
            round.paused += usize::from(slot.lane.is_paused(now));
        }
        self.by_webhook.retain(|_, slot| {
            let memory = if slot.lane.is_open() { LONG_MEMORY } else { MEMORY };
            slot.lane.held() > 0 || slot.lane.is_paused(now) || now.duration_since(slot.used_at) < memory
        });
        round
    }

    /// Takes out everything that waits.
    pub(crate) fn empty(&mut self) -> Vec<Claimed> {
        let mut out = Vec::new();
        for slot in self.by_webhook.values_mut() {
            let jobs = slot.lane.empty();
            self.held -= jobs.len();
            self.held_untrusted -= if slot.lane.is_trusted() { 0 } else { jobs.len() };
            self.held_late -= jobs.iter().filter(|job| job.claimed.late).count();
            out.extend(jobs.into_iter().map(|job| job.claimed));
        }
        out
    }

    fn count(&mut self, before: usize, was_trusted: bool, after: usize, is_trusted: bool) {
        self.held = self.held - before + after;
        self.held_untrusted -= if was_trusted { 0 } else { before };
        self.held_untrusted += if is_trusted { 0 } else { after };
    }
}

impl Slot {
    fn begin_waiting(&mut self, now: Instant) -> Vec<Start> {
        let mut starts = Vec::new();
        while self.lane.has_waiting()
            && let Some(ticket) = self.lane.begin(now, self.rules)
            && let Some(job) = self.lane.next()
        {
            starts.push(Start { job, ticket, probe: false });
        }
        starts
    }
}

impl Route {
    fn to(endpoint: &Arc<Endpoint>, policy: &Policy, longest: Duration) -> Self {
        let custom = endpoint.webhook.headers.iter();
        let headers = custom.filter_map(|header| {
            let name = HeaderName::from_bytes(header.name().as_bytes()).ok()?;
            let mut value = HeaderValue::from_str(header.expose()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        Self {
            longest,
            target: Target::parse(&endpoint.webhook.url, policy),
            headers: headers.collect(),
            endpoint: Arc::clone(endpoint),
        }
    }
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
