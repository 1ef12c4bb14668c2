//! Sends the events of a range over keep-alive connections, as fast as they are answered or by the clock.
//! By the clock, a time is measured from when an event was due: one that had to wait for a connection waited.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;

use crate::load::{Exchange, Ledger};

/// Appends the whole request of an event, head and body.
pub type Compose = Arc<dyn Fn(u64, &mut Vec<u8>) + Send + Sync>;

const NANOS: u64 = 1_000_000_000;
/// How long a failed event waits before it is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How far ahead of its events a paced load begins.
const HEADSTART: Duration = Duration::from_millis(20);

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where to.
    pub target: SocketAddr,
    /// How many connections send at once.
    pub connections: usize,
    /// The numbers of the events.
    pub events: Range<u64>,
    /// Events per second; as fast as they are answered if there is none.
    pub rate: Option<u64>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whether an event is sent until it is answered with 2xx, or once only.
    pub retry_until_acked: bool,
}

/// How a load was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
    /// Requests without an answer: no connection, a broken one, or no answer in time.
    pub unanswered: u64,
}

impl Load {
    /// Sends everything; the book is told when each event was sent and when it was answered with 2xx.
    pub async fn run(&self, compose: Compose, ledger: &Arc<Ledger>) -> Outcome {
        let connections = self.connections.max(1);
        let work = Arc::new(Work {
            load: self.clone(),
            compose,
            ledger: Arc::clone(ledger),
            next: AtomicU64::new(self.events.start),
            due: Semaphore::new(0),
            start: Instant::now() + HEADSTART,
            connected: Barrier::new(connections),
        });
        let _closing = Closing(&work.due);
        if self.rate.is_some() {
            let work = Arc::clone(&work);
            thread::spawn(move || work.pace());
        }
        let mut senders = JoinSet::new();
        for _ in 0..connections {
            senders.spawn(Arc::clone(&work).send());
        }
        let mut total = Outcome::default();
        while let Some(sender) = senders.join_next().await {
            let outcome = sender.unwrap_or_default();
            total.unanswered += outcome.unanswered;
            for (status, count) in outcome.answers {
                *total.answers.entry(status).or_default() += count;
            }
        }
        total
    }
}

/// Ends the pacing thread also when the load is given up.
struct Closing<'w>(&'w Semaphore);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What the connections of a load share.
struct Work {
    load: Load,
    compose: Compose,
    ledger: Arc<Ledger>,
    next: AtomicU64,
    /// One permit per event that is due.
    due: Semaphore,
    start: Instant,
    connected: Barrier,
}

impl Work {
    /// Lets each event go when it is due. A thread of its own, since the runtime's timers are a millisecond wide.
    fn pace(&self) {
        for event in self.load.events.clone() {
            let Some(due) = self.due_at(event) else { return };
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                thread::sleep(wait);
            }
            if self.due.is_closed() {
                return;
            }
            self.due.add_permits(1);
        }
    }

    fn due_at(&self, event: u64) -> Option<Instant> {
        let nth = u128::from(event - self.load.events.start);
        let nanos = nth * u128::from(NANOS) / u128::from(self.load.rate?.max(1));
        Some(self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// The next event and the moment from which it is measured, once it may be sent.
    async fn take(&self) -> Option<(u64, Instant)> {
        if self.load.rate.is_some() {
            self.due.acquire().await.ok()?.forget();
        }
        let event = self.next.fetch_add(1, Ordering::Relaxed);
        if event + 1 >= self.load.events.end {
            // Whoever waits for an event that does not exist is sent home.
            self.due.close();
        }
        if event >= self.load.events.end {
            return None;
        }
        Some((event, self.due_at(event).unwrap_or_else(Instant::now)))
    }

    async fn send(self: Arc<Self>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut exchange = Exchange::open(self.load.target).await.ok();
        self.connected.wait().await;
        let mut request = Vec::new();
        while let Some((event, at)) = self.take().await {
            request.clear();
            (self.compose)(event, &mut request);
            self.ledger.sent(event, at);
            while !self.attempt(&mut exchange, &request, event, &mut outcome).await && self.load.retry_until_acked {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
        outcome
    }

    /// Sends a request once; answers whether it was answered with 2xx.
    async fn attempt(&self, slot: &mut Option<Exchange>, request: &[u8], event: u64, outcome: &mut Outcome) -> bool {
        let sending = async {
            let mut exchange = match slot.take() {
                Some(exchange) => exchange,
                None => Exchange::open(self.load.target).await.ok()?,
            };
            let reply = exchange.send(request).await.ok()?;
            let (status, keeps_open) = (reply.status, reply.keeps_open);
            *slot = keeps_open.then_some(exchange);
            Some(status)
        };
        let Ok(Some(status)) = tokio::time::timeout(self.load.timeout, sending).await else {
            outcome.unanswered += 1;
            return false;
        };
        *outcome.answers.entry(status).or_default() += 1;
        let is_acked = (200..300).contains(&status);
        if is_acked {
            self.ledger.acked(event, Instant::now());
        }
        is_acked
    }
}
