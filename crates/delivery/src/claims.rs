//! Keeps what is claimed: renews leases while work is in flight, and gives back what slow lanes cannot start soon.

use std::time::{Duration, Instant};

use busbar_domain::Clock;
use busbar_storage::claims::{park, renew};
use busbar_storage::connect::Durability;
use busbar_storage::{Database, Error, Line, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::metric;
use crate::worker::{Parked, Worker};

/// How often leases are looked at; a lease holds for 5 s.
const ROUND: Duration = Duration::from_millis(500);
/// A claim of this age is renewed.
const RENEW_AT: Duration = Duration::from_millis(1500);
/// The most claims of one statement.
const MOST: usize = 512;

/// Runs until `stop`, and until what was parked is written.
pub(crate) async fn keep(database: Database, clock: Clock, worker: Worker, stop: CancellationToken) {
    let mut line = Line::new(database, Durability::Relaxed);
    let mut ended = false;
    while !ended {
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = stop.cancelled() => ended = true,
        }
        let kept = match line.get().await {
            Ok(open) => round(open, &clock, &worker).await,
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "leases could not be renewed");
            line.give_up();
        }
    }
}

async fn round(open: &mut PgConnection, clock: &Clock, worker: &Worker) -> Result<(), Error> {
    let (now, inside) = (Instant::now(), worker.inside());
    worker.look_after_lanes(now);
    let claims = inside.ledger.older_than(RENEW_AT, now);
    metrics::gauge!(metric::CLAIMED).set(metric::count(inside.ledger.len()));
    for claims in claims.chunks(MOST) {
        let renewed = renew(open, claims, clock.now()).await?;
        if renewed.len() < claims.len() {
            // What has ended meanwhile counts here too; a result of a lost claim is refused when it is written.
            tracing::debug!(gone = claims.len() - renewed.len(), "claims have ended or were lost");
        }
    }
    let parked = inside.take_parked();
    for part in parked.chunks(MOST) {
        let until: Vec<_> = part.iter().map(|Parked { claim, wait }| (*claim, clock.now() + *wait)).collect();
        if let Err(error) = park(open, &until).await {
            // The leases end by themselves, so nothing is stranded; the scheduler offers the rows again.
            inside.ledger.release(part.iter().map(|parked| parked.claim));
            return Err(error);
        }
        inside.ledger.release(part.iter().map(|parked| parked.claim));
        metrics::counter!(metric::PARKED).increment(part.len() as u64);
    }
    Ok(())
}
