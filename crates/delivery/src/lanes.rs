//! All lanes of the process, and the bound that they share: lanes that are slow or not yet proven hold at most half
//! of it together, or three quarters with one each, so that one customer's trouble stays that customer's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use busbar_domain::id::WebhookId;
use busbar_egress::{Policy, Refusal, Target};
use busbar_storage::access::Endpoint;
use busbar_storage::claims::Claimed;

use crate::lane::{Ending, Lane, Rules};

/// A claimed delivery on its way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) claimed: Claimed,
    pub(crate) route: Arc<Route>,
}

/// Where a webhook's deliveries go, made ready once for many attempts.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) target: Result<Target, Refusal>,
    /// The longest that an attempt may take, whatever the webhook asks for.
    pub(crate) longest: Duration,
}

/// An attempt that may begin.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) job: Job,
    pub(crate) ticket: u64,
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

/// Every webhook's lane.
#[derive(Debug)]
pub(crate) struct Lanes {
    rules: Rules,
    most_held: usize,
    longest: Duration,
    held: usize,
    held_untrusted: usize,
    by_webhook: HashMap<WebhookId, Slot>,
}

#[derive(Debug)]
struct Slot {
    lane: Lane<Job>,
    route: Arc<Route>,
    /// The process's rules, narrowed to what the webhook asked for.
    rules: Rules,
    used_at: Instant,
}

/// How long a lane that holds nothing is remembered.
const MEMORY: Duration = Duration::from_mins(2);

impl Lanes {
    pub(crate) fn new(rules: Rules, most_held: usize, longest: Duration) -> Self {
        Self { rules, most_held, longest, held: 0, held_untrusted: 0, by_webhook: HashMap::new() }
    }

    /// Deliveries in flight or waiting.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Finds a place for a claimed delivery of `endpoint`.
    pub(crate) fn offer(&mut self, claimed: Claimed, endpoint: &Arc<Endpoint>, policy: &Policy, now: Instant) -> Place {
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
        let rules = slot.rules;
        let trusted = slot.lane.is_trusted();
        // A lane has room for one, so that it can prove itself, but not so many lanes that nothing else fits.
        let bound = if slot.lane.held() == 0 { self.most_held / 4 * 3 } else { self.most_held / 2 };
        let crowded = !trusted && self.held_untrusted >= bound;
        let ticket = if crowded { None } else { slot.lane.begin(now, rules) };
        let place = match ticket {
            Some(ticket) => Place::Start(Start { job: Job { claimed, route: Arc::clone(&slot.route) }, ticket }),
            None if !crowded && slot.lane.has_room(now, rules) => {
                slot.lane.wait(Job { claimed, route: Arc::clone(&slot.route) });
                Place::Waits
            }
            None => return Place::Refused(claimed, slot.lane.line_up(now)),
        };
        self.held += 1;
        self.held_untrusted += usize::from(!trusted);
        place
    }

    /// Ends an attempt and answers those that may begin in its place.
    pub(crate) fn end(&mut self, webhook: WebhookId, ticket: u64, ending: Ending, now: Instant) -> Vec<Start> {
        let Some(slot) = self.by_webhook.get_mut(&webhook) else { return Vec::new() };
        let (before, was_trusted) = (slot.lane.held(), slot.lane.is_trusted());
        slot.lane.end(ticket, ending, now, slot.rules);
        let mut starts = Vec::new();
        while slot.lane.has_waiting()
            && let Some(ticket) = slot.lane.begin(now, slot.rules)
            && let Some(job) = slot.lane.next()
        {
            starts.push(Start { job, ticket });
        }
        slot.used_at = now;
        let (after, is_trusted) = (slot.lane.held(), slot.lane.is_trusted());
        self.count(before, was_trusted, after, is_trusted);
        starts
    }

    /// Takes out what waits in lanes that have become slow, and forgets lanes that nobody uses.
    pub(crate) fn trim(&mut self, now: Instant) -> Vec<(Claimed, Duration)> {
        let mut out = Vec::new();
        let mut removed = (0, 0);
        for slot in self.by_webhook.values_mut() {
            for job in slot.lane.trim(now, slot.rules) {
                removed.0 += 1;
                removed.1 += usize::from(!slot.lane.is_trusted());
                out.push((job.claimed, slot.lane.line_up(now)));
            }
        }
        self.held -= removed.0;
        self.held_untrusted -= removed.1;
        self.by_webhook.retain(|_, slot| slot.lane.held() > 0 || now.duration_since(slot.used_at) < MEMORY);
        out
    }

    /// Takes out everything that waits.
    pub(crate) fn empty(&mut self) -> Vec<Claimed> {
        let mut out = Vec::new();
        for slot in self.by_webhook.values_mut() {
            let jobs = slot.lane.empty();
            self.held -= jobs.len();
            self.held_untrusted -= if slot.lane.is_trusted() { 0 } else { jobs.len() };
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

impl Route {
    fn to(endpoint: &Arc<Endpoint>, policy: &Policy, longest: Duration) -> Self {
        Self { longest, target: Target::parse(&endpoint.webhook.url, policy), endpoint: Arc::clone(endpoint) }
    }
}
