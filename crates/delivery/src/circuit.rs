//! A circuit breaker: a receiver that keeps failing is called by single probes only. Pure; time is a parameter.
//!
//! A probe is one over all processes, which the database sees to; this is what one process knows.

use std::time::{Duration, Instant};

/// When a circuit opens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// After so many failures in a row...
    pub(crate) failures: u32,
    /// ...of which the first lies at least so far back.
    pub(crate) window: Duration,
}

/// The first pause between two probes; each that fails doubles it.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What an attempt says of its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It takes deliveries.
    Health,
    /// It lives, but refuses what it gets.
    Life,
    /// It does not answer, or only with errors of its own.
    Failure,
    /// Neither.
    Nothing,
}

/// What has become of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has opened; the failures began so long ago.
    Opened(Duration),
    /// A probe has failed; the failures began so long ago.
    ProbeFailed(Duration),
    /// It has closed: the receiver takes deliveries again.
    Recovered,
    /// It has closed: the receiver refuses what it gets, but it answers.
    Answering,
}

/// Whether a delivery may be attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Like any other.
    Free,
    /// As the one probe.
    Probe,
    /// Not before this time.
    Shut(Instant),
}

/// One webhook's circuit in this process.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    /// Failures in a row, and when the first one ended.
    failures: Option<(u32, Instant)>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    probe_at: Instant,
    probing: bool,
}

impl Circuit {
    pub(crate) fn gate(&self, now: Instant) -> Gate {
        match &self.open {
            None => Gate::Free,
            Some(open) if open.probing => Gate::Shut(now.max(open.probe_at) + FIRST_PAUSE),
            Some(open) if now < open.probe_at => Gate::Shut(open.probe_at),
            Some(_) => Gate::Probe,
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// A probe is on its way.
    pub(crate) fn probe(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = true;
        }
    }

    /// No probe is on its way; the next may be taken at `at`.
    pub(crate) fn wait_until(&mut self, at: Instant) {
        if let Some(open) = &mut self.open {
            open.probing = false;
            open.probe_at = at;
        }
    }

    /// Another process has closed it.
    pub(crate) fn close(&mut self) {
        *self = Self::default();
    }

    /// Takes note of how an attempt ended at `now`.
    pub(crate) fn note(&mut self, sign: Sign, was_probe: bool, limits: Limits, now: Instant) -> Option<Change> {
        match (sign, &mut self.open) {
            (Sign::Health | Sign::Life, open) => {
                let closed = if sign == Sign::Health { Change::Recovered } else { Change::Answering };
                let change = open.is_some().then_some(closed);
                *self = Self::default();
                change
            }
            (Sign::Failure | Sign::Nothing, Some(open)) => {
                if !was_probe {
                    return None;
                }
                open.probing = false;
                open.probe_at = now + FIRST_PAUSE;
                Some(Change::ProbeFailed(now.duration_since(open.since)))
            }
            (Sign::Nothing, None) => None,
            (Sign::Failure, None) => {
                let (count, since) = self.failures.map_or((1, now), |(count, since)| (count + 1, since));
                self.failures = Some((count, since));
                let lasts = now.duration_since(since);
                if count < limits.failures || lasts < limits.window {
                    return None;
                }
                self.open = Some(Open { since, probe_at: now + FIRST_PAUSE, probing: false });
                Some(Change::Opened(lasts))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { failures: 3, window: Duration::from_secs(10) };

    fn second(start: Instant, number: u64) -> Instant {
        start + Duration::from_secs(number)
    }

    fn opened(start: Instant) -> Circuit {
        let mut circuit = Circuit::default();
        for number in [0, 5] {
            assert_eq!(circuit.note(Sign::Failure, false, LIMITS, second(start, number)), None);
        }
        let change = circuit.note(Sign::Failure, false, LIMITS, second(start, 10));
        assert_eq!(change, Some(Change::Opened(Duration::from_secs(10))));
        circuit
    }

    #[test]
    fn it_opens_after_failures_in_a_row_that_last() {
        let start = Instant::now();
        let circuit = opened(start);
        assert_eq!(circuit.gate(second(start, 10)), Gate::Shut(second(start, 15)));
        let mut quick = Circuit::default();
        for _ in 0..100 {
            assert_eq!(quick.note(Sign::Failure, false, LIMITS, start), None, "all at once is one misfortune");
        }
        assert_eq!(quick.gate(start), Gate::Free);
    }

    #[test]
    fn any_sign_of_life_begins_the_count_anew() {
        let start = Instant::now();
        let mut circuit = Circuit::default();
        for number in [0, 5, 10, 15, 20] {
            let sign = if number == 10 { Sign::Life } else { Sign::Failure };
            assert_eq!(circuit.note(sign, false, LIMITS, second(start, number)), None);
        }
        circuit.note(Sign::Nothing, false, LIMITS, second(start, 21));
        assert_eq!(circuit.gate(second(start, 21)), Gate::Free);
    }

    #[test]
    fn one_probe_is_let_through_and_decides() {
        let start = Instant::now();
        let mut circuit = opened(start);
        let due = second(start, 15);
        assert_eq!(circuit.gate(due), Gate::Probe);
        circuit.probe();
        assert_eq!(circuit.gate(due), Gate::Shut(due + FIRST_PAUSE));
        assert_eq!(circuit.note(Sign::Failure, false, LIMITS, due), None, "a late one says nothing new");
        let failed = circuit.note(Sign::Failure, true, LIMITS, second(start, 16));
        assert_eq!(failed, Some(Change::ProbeFailed(Duration::from_secs(16))));
        circuit.wait_until(second(start, 40));
        assert_eq!(circuit.gate(second(start, 30)), Gate::Shut(second(start, 40)));
        circuit.probe();
        assert_eq!(circuit.note(Sign::Health, true, LIMITS, second(start, 41)), Some(Change::Recovered));
        assert_eq!(circuit.gate(second(start, 41)), Gate::Free);
    }

    #[test]
    fn what_was_in_flight_when_it_opened_may_close_it() {
        let mut circuit = opened(Instant::now());
        assert_eq!(circuit.note(Sign::Health, false, LIMITS, Instant::now()), Some(Change::Recovered));
        assert!(!circuit.is_open());
    }

    #[test]
    fn a_receiver_that_only_refuses_is_called_again_but_has_not_recovered() {
        let mut circuit = opened(Instant::now());
        assert_eq!(circuit.note(Sign::Life, true, LIMITS, Instant::now()), Some(Change::Answering));
        assert!(!circuit.is_open());
    }

    #[test]
    fn a_probe_that_was_never_sent_is_followed_by_another() {
        let start = Instant::now();
        let mut circuit = opened(start);
        let due = second(start, 15);
        circuit.probe();
        assert!(matches!(circuit.note(Sign::Nothing, true, LIMITS, due), Some(Change::ProbeFailed(_))));
        assert_eq!(circuit.gate(due), Gate::Shut(due + FIRST_PAUSE));
    }
}
