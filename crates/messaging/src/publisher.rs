//! The caller's side of publishing: never waits and never fails, since a wake-up is a hint and the row is the truth.
//! Whether a queue takes more is a look at atomics that the background task keeps fresh.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use busbar_domain::trace::TraceContext;
use bytes::Bytes;
use metrics::counter;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::{Config, HealthReport};
use crate::connection;
use crate::error::Error;
use crate::publishing::Publishing;
use crate::topology::Queue;
use crate::wakeup::{self, MAX_IDS};

/// How many wake-ups may wait for the connection; more are dropped and counted.
const INBOX: usize = 8192;

/// Publishes wake-ups on a connection of its own; clones share it.
#[derive(Clone)]
pub struct Publisher {
    inbox: mpsc::Sender<Wake>,
    state: Arc<State>,
    task: TaskTracker,
    closing: CancellationToken,
    _last_clone_closes: Arc<DropGuard>,
}

/// One message to be.
#[derive(Clone)]
pub(crate) struct Wake {
    pub(crate) queue: Queue,
    pub(crate) ids: u32,
    pub(crate) body: Bytes,
    pub(crate) trace: Option<TraceContext>,
    /// Whether it was sent on an earlier connection that broke before the confirm came.
    pub(crate) again: bool,
}

impl Publisher {
    /// Starts the background task, which connects and reconnects until the publisher is closed.
    ///
    /// Fails only on a URL that cannot be read; an absent broker is told to `health`.
    pub fn start(config: Config, health: HealthReport) -> Result<Self, Error> {
        connection::parse(&config)?;
        let (inbox, outbox) = mpsc::channel(INBOX);
        let state = Arc::new(State::new(config.backlog_limit));
        let closing = CancellationToken::new();
        let publishing = Publishing::new(config, health, Arc::clone(&state), outbox, closing.clone());
        let task = TaskTracker::new();
        task.spawn(publishing.run());
        task.close();
        let guard = Arc::new(closing.clone().drop_guard());
        Ok(Self { inbox, state, task, closing, _last_clone_closes: guard })
    }

    /// Queues wake-ups for `ids`, up to [`MAX_IDS`] in each message; what finds no room is dropped and counted.
    pub fn wake(&self, queue: Queue, ids: &[Uuid], trace: Option<TraceContext>) {
        for ids in ids.chunks(MAX_IDS) {
            let body = wakeup::encode(queue.kind(), ids);
            let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            let wake = Wake { queue, ids: count, body, trace, again: false };
            if self.inbox.try_send(wake).is_err() {
                counter!("busbar_wakeups_dropped_total", "queue" => queue.name()).increment(1);
            }
        }
    }

    /// Whether the broker is connected and accepts messages.
    pub fn ready(&self) -> bool {
        self.state.ready()
    }

    /// Whether so many ids wait in the queue that only the scheduler should add to it.
    pub fn saturated(&self, queue: Queue) -> bool {
        self.state.saturated(queue)
    }

    /// Whether a wake-up makes sense now; when not, the row's due time is its wake-up.
    pub fn takes(&self, queue: Queue) -> bool {
        self.ready() && !self.state.missing(queue) && !self.saturated(queue)
    }

    /// Sends what is queued, waits for its confirms up to a deadline, and closes the connection.
    pub async fn close(&self) {
        self.closing.cancel();
        self.task.wait().await;
    }
}

/// What the background task knows of the broker.
pub(crate) struct State {
    connected: AtomicBool,
    blocked: AtomicBool,
    queues: [QueueState; Queue::COUNT],
    backlog_limit: u32,
}

#[derive(Default)]
struct QueueState {
    depth: AtomicU32,
    missing: AtomicBool,
    /// Ids per wake-up as a moving average, in sixteenths.
    ids_x16: AtomicU32,
}

impl State {
    fn new(backlog_limit: u32) -> Self {
        Self {
            connected: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            queues: Default::default(),
            backlog_limit,
        }
    }

    fn queue(&self, queue: Queue) -> &QueueState {
        &self.queues[queue.index()]
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.blocked.store(false, Ordering::Relaxed);
        self.connected.store(connected, Ordering::Relaxed);
    }

    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    pub(crate) fn blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    fn ready(&self) -> bool {
        self.connected.load(Ordering::Relaxed) && !self.blocked()
    }

    /// Takes note of a queue's depth, `None` where it is missing; true when it went missing or came back.
    pub(crate) fn set_depth(&self, queue: Queue, depth: Option<u32>) -> bool {
        let state = self.queue(queue);
        state.depth.store(depth.unwrap_or(0), Ordering::Relaxed);
        state.missing.swap(depth.is_none(), Ordering::Relaxed) != depth.is_none()
    }

    pub(crate) fn missing(&self, queue: Queue) -> bool {
        self.queue(queue).missing.load(Ordering::Relaxed)
    }

    /// Takes note of a wake-up of `ids` ids; only the background task writes here.
    pub(crate) fn note_published(&self, queue: Queue, ids: u32) {
        let average = &self.queue(queue).ids_x16;
        let old = average.load(Ordering::Relaxed);
        let sample = ids * 16;
        let new = if old == 0 { sample } else { (old * 15 + sample).div_ceil(16) };
        average.store(new, Ordering::Relaxed);
    }

    fn saturated(&self, queue: Queue) -> bool {
        let state = self.queue(queue);
        let ids_x16 = u64::from(state.ids_x16.load(Ordering::Relaxed).max(16));
        let waiting = u64::from(state.depth.load(Ordering::Relaxed)) * ids_x16 / 16;
        waiting > u64::from(self.backlog_limit)
    }

    /// The reason why publishing does not work as it should, if there is one.
    pub(crate) fn verdict(&self, config: &Config) -> Result<(), String> {
        if self.blocked() {
            return Err("the broker blocks publishing".to_owned());
        }
        let missing: Vec<_> = Queue::all().filter(|queue| self.missing(*queue)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = missing.into_iter().map(|queue| queue.full_name(&config.namespace)).collect();
        Err(format!("missing queues: {}", names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_saturated_by_ids_and_not_by_messages() {
        let state = State::new(1000);
        state.set_depth(Queue::Deliveries, Some(500));
        assert!(!state.saturated(Queue::Deliveries));
        state.note_published(Queue::Deliveries, 64);
        assert!(state.saturated(Queue::Deliveries));
        assert!(!state.saturated(Queue::Jobs));
        for _ in 0..200 {
            state.note_published(Queue::Deliveries, 1);
        }
        assert!(!state.saturated(Queue::Deliveries));
    }

    #[test]
    fn a_missing_queue_is_told_once_each_way() {
        let state = State::new(1);
        assert!(state.set_depth(Queue::Jobs, None));
        assert!(!state.set_depth(Queue::Jobs, None));
        assert!(state.missing(Queue::Jobs));
        assert!(state.set_depth(Queue::Jobs, Some(0)));
    }
}
