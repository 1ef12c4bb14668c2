//! Writes results in batches that form while the previous one is being written. A batch that the database refuses is
//! halved, down to the result that is refused alone; until a result is written its claim is renewed.

use std::sync::Arc;
use std::time::Duration;

use busbar_domain::Clock;
use busbar_storage::claims::{Finished, finish};
use busbar_storage::connect::Durability;
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

/// Runs until every sender is gone and everything is written.
pub(crate) async fn run(database: Database, clock: Clock, mut results: mpsc::Receiver<Finished>, ledger: Arc<Ledger>) {
    let mut line = Line::new(database, Durability::Durable);
    let mut batch = Vec::with_capacity(MOST);
    while results.recv_many(&mut batch, MOST).await > 0 {
        // In key order, so that two processes never wait for each other.
        batch.sort_unstable_by_key(|done| done.claim.delivery);
        let mut parts = vec![std::mem::take(&mut batch)];
        while let Some(mut part) = parts.pop() {
            match write(&mut line, &clock, &part).await {
                Ok(written) => {
                    let lost = part.len() - written;
                    if lost > 0 {
                        metrics::counter!(metric::LOST).increment(lost as u64);
                        tracing::warn!(lost, "results were not written: others had claimed the rows");
                    }
                    ledger.release(part.iter().map(|done| done.claim));
                }
                Err(error) if part.len() == 1 => {
                    tracing::error!(%error, delivery = %part[0].claim.delivery, "the database refuses a result");
                    ledger.release(part.iter().map(|done| done.claim));
                }
                Err(_) => {
                    let second = part.split_off(part.len() / 2);
                    parts.extend([second, part]);
                }
            }
        }
    }
}

/// Writes one batch, however long the database is away; fails only if it refuses for good.
async fn write(line: &mut Line, clock: &Clock, batch: &[Finished]) -> Result<usize, Error> {
    loop {
        let written = match line.get().await {
            Ok(open) => tokio::time::timeout(PATIENCE, finish(open, batch, clock.now()))
                .await
                .unwrap_or_else(|_| Err(Error::timed_out())),
            Err(error) => Err(error),
        };
        match written {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, results = batch.len(), "results wait for the database");
                line.give_up();
                tokio::time::sleep(PAUSE).await;
            }
            known => return known.map(|ids| ids.len()),
        }
    }
}
