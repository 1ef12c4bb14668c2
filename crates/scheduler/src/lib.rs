//! Everything that starts by clock: due retries, lost wake-ups, held work that may go on, replay jobs, partitions,
//! expired keys.
//!
//! Tasks take no input, are idempotent, skip what another scheduler holds, and may run on many replicas.

mod late;
mod metric;
mod orders;
mod replays;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use busbar_runtime::settings::Settings;
use busbar_runtime::{Context, Parts, parts};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::late::Late;
use crate::replays::Replays;
use crate::tasks::Tasks;

/// Runs the scheduler until `context` says stop.
pub async fn run(settings: Arc<Settings>, context: Context) -> anyhow::Result<()> {
    let parts = Parts::open(&settings, &context).await?;
    let publisher = parts::publisher(&settings, &context.health)?;
    let health = context.health.register("tick");
    let mut tasks = Tasks::new(&settings, &parts, publisher.clone());
    let tick = Duration::from_millis(settings.scheduler.tick_ms);
    let (beside, ended) = (TaskTracker::new(), CancellationToken::new());
    beside.spawn(Late::new(&settings, &parts, publisher.clone()).run(ended.clone()));
    beside.spawn(Replays::new(&parts, publisher.clone()).run(ended.clone()));
    loop {
        match tasks.round().await {
            Ok(()) => health.up(),
            Err(error) => {
                tracing::warn!(%error, "a round failed");
                health.down(error.to_string());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(tick) => {}
            () = context.shutdown.stop() => break,
        }
    }
    ended.cancel();
    beside.close();
    beside.wait().await;
    publisher.close().await;
    parts.close().await;
    Ok(())
}
