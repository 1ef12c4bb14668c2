//! Lines of deliveries that find no room: each is told to come again behind the one before it. Pure; time is a
//! parameter.

use std::time::{Duration, Instant};

use crate::lane::{LONGEST_WAIT, SHORTEST_WAIT};

/// A line.
#[derive(Debug, Default)]
pub(crate) struct Line {
    ends: Option<Instant>,
}

impl Line {
    /// How long one more waits, `step` behind the one before it.
    pub(crate) fn stand(&mut self, step: Duration, now: Instant) -> Duration {
        let soonest = now + SHORTEST_WAIT;
        let at = self.ends.map_or(soonest, |end| end.clamp(soonest, soonest + LONGEST_WAIT));
        self.ends = Some(at + step);
        at - now
    }
}

/// How often something happens, as of the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    count: f64,
    at: Option<Instant>,
}

impl Flow {
    /// Over how long it is remembered.
    const MEMORY: f64 = 10.0;

    pub(crate) fn add(&mut self, now: Instant) {
        self.count = self.left(now) + 1.0;
        self.at = Some(now);
    }

    /// The time between two; `None` where there was none of late.
    pub(crate) fn gap(&self, now: Instant) -> Option<Duration> {
        Duration::try_from_secs_f64(Self::MEMORY / self.left(now)).ok()
    }

    fn left(&self, now: Instant) -> f64 {
        let since = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.count * (-since / Self::MEMORY).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_as_fast_as_it_was_of_late_and_forgotten_after_a_while() {
        let (mut flow, start) = (Flow::default(), Instant::now());
        assert_eq!(flow.gap(start), None);
        for tenth in 0..1_000 {
            flow.add(start + Duration::from_millis(100) * tenth);
        }
        let end = start + Duration::from_secs(100);
        let gap = flow.gap(end).unwrap();
        assert!((90..110).contains(&gap.as_millis()), "{gap:?}");
        assert!(flow.gap(end + Duration::from_mins(5)).unwrap() > Duration::from_hours(1));
    }

    #[test]
    fn a_line_is_no_longer_than_the_longest_wait() {
        let (mut line, now) = (Line::default(), Instant::now());
        let waits: Vec<_> = (0..1_000).map(|_| line.stand(Duration::from_secs(1), now)).collect();
        assert_eq!(waits[1], waits[0] + Duration::from_secs(1));
        assert_eq!(waits.last(), Some(&(SHORTEST_WAIT + LONGEST_WAIT)));
    }
}
