//! What the receiver remembers of the requests that it read.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::request::Request;

/// Called with each request, on the connection's task.
pub type Sink = Arc<dyn Fn(&Request<'_>) + Send + Sync>;

/// What is kept of the requests.
#[derive(Clone, Default)]
pub enum Recording {
    /// Every request.
    #[default]
    All,
    /// The last so many requests.
    Last(usize),
    /// Nothing; the function sees each request, before it is answered.
    Sink(Sink),
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("All"),
            Self::Last(count) => f.debug_tuple("Last").field(count).finish(),
            Self::Sink(_) => f.write_str("Sink"),
        }
    }
}

/// A request that was kept.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The path with its query, as sent.
    pub path: String,
    /// The headers in their order, names as sent.
    pub headers: Vec<(String, String)>,
    /// The whole body, chunks joined.
    pub body: Bytes,
    /// When the last byte was there.
    pub received_at: Instant,
    /// The same moment on the wall clock, in nanoseconds since 1970.
    pub unix_nanos: u64,
}

impl Received {
    /// The first value of a header, its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl From<&Request<'_>> for Received {
    fn from(request: &Request<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            method: request.method.to_owned(),
            path: request.path.to_owned(),
            headers: request.headers.iter().map(|(name, value)| (text(name), text(value))).collect(),
            body: Bytes::copy_from_slice(request.body),
            received_at: request.received_at,
            unix_nanos: request.unix_nanos,
        }
    }
}

/// The receiver's memory.
pub(crate) struct Log {
    recording: Recording,
    kept: Mutex<VecDeque<Received>>,
    count: AtomicU64,
    waiting: AtomicUsize,
    changed: Notify,
}

impl Log {
    pub(crate) fn new(recording: Recording) -> Self {
        Self {
            recording,
            kept: Mutex::default(),
            count: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            changed: Notify::new(),
        }
    }

    pub(crate) fn record(&self, request: &Request<'_>) {
        match &self.recording {
            Recording::All => self.kept().push_back(request.into()),
            Recording::Last(limit) => {
                let received = Received::from(request);
                let mut kept = self.kept();
                kept.push_back(received);
                if kept.len() > *limit {
                    kept.pop_front();
                }
            }
            Recording::Sink(sink) => sink(request),
        }
        self.count.fetch_add(1, Ordering::SeqCst);
        // Waking takes a lock, so it is left out while nobody waits.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.kept().iter().cloned().collect()
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Forgets every request and counts from zero.
    pub(crate) fn clear(&self) {
        let mut kept = self.kept();
        kept.clear();
        self.count.store(0, Ordering::SeqCst);
    }

    pub(crate) async fn wait_for(&self, count: u64, deadline: Duration) -> bool {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _guard = Waiting(&self.waiting);
        let reached = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if self.count() >= count {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(deadline, reached).await.is_ok()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Received>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a waiter down, also when its future is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
