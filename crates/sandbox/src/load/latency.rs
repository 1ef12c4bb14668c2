//! Percentiles of times that were measured one by one; nothing is estimated.

use std::time::Duration;

/// How long something took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many times were measured.
    pub count: usize,
    /// The median.
    pub p50: Duration,
    /// What 99 of 100 stayed within.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Latency {
    /// The percentiles of `samples`, in nanoseconds; zero if there are none.
    pub fn of(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        // The nearest rank: the smallest sample that so many of a hundred do not exceed.
        let at = |share: usize| {
            let rank = (samples.len() * share).div_ceil(100).max(1);
            samples.get(rank - 1).copied().map_or(Duration::ZERO, Duration::from_nanos)
        };
        Self { count: samples.len(), p50: at(50), p99: at(99), max: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let latency = Latency::of((1..=1_000).rev().collect());
        assert_eq!((latency.count, latency.p50.as_nanos()), (1_000, 500));
        assert_eq!((latency.p99.as_nanos(), latency.max.as_nanos()), (990, 1_000));
        assert_eq!(Latency::of(vec![7]).p99.as_nanos(), 7);
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }
}
