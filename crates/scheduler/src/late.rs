//! What goes behind live traffic: retries, work that was held, and replays are woken at a steady pace, in small slices,
//! so that a thousand receivers that recover together do not stand ahead of what is new.

use std::time::{Duration, Instant};

use busbar_domain::Clock;
use busbar_messaging::{Publisher, Queue};
use busbar_runtime::Parts;
use busbar_runtime::settings::Settings;
use busbar_storage::{Database, Error, due};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metric;

/// How often a slice is woken while there is more.
const SLICE: Duration = Duration::from_millis(50);

pub(crate) struct Late {
    database: Database,
    clock: Clock,
    publisher: Publisher,
    tick: Duration,
    pace: Pace,
}

/// So many rows per second, in slices.
#[derive(Debug)]
struct Pace {
    per_second: f64,
    allowance: f64,
    counted_at: Instant,
}

impl Pace {
    fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: per_second.max(1).into(), allowance: 0.0, counted_at: now }
    }

    /// How many rows may be woken now: what has come together since the last slice, but no more than one slice.
    fn allows(&mut self, now: Instant) -> usize {
        let since = now.saturating_duration_since(self.counted_at).as_secs_f64();
        self.counted_at = now;
        let slice = (self.per_second * SLICE.as_secs_f64()).max(1.0);
        self.allowance = (self.allowance + since * self.per_second).min(slice);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a slice is small and positive")]
        let whole = self.allowance.max(0.0) as usize;
        whole
    }

    /// Counts what was woken, which may be more than was allowed: then the next slices are smaller.
    fn count(&mut self, woken: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        let woken = woken as f64;
        self.allowance -= woken;
    }
}

impl Late {
    pub(crate) fn new(settings: &Settings, parts: &Parts, publisher: Publisher) -> Self {
        Self {
            database: parts.database.clone(),
            clock: parts.clock.clone(),
            publisher,
            tick: Duration::from_millis(settings.scheduler.tick_ms),
            pace: Pace::new(settings.scheduler.late_per_second, Instant::now()),
        }
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = match self.slice().await {
                Ok(true) => SLICE,
                Ok(false) => self.tick,
                Err(error) => {
                    tracing::warn!(%error, "retries could not be woken");
                    self.tick.max(Duration::from_secs(1))
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Wakes one slice; answers whether there may be more.
    async fn slice(&mut self) -> Result<bool, Error> {
        let allowed = self.pace.allows(Instant::now());
        if !self.publisher.takes(Queue::Deliveries) || allowed == 0 {
            return Ok(allowed == 0);
        }
        let most = i64::try_from(allowed).unwrap_or(i64::MAX);
        let mut connection = self.database.acquire().await?;
        let mut woken = due::release_late(&mut connection, self.clock.now(), most).await?;
        let room = i64::try_from(allowed.saturating_sub(woken.len())).unwrap_or(0);
        if room > 0 {
            woken.extend(due::release_held(&mut connection, self.clock.now(), room).await?);
        }
        self.pace.count(woken.len());
        self.wake(&woken);
        Ok(woken.len() >= allowed)
    }

    /// In small wake-ups, so that a live one never waits for a long batch.
    fn wake(&self, ids: &[Uuid]) {
        metrics::counter!(metric::WOKEN, "kind" => "late").increment(ids.len() as u64);
        for part in ids.chunks(16) {
            let mut part = part.to_vec();
            part.sort_unstable();
            self.publisher.wake(Queue::Deliveries, &part, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_what_has_come_together_and_no_more_than_one() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, start);
        assert_eq!(pace.allows(start), 0);
        assert_eq!(pace.allows(start + Duration::from_millis(20)), 20);
        pace.count(20);
        assert_eq!(pace.allows(start + Duration::from_secs(10)), 50, "what was not used does not pile up");
        pace.count(120);
        assert_eq!(pace.allows(start + Duration::from_secs(10)), 0);
        assert_eq!(pace.allows(start + Duration::from_millis(10_080)), 10, "what was too much is counted");
    }
}
