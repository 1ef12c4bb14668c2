//! The one clock: the machine's time corrected by the database's offset, or a time that tests set.
//!
//! Every decision takes a [`Timestamp`] as a parameter; nothing else reads the machine's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

/// A moment in UTC, to the microsecond once stored.
pub type Timestamp = DateTime<Utc>;

/// Tells the time; clones share one correction.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_us: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that follows the machine until [`Clock::correct`] says otherwise.
    pub fn system() -> Self {
        Self::default()
    }

    /// The corrected present, rounded to microseconds as PostgreSQL stores it.
    pub fn now(&self) -> Timestamp {
        let offset = TimeDelta::microseconds(self.offset_us.load(Ordering::Relaxed));
        let now = machine_now() + offset;
        DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
    }

    /// Takes `reference` (the database's present) as the truth from now on.
    pub fn correct(&self, reference: Timestamp) {
        let offset = (reference - machine_now()).num_microseconds().unwrap_or(0);
        self.offset_us.store(offset, Ordering::Relaxed);
    }

    /// Moves this clock ahead; for tests that wait for a time to come.
    pub fn advance(&self, by: TimeDelta) {
        let by = by.num_microseconds().unwrap_or(0);
        self.offset_us.fetch_add(by, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
fn machine_now() -> Timestamp {
    Utc::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corrected_clock_follows_its_reference() {
        let clock = Clock::system();
        let ahead = clock.now() + TimeDelta::minutes(10);
        clock.correct(ahead);
        assert!((clock.now() - ahead).abs() < TimeDelta::seconds(1));
    }

    #[test]
    fn clones_share_one_correction() {
        let clock = Clock::system();
        let twin = clock.clone();
        let before = twin.now();
        clock.advance(TimeDelta::hours(1));
        assert!(twin.now() - before >= TimeDelta::hours(1));
    }
}
