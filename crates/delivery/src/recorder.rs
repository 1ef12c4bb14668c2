//! Writes results in batches that form while the previous one is being written. A batch that the database refuses is
//! halved, down to the result that is refused alone; until a result is written its claim is renewed.

use std::sync::Arc;
use std::time::Duration;

use busbar_domain::Clock;
use busbar_messaging::{Publisher, Queue};
use busbar_storage::accept::Owed;
use busbar_storage::access::Plans;
use busbar_storage::claims::{Finished, finish};
use busbar_storage::connect::Durability;
use busbar_storage::settle::settle;
use busbar_storage::{Database, Error, Line};
use tokio::sync::mpsc;

use crate::ledger::Ledger;
use crate::metric;

/// How many results may wait to be written; past it, attempts wait.
const ROOM: usize = 8192;
/// The most results of one statement.
const MOST: usize = 256;
/// The longest that one statement may take before its connection is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before the database is asked again.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) type Recorder = mpsc::Sender<Finished>;

/// Where attempts hand in their results.
pub(crate) fn channel() -> (Recorder, mpsc::Receiver<Finished>) {
    mpsc::channel(ROOM)
}

/// Writes what attempts came to.
pub(crate) struct Writer {
    pub(crate) database: Database,
    pub(crate) clock: Clock,
    pub(crate) plans: Arc<Plans>,
    pub(crate) publisher: Publisher,
    pub(crate) ledger: Arc<Ledger>,
}

impl Writer {
    /// Runs until every sender is gone and everything is written.
    pub(crate) async fn run(self, mut results: mpsc::Receiver<Finished>) {
        let mut line = Line::new(self.database.clone(), Durability::Durable);
        let mut batch = Vec::with_capacity(MOST);
        while results.recv_many(&mut batch, MOST).await > 0 {
            // In key order, so that two processes never wait for each other.
            batch.sort_unstable_by_key(|done| done.claim.delivery);
            // What concerns more than its own row is rare and has a transaction of its own.
            let (more, plain): (Vec<_>, Vec<_>) = batch.drain(..).partition(|done| done.about.is_some());
            for part in [plain, more].into_iter().filter(|part| !part.is_empty()) {
                self.write(&mut line, part).await;
            }
        }
    }

    async fn write(&self, line: &mut Line, batch: Vec<Finished>) {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            match self.insist(line, &part).await {
                Ok(written) => {
                    let lost = part.len() - written;
                    if lost > 0 {
                        metrics::counter!(metric::LOST).increment(lost as u64);
                        tracing::warn!(lost, "results were not written: others had claimed the rows");
                    }
                    self.ledger.release(part.iter().map(|done| done.claim));
                }
                Err(error) if part.len() == 1 => {
                    tracing::error!(%error, delivery = %part[0].claim.delivery, "the database refuses a result");
                    self.ledger.release(part.iter().map(|done| done.claim));
                }
                Err(_) => {
                    let second = part.split_off(part.len() / 2);
                    parts.extend([second, part]);
                }
            }
        }
    }

    /// Writes one batch, however long the database is away; fails only if it refuses for good.
    async fn insist(&self, line: &mut Line, batch: &[Finished]) -> Result<usize, Error> {
        loop {
            let writing = async {
                if batch[0].about.is_some() {
                    let settled = settle(&self.database, &self.plans, batch, self.clock.now()).await?;
                    wake(&self.publisher, &settled.owed);
                    return Ok(settled.written);
                }
                Ok(finish(line.get().await?, batch, self.clock.now()).await?.len())
            };
            let written = tokio::time::timeout(PATIENCE, writing).await.unwrap_or_else(|_| Err(Error::timed_out()));
            match written {
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, results = batch.len(), "results wait for the database");
                    line.give_up();
                    tokio::time::sleep(PAUSE).await;
                }
                known => return known,
            }
        }
    }
}

/// Wakes what a transaction has led to, where the queue takes it; else the scheduler does.
pub(crate) fn wake(publisher: &Publisher, owed: &Owed) {
    for (queue, ids) in [(Queue::Deliveries, &owed.deliveries), (Queue::Jobs, &owed.spreading)] {
        if publisher.takes(queue) {
            publisher.wake(queue, ids, None);
        }
    }
}
