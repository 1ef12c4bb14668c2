//! Group commit: a bounded queue whose entries are made durable together, in batches that form by themselves while
//! the previous one is being written. No timer: a lone entry waits for nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use busbar_domain::id::TenantId;
use tokio::sync::{mpsc, oneshot};

/// Why an entry was not made durable, as far as its sender is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full, or this tenant's half of it.
    Full,
    /// There was no commit in time. It may still come; the sender tries again.
    TimedOut,
    /// The database refuses this very entry.
    Rejected,
}

/// The sending side; clones share one queue.
#[derive(Debug)]
pub(crate) struct Queue<T, R> {
    sender: mpsc::Sender<Entry<T, R>>,
    waiting: Arc<Waiting>,
    timeout: Duration,
}

/// One entry on its way to the disk.
#[derive(Debug)]
pub(crate) struct Entry<T, R> {
    pub(crate) tenant: TenantId,
    pub(crate) item: T,
    answer: oneshot::Sender<Result<R, Refused>>,
}

impl<T, R> Entry<T, R> {
    /// Tells the sender what became of it. A sender that has gone away is not told.
    pub(crate) fn answer(self, answer: Result<R, Refused>) {
        let _gone = self.answer.send(answer);
    }

    /// Whether somebody still waits for the answer.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }
}

/// How many entries of each tenant wait.
#[derive(Debug)]
struct Waiting {
    by_tenant: Mutex<HashMap<TenantId, usize>>,
    most: usize,
}

impl Waiting {
    fn enter(&self, tenant: TenantId) -> bool {
        let mut by_tenant = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = by_tenant.entry(tenant).or_default();
        let room = *waiting < self.most;
        *waiting += usize::from(room);
        room
    }

    fn leave(&self, tenant: TenantId) {
        let mut by_tenant = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = by_tenant.get_mut(&tenant) {
            *waiting -= 1;
            if *waiting == 0 {
                by_tenant.remove(&tenant);
            }
        }
    }
}

/// The receiving side.
#[derive(Debug)]
pub(crate) struct Intake<T, R> {
    receiver: mpsc::Receiver<Entry<T, R>>,
    waiting: Arc<Waiting>,
}

/// A queue of `room` entries, at most half of them one tenant's, that answers within `timeout`.
pub(crate) fn queue<T, R>(room: usize, timeout: Duration) -> (Queue<T, R>, Intake<T, R>) {
    let (sender, receiver) = mpsc::channel(room);
    let waiting = Arc::new(Waiting { by_tenant: Mutex::default(), most: (room / 2).max(1) });
    (Queue { sender, waiting: Arc::clone(&waiting), timeout }, Intake { receiver, waiting })
}

impl<T, R> Queue<T, R> {
    /// Waits until `item` is durable.
    pub(crate) async fn commit(&self, tenant: TenantId, item: T) -> Result<R, Refused> {
        if !self.waiting.enter(tenant) {
            return Err(Refused::Full);
        }
        let (answer, answered) = oneshot::channel();
        if self.sender.try_send(Entry { tenant, item, answer }).is_err() {
            self.waiting.leave(tenant);
            return Err(Refused::Full);
        }
        match tokio::time::timeout(self.timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Refused::TimedOut),
        }
    }
}

impl<T, R> Intake<T, R> {
    /// The next batch: what is there, at most `most` entries. `None` when every sender is gone.
    ///
    /// Entries whose sender has given up are dropped: they were answered 503 and never written.
    pub(crate) async fn next(&mut self, most: usize) -> Option<Vec<Entry<T, R>>> {
        loop {
            let mut batch = Vec::new();
            if self.receiver.recv_many(&mut batch, most).await == 0 {
                return None;
            }
            for entry in &batch {
                self.waiting.leave(entry.tenant);
            }
            batch.retain(Entry::is_awaited);
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use busbar_domain::Clock;

    fn tenant() -> TenantId {
        TenantId::new(Clock::system().now())
    }

    #[tokio::test]
    async fn one_tenant_fills_at_most_half_of_the_queue() {
        let (queue, mut intake) = queue::<u32, u32>(4, Duration::from_millis(20));
        let (loud, quiet) = (tenant(), tenant());
        assert_eq!(queue.commit(loud, 1).await, Err(Refused::TimedOut));
        assert_eq!(queue.commit(loud, 2).await, Err(Refused::TimedOut));
        assert_eq!(queue.commit(loud, 3).await, Err(Refused::Full));
        assert_eq!(queue.commit(quiet, 4).await, Err(Refused::TimedOut));
        let commit = queue.commit(quiet, 5);
        let serve = async {
            let batch = intake.next(10).await.unwrap();
            assert_eq!(batch.len(), 1, "who has given up is not written");
            for entry in batch {
                let item = entry.item;
                entry.answer(Ok(item));
            }
        };
        assert_eq!(tokio::join!(commit, serve).0, Ok(5));
        assert_eq!(queue.commit(loud, 6).await, Err(Refused::TimedOut), "there is room again");
    }
}
