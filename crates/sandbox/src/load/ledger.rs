//! Who was promised what, and what came: one slot per event, and one per event and webhook, found by number.
//! Slots are atomics, so neither the generator nor the receiver waits for the other.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The book of one load; events are numbered from 0.
#[derive(Debug)]
pub struct Ledger {
    started: Instant,
    webhooks: usize,
    events: Box<[Event]>,
    copies: Box<[Copy]>,
    unexpected: AtomicU64,
    corrupt: AtomicU64,
    relabelled: AtomicU64,
    arrivals: AtomicU64,
}

/// Times are nanoseconds since the book was opened; 0 is never.
#[derive(Debug, Default)]
struct Event {
    sent: AtomicU64,
    acked: AtomicU64,
    waived: AtomicBool,
}

#[derive(Debug, Default)]
struct Copy {
    first: AtomicU64,
    message: AtomicU64,
    count: AtomicU32,
}

/// What a receiver got.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'d> {
    /// Which of the webhooks got it, from 0; `None` if it came to no address of ours.
    pub webhook: Option<usize>,
    /// The event's number; `None` if the body tells none.
    pub event: Option<u64>,
    /// The value of `webhook-id`.
    pub message: &'d [u8],
    /// Whether the body and its signature are right.
    pub intact: bool,
    /// When its last byte came.
    pub at: Instant,
}

/// What the book says about a range of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Events that were sent at least once.
    pub attempted: u64,
    /// Events that were answered with 2xx.
    pub acked: u64,
    /// Deliveries that came, each event counted once per webhook.
    pub delivered: u64,
    /// Deliveries that are owed for acknowledged events and did not come.
    pub lost: u64,
    /// Deliveries beyond the first of an event to a webhook.
    pub duplicated: u64,
    /// Of those, the ones that bear another `webhook-id` than the first; of the whole book.
    pub relabelled: u64,
    /// Deliveries of events that were never sent, or to who was not owed them; of the whole book.
    pub unexpected: u64,
    /// Deliveries with a wrong body or signature; of the whole book.
    pub corrupt: u64,
    /// Events that were not acknowledged but came.
    pub recovered: u64,
}

impl Verdict {
    /// Whether every promise was kept; duplicates with the same `webhook-id` are no breach.
    pub const fn is_kept(&self) -> bool {
        self.lost == 0 && self.unexpected == 0 && self.corrupt == 0 && self.relabelled == 0
    }
}

impl Ledger {
    /// A book for `events` events, each owed to `webhooks` webhooks.
    pub fn new(events: usize, webhooks: usize) -> Self {
        Self {
            started: Instant::now(),
            webhooks,
            events: (0..events).map(|_| Event::default()).collect(),
            copies: (0..events * webhooks).map(|_| Copy::default()).collect(),
            unexpected: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
            relabelled: AtomicU64::new(0),
            arrivals: AtomicU64::new(0),
        }
    }

    /// Notes that an event is sent; of several times, the first counts.
    pub fn sent(&self, event: u64, at: Instant) {
        if let Some(event) = self.event(event) {
            note(&event.sent, self.nanos(at));
        }
    }

    /// Notes that an event was answered with 2xx; of several times, the first counts.
    pub fn acked(&self, event: u64, at: Instant) {
        if let Some(event) = self.event(event) {
            note(&event.acked, self.nanos(at));
        }
    }

    /// Says that an event is owed to no webhook of this book.
    pub fn waive(&self, event: u64) {
        if let Some(event) = self.event(event) {
            event.waived.store(true, Ordering::Relaxed);
        }
    }

    /// Notes what a receiver got.
    pub fn delivered(&self, delivery: &Delivery<'_>) {
        let known = delivery.event.and_then(|number| Some((self.event(number)?, usize::try_from(number).ok()?)));
        let webhook = delivery.webhook.filter(|webhook| *webhook < self.webhooks);
        let owed = known
            .zip(webhook)
            .filter(|((event, _), _)| event.sent.load(Ordering::Relaxed) > 0 && !event.waived.load(Ordering::Relaxed));
        let Some(((_, number), webhook)) = owed else {
            self.unexpected.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if !delivery.intact {
            self.corrupt.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let copy = &self.copies[number * self.webhooks + webhook];
        let message = digest(delivery.message);
        let first = copy.message.compare_exchange(0, message, Ordering::Relaxed, Ordering::Relaxed);
        if first.is_err_and(|first| first != message) {
            self.relabelled.fetch_add(1, Ordering::Relaxed);
        }
        note(&copy.first, self.nanos(delivery.at));
        copy.count.fetch_add(1, Ordering::Relaxed);
        self.arrivals.fetch_add(1, Ordering::Relaxed);
    }

    /// How many intact and owed deliveries have come so far, repeats included.
    pub fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Relaxed)
    }

    /// What can be said about a range of events now.
    pub fn check(&self, range: Range<u64>) -> Verdict {
        let mut verdict = Verdict {
            relabelled: self.relabelled.load(Ordering::Relaxed),
            unexpected: self.unexpected.load(Ordering::Relaxed),
            corrupt: self.corrupt.load(Ordering::Relaxed),
            ..Verdict::default()
        };
        for (event, copies) in self.rows(range) {
            let is_acked = event.acked.load(Ordering::Relaxed) > 0;
            let mut came = false;
            for copy in copies {
                let count = copy.count.load(Ordering::Relaxed);
                came |= count > 0;
                verdict.delivered += u64::from(count > 0);
                verdict.duplicated += u64::from(count.saturating_sub(1));
                verdict.lost += u64::from(count == 0 && is_acked && !event.waived.load(Ordering::Relaxed));
            }
            verdict.attempted += u64::from(event.sent.load(Ordering::Relaxed) > 0);
            verdict.acked += u64::from(is_acked);
            verdict.recovered += u64::from(came && !is_acked);
        }
        verdict
    }

    /// Waits until nothing of a range is lost, or nothing has come for `patience`; answers whether nothing is lost.
    #[must_use = "something may be lost"]
    pub async fn settle(&self, range: Range<u64>, patience: Duration) -> bool {
        let (mut seen, mut since) = (self.arrivals(), Instant::now());
        loop {
            if self.check(range.clone()).lost == 0 {
                return true;
            }
            if self.arrivals() != seen {
                (seen, since) = (self.arrivals(), Instant::now());
            } else if since.elapsed() > patience {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// From sending to the answer, of each acknowledged event, in nanoseconds.
    pub fn ack_times(&self, range: Range<u64>) -> Vec<u64> {
        self.rows(range).filter_map(|(event, _)| between(&event.sent, &event.acked)).collect()
    }

    /// From sending to the first arrival, of each delivery that came, in nanoseconds.
    pub fn delivery_times(&self, range: Range<u64>) -> Vec<u64> {
        self.rows(range)
            .flat_map(|(event, copies)| copies.iter().filter_map(|copy| between(&event.sent, &copy.first)))
            .collect()
    }

    /// From the first event sent to the last answer with 2xx.
    pub fn acking_lasted(&self, range: Range<u64>) -> Duration {
        let last = self.rows(range.clone()).map(|(event, _)| event.acked.load(Ordering::Relaxed)).max();
        self.since_first_sent(range, last)
    }

    /// From the first event sent to the last delivery that was the first of its kind.
    pub fn delivering_lasted(&self, range: Range<u64>) -> Duration {
        let arrivals = self.rows(range.clone()).flat_map(|(_, copies)| copies);
        let last = arrivals.map(|copy| copy.first.load(Ordering::Relaxed)).max();
        self.since_first_sent(range, last)
    }

    fn since_first_sent(&self, range: Range<u64>, last: Option<u64>) -> Duration {
        let sent = self.rows(range).map(|(event, _)| event.sent.load(Ordering::Relaxed));
        let first = sent.filter(|at| *at > 0).min().unwrap_or_default();
        Duration::from_nanos(last.unwrap_or_default().saturating_sub(first))
    }

    fn event(&self, number: u64) -> Option<&Event> {
        self.events.get(usize::try_from(number).ok()?)
    }

    fn rows(&self, range: Range<u64>) -> impl Iterator<Item = (&Event, &[Copy])> {
        let at = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).min(self.events.len());
        (at(range.start)..at(range.end)).map(|number| {
            let copies = &self.copies[number * self.webhooks..(number + 1) * self.webhooks];
            (&self.events[number], copies)
        })
    }

    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.started);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

/// Writes a time where none stands yet.
fn note(slot: &AtomicU64, nanos: u64) {
    let _ = slot.compare_exchange(0, nanos, Ordering::Relaxed, Ordering::Relaxed);
}

fn between(start: &AtomicU64, end: &AtomicU64) -> Option<u64> {
    let (start, end) = (start.load(Ordering::Relaxed), end.load(Ordering::Relaxed));
    (start > 0 && end > 0).then(|| end.saturating_sub(start))
}

/// FNV-1a, never 0: tells message ids apart, no more.
fn digest(bytes: &[u8]) -> u64 {
    let mixed = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |mixed, byte| (mixed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    mixed.max(1)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
