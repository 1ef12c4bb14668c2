//! Webhooks with a pace of their own: what waits in their lanes begins as the pace allows, which all processes share.

use std::time::{Duration, Instant};

use busbar_domain::Clock;
use busbar_storage::budgets::{Want, take};
use busbar_storage::connect::Durability;
use busbar_storage::{Database, Error, Line};
use tokio_util::sync::CancellationToken;

use crate::worker::Worker;

/// How long one grant lasts.
const ROUND: Duration = Duration::from_millis(100);
/// How long to wait before the database is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest that the database may take before its connection is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until `stop`; idle while nothing waits for its pace.
pub(crate) async fn keep(database: Database, clock: Clock, worker: Worker, stop: CancellationToken) {
    let mut line = Line::new(database, Durability::Relaxed);
    loop {
        let wants = worker.inside().lock_lanes().wants(Instant::now());
        if wants.is_empty() {
            tokio::select! {
                () = worker.inside().limited.notified() => continue,
                () = stop.cancelled() => return,
            }
        }
        let pause = match granted(&mut line, &clock, &wants).await {
            Ok(granted) => {
                let now = Instant::now();
                let paired = wants.iter().zip(granted);
                let starts: Vec<_> = {
                    let mut lanes = worker.inside().lock_lanes();
                    paired.flat_map(|(want, tokens)| lanes.grant(want.webhook, tokens, now)).collect()
                };
                for start in starts {
                    worker.spawn(start);
                }
                ROUND
            }
            Err(error) => {
                tracing::warn!(%error, "the pace of webhooks could not be read");
                line.give_up();
                PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn granted(line: &mut Line, clock: &Clock, wants: &[Want]) -> Result<Vec<u32>, Error> {
    let taking = take(line.get().await?, wants, ROUND, clock.now());
    tokio::time::timeout(PATIENCE, taking).await.unwrap_or_else(|_| Err(Error::timed_out()))
}
