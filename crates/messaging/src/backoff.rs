//! How long to wait before the next try: doubling from a floor to a ceiling, with jitter, so that a fleet of processes
//! does not return to a restarted broker as one.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// A growing, jittered wait.
#[derive(Debug)]
pub(crate) struct Backoff {
    floor: Duration,
    ceiling: Duration,
    current: Duration,
}

impl Backoff {
    /// Waits of `floor` to `ceiling`.
    pub(crate) const fn between(floor: Duration, ceiling: Duration) -> Self {
        Self { floor, ceiling, current: floor }
    }

    /// Waits between connections: a broker that listens again is found within a second.
    pub(crate) const fn of_connections() -> Self {
        Self::between(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// Begins again at the floor.
    pub(crate) const fn reset(&mut self) {
        self.current = self.floor;
    }

    /// The next wait: between half of the current step and all of it, never under the floor.
    pub(crate) fn next(&mut self) -> Duration {
        let half = self.current / 2;
        let wait = half + half.mul_f64(fastrand::f64());
        self.current = (self.current * 2).min(self.ceiling);
        wait.max(self.floor)
    }

    /// Sleeps for the next wait, but not past `stop`.
    pub(crate) async fn pause(&mut self, stop: &CancellationToken) {
        let wait = self.next();
        let _ = tokio::time::timeout(wait, stop.cancelled()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_ceiling_and_no_further() {
        let mut backoff = Backoff::of_connections();
        let waits: Vec<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(waits.iter().all(|wait| (50..=1000).contains(&wait.as_millis())), "{waits:?}");
        assert!(waits[10] >= Duration::from_millis(500));
        backoff.reset();
        assert_eq!(backoff.next(), Duration::from_millis(50));
    }
}
