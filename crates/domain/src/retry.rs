//! When a failed delivery is tried again: exponential backoff with full jitter, up to the schedule's end.

use std::time::Duration;

/// How often and how fast a webhook's deliveries are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    max_attempts: u16,
    first: Duration,
    factor: u16,
    longest: Duration,
}

/// Why four numbers cannot be a retry policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRetryPolicy {
    /// No attempt at all, or far too many.
    #[error("max_attempts is 1 to 50")]
    MaxAttempts,
    /// A first wait out of bounds.
    #[error("first_ms is 100 to 3,600,000")]
    First,
    /// A factor out of bounds.
    #[error("factor is 1 to 10")]
    Factor,
    /// A longest wait shorter than the first, or longer than a day.
    #[error("max_ms is at least first_ms and at most 86,400,000")]
    Longest,
}

impl RetryPolicy {
    /// The only door for a policy chosen by a person.
    pub fn try_new(max_attempts: u32, first_ms: u64, factor: u32, max_ms: u64) -> Result<Self, InvalidRetryPolicy> {
        let max_attempts = u16::try_from(max_attempts)
            .ok()
            .filter(|count| (1..=50).contains(count))
            .ok_or(InvalidRetryPolicy::MaxAttempts)?;
        let factor =
            u16::try_from(factor).ok().filter(|factor| (1..=10).contains(factor)).ok_or(InvalidRetryPolicy::Factor)?;
        if !(100..=3_600_000).contains(&first_ms) {
            return Err(InvalidRetryPolicy::First);
        }
        if !(first_ms..=86_400_000).contains(&max_ms) {
            return Err(InvalidRetryPolicy::Longest);
        }
        Ok(Self {
            max_attempts,
            first: Duration::from_millis(first_ms),
            factor,
            longest: Duration::from_millis(max_ms),
        })
    }

    /// The attempts made at most, the first one included.
    pub const fn max_attempts(&self) -> u16 {
        self.max_attempts
    }

    /// The first wait's bound, in milliseconds.
    pub fn first_ms(&self) -> u64 {
        u64::try_from(self.first.as_millis()).unwrap_or(u64::MAX)
    }

    /// What each wait's bound is multiplied by.
    pub const fn factor(&self) -> u16 {
        self.factor
    }

    /// The longest wait's bound, in milliseconds.
    pub fn max_ms(&self) -> u64 {
        u64::try_from(self.longest.as_millis()).unwrap_or(u64::MAX)
    }

    /// The wait after attempt number `made` (from 1) has failed; `None` when that was the last.
    ///
    /// `dice` in `0..1` spreads the wait over its bound (full jitter), a tenth of the bound excepted, so that
    /// no retry is immediate. `asked` is the receiver's `Retry-After`: never earlier, never later than a day.
    pub fn wait_after(&self, made: u16, dice: f64, asked: Option<Duration>) -> Option<Duration> {
        if made >= self.max_attempts {
            return None;
        }
        let doublings = i32::from(made.saturating_sub(1));
        let bound = (self.first.as_secs_f64() * f64::from(self.factor).powi(doublings)).min(self.longest.as_secs_f64());
        let wait = Duration::from_secs_f64(bound * (0.1 + 0.9 * dice.clamp(0.0, 1.0)));
        Some(asked.map_or(wait, |asked| wait.max(asked.min(Duration::from_hours(24)))))
    }
}

/// Twelve attempts over about two and a half days.
impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 12, first: Duration::from_secs(5), factor: 4, longest: Duration::from_hours(6) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_default_schedule_lasts_about_two_and_a_half_days_at_most() {
        let policy = RetryPolicy::default();
        let total: Duration = (1..12).map(|made| policy.wait_after(made, 1.0, None).unwrap()).sum();
        assert!((Duration::from_hours(30)..Duration::from_hours(66)).contains(&total), "{total:?}");
        assert_eq!(policy.wait_after(12, 0.5, None), None);
    }

    #[test]
    fn a_receiver_that_asks_for_time_gets_it_within_a_day() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.wait_after(1, 0.0, Some(Duration::from_secs(90))), Some(Duration::from_secs(90)));
        assert_eq!(policy.wait_after(1, 0.0, Some(Duration::MAX)), Some(Duration::from_hours(24)));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(RetryPolicy::try_new(0, 5000, 4, 5000), Err(InvalidRetryPolicy::MaxAttempts));
        assert_eq!(RetryPolicy::try_new(3, 0, 4, 5000), Err(InvalidRetryPolicy::First));
        assert_eq!(RetryPolicy::try_new(3, 5000, 0, 5000), Err(InvalidRetryPolicy::Factor));
        assert_eq!(RetryPolicy::try_new(3, 5000, 4, 4999), Err(InvalidRetryPolicy::Longest));
    }

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(made in 1_u16..60, dice in 0.0..1.0_f64) {
            let policy = RetryPolicy::default();
            if let Some(wait) = policy.wait_after(made, dice, None) {
                prop_assert!(wait >= Duration::from_millis(499) && wait <= Duration::from_hours(6));
            }
        }
    }
}
