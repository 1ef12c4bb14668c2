//! A warning that a fault repeats a thousand times a second is logged once in five seconds, with the count.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(5);

/// Lets one of many equal log lines through.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    last: Option<Instant>,
    held_back: u64,
}

impl Seldom {
    /// How many occurrences the line stands for, this one included, or `None` when it is not yet due.
    pub(crate) fn due(&mut self) -> Option<u64> {
        self.held_back += 1;
        if self.last.is_some_and(|last| last.elapsed() < PAUSE) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line() {
        let mut seldom = Seldom::default();
        assert_eq!(seldom.due(), Some(1));
        assert_eq!((0..1000).filter_map(|_| seldom.due()).count(), 0);
    }
}
