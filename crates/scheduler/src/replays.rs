//! Replay jobs go on step by step, each at its own pace, and what a round of steps makes is woken in small slices, spread
//! over the time until the next round: a live delivery never stands behind many of them.
//!
//! Many replicas may do this at once: a step has its job's row locked, and what another holds is passed over.

use std::time::Duration;

use busbar_domain::Clock;
use busbar_messaging::{Publisher, Queue};
use busbar_runtime::Parts;
use busbar_storage::connect::Durability;
use busbar_storage::replays::{self, Step};
use busbar_storage::{Error, Line};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metric;

/// The pause between two steps of a job.
const BETWEEN_STEPS: Duration = Duration::from_millis(50);
/// The pause while no job runs.
const IDLE: Duration = Duration::from_millis(500);
/// The pause after an error.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// The most jobs of one round; those that have waited longest come first.
const MOST_JOBS: i64 = 100;
/// So many ids in one wake-up, so that a live one never waits for a long batch.
const SLICE: usize = 8;

pub(crate) struct Replays {
    line: Line,
    clock: Clock,
    publisher: Publisher,
}

impl Replays {
    pub(crate) fn new(parts: &Parts, publisher: Publisher) -> Self {
        let line = Line::new(parts.database.clone(), Durability::Durable);
        Self { line, clock: parts.clock.clone(), publisher }
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let mut made = Vec::new();
            let pause = match self.round(&mut made, &stop).await {
                Ok(true) => BETWEEN_STEPS,
                Ok(false) => IDLE,
                Err(error) => {
                    tracing::warn!(%error, "replays could not go on");
                    AFTER_ERROR
                }
            };
            made.sort_unstable();
            let share = pause / u32::try_from(made.len().div_ceil(SLICE).max(1)).unwrap_or(u32::MAX);
            for slice in made.chunks(SLICE) {
                self.publisher.wake(Queue::Deliveries, slice, None);
                tokio::select! {
                    () = tokio::time::sleep(share) => {}
                    // The rest is woken at once.
                    () = stop.cancelled() => {}
                }
            }
            if made.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return,
                }
            }
        }
    }

    /// Takes a step of each job that runs; answers whether any does. While the queue is full, all of them wait.
    async fn round(&mut self, made: &mut Vec<Uuid>, stop: &CancellationToken) -> Result<bool, Error> {
        let listed = replays::running(self.line.get().await?, self.clock.now(), MOST_JOBS).await;
        let running = listed.inspect_err(|_| self.line.give_up())?;
        metrics::gauge!(metric::REPLAYS_RUNNING).set(running.count);
        let mut failed = None;
        for job in running.ready {
            if stop.is_cancelled() || !self.publisher.takes(Queue::Deliveries) {
                break;
            }
            // One job that cannot go on stops no other.
            match self.step(job).await {
                Ok(taken) => made.extend(taken.made),
                Err(error) => {
                    tracing::warn!(%job, %error, "a replay could not go on");
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(running.count > 0), Err)
    }

    async fn step(&mut self, job: Uuid) -> Result<Step, Error> {
        let taken = replays::step(self.line.get().await?, job, self.clock.now()).await;
        let Some(step) = taken.inspect_err(|_| self.line.give_up())? else { return Ok(Step::default()) };
        if step.done {
            tracing::info!(%job, "a replay is done");
        }
        metrics::counter!(metric::REPLAYED, "outcome" => "made").increment(step.made.len() as u64);
        metrics::counter!(metric::REPLAYED, "outcome" => "skipped").increment(step.skipped as u64);
        Ok(step)
    }
}
