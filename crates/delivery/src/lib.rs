//! One delivery, one signed HTTP call, one recorded attempt; many of them at a time, webhook by webhook.
//!
//! Wake-ups say which rows to claim; what is claimed waits in its webhook's lane, is posted through the guarded
//! door, and is written back in batches. Absent by design: any decision about who is owed what.

mod attempt;
mod breaker;
mod circuit;
mod claims;
mod lane;
mod lanes;
mod ledger;
mod line;
mod metric;
mod pace;
mod recorder;
mod request;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use busbar_messaging::{Queue, consume};
use busbar_runtime::settings::Settings;
use busbar_runtime::{Context, Parts, parts};
use busbar_storage::access::Plans;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::breaker::WeakWorker;
use crate::worker::{Intake, Worker};

/// The most ids that one claim takes.
const MOST_IDS: usize = 256;
/// What is left of the drain's deadline for writing the last results.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs the delivery service until `context` says stop.
pub async fn run(settings: Arc<Settings>, context: Context) -> anyhow::Result<()> {
    let parts = Parts::open(&settings, &context).await?;
    let egress = parts::egress(&settings)?;
    let publisher = parts::publisher(&settings, &context.health)?;
    let (recorder, results) = recorder::channel();
    let (breaker, notes) = breaker::channel();
    let worker = Worker::new(&settings, &parts, egress, recorder, breaker);

    let beside = TaskTracker::new();
    let ended = CancellationToken::new();
    let (database, clock) = (&parts.database, &parts.clock);
    let plans = Arc::new(Plans::new(database.clone(), parts.changes.clone()));
    let recording = beside.spawn(
        recorder::Writer {
            database: database.clone(),
            clock: clock.clone(),
            plans: Arc::clone(&plans),
            publisher: publisher.clone(),
            ledger: worker.ledger(),
        }
        .run(results),
    );
    let breaking = beside.spawn(
        breaker::Writer { database: database.clone(), clock: clock.clone(), plans, publisher: publisher.clone() }
            .run(notes, WeakWorker::of(&worker)),
    );
    let keeping = beside.spawn(claims::keep(database.clone(), clock.clone(), worker.clone(), ended.clone()));
    let pacing = beside.spawn(pace::keep(database.clone(), clock.clone(), worker.clone(), ended.clone()));

    let stop = CancellationToken::new();
    let stopping = async {
        context.shutdown.stop().await;
        stop.cancel();
    };
    let consuming = consume(
        parts::broker(&settings)?,
        Queue::Deliveries,
        settings.delivery.prefetch,
        MOST_IDS,
        Intake::new(worker.clone(), parts.database.clone()),
        parts::health_report(&context.health, "consumer"),
        stop.clone(),
    );
    let (consumed, ()) = tokio::join!(consuming, stopping);
    consumed.context("the consumer cannot run")?;

    // What has not begun goes back; what has begun is finished, as far as the deadline allows.
    worker.give_back();
    let patience = context.shutdown.remaining().unwrap_or(Duration::from_secs(15)).saturating_sub(LAST_WORDS);
    if tokio::time::timeout(patience, worker.idle()).await.is_err() {
        tracing::warn!("attempts were cut off by the drain's deadline; they will be repeated");
    }
    ended.cancel();
    keeping.await.context("the leases' keeper failed")?;
    pacing.await.context("the keeper of paces failed")?;
    // The last sender of results; the recorder ends when it has written them.
    drop(worker);
    recording.await.context("the recorder failed")?;
    breaking.await.context("the circuits' writer failed")?;
    publisher.close().await;
    parts.close().await;
    Ok(())
}
