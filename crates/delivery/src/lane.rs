//! A lane: what one webhook's deliveries may take of this process. Pure; time is a parameter.
//!
//! The number in flight grows with each success and halves with each time-out, so a receiver that answers gets as
//! much as it can take, and one that hangs soon holds a single slot. What waits in a lane is what can start within
//! about two seconds; the rest goes back to the database.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How a lane's attempt ended, as far as its pace is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The receiver took it.
    Taken,
    /// The receiver answered, but did not take it.
    Answered,
    /// No answer in time, no connection, or the receiver asked for less.
    Overwhelmed,
}

/// What a lane may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The most in flight to one webhook.
    pub(crate) most_in_flight: usize,
    /// The most that waits.
    pub(crate) most_waiting: usize,
}

/// How far ahead a lane takes work in.
const HORIZON: Duration = Duration::from_secs(2);
/// How many may be in flight before anything is known of the receiver.
const FIRST: f64 = 8.0;
/// The longest that a refused delivery waits before it is offered again.
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// The shortest.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// One webhook's deliveries in this process.
#[derive(Debug)]
pub(crate) struct Lane<J> {
    waiting: VecDeque<J>,
    /// When each attempt in flight began, oldest first.
    began: VecDeque<(u64, Instant)>,
    tickets: u64,
    limit: f64,
    latency: Duration,
    proven: bool,
    /// Where the line of refused deliveries ends.
    line_ends: Option<Instant>,
}

impl<J> Lane<J> {
    pub(crate) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            began: VecDeque::new(),
            tickets: 0,
            limit: FIRST,
            latency: Duration::ZERO,
            proven: false,
            line_ends: None,
        }
    }

    /// Deliveries that this lane holds, in flight or waiting.
    pub(crate) fn held(&self) -> usize {
        self.waiting.len() + self.began.len()
    }

    /// Whether the last attempt was taken, and soon: such lanes may use all of the process.
    pub(crate) fn is_trusted(&self) -> bool {
        self.proven && self.latency < HORIZON
    }

    /// A ticket for one more attempt, if one more may be in flight.
    pub(crate) fn begin(&mut self, now: Instant, rules: Rules) -> Option<u64> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the limit is small and positive")]
        let limit = (self.limit as usize).clamp(1, rules.most_in_flight);
        if self.began.len() >= limit {
            return None;
        }
        self.tickets += 1;
        self.began.push_back((self.tickets, now));
        Some(self.tickets)
    }

    /// Whether one more may wait.
    pub(crate) fn has_room(&self, now: Instant, rules: Rules) -> bool {
        self.waiting.len() < self.capacity(now, rules)
    }

    /// Whether anything waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Puts a delivery at the end of the queue.
    pub(crate) fn wait(&mut self, job: J) {
        self.waiting.push_back(job);
    }

    /// The next to be attempted.
    pub(crate) fn next(&mut self) -> Option<J> {
        self.waiting.pop_front()
    }

    /// Ends the attempt with this ticket.
    pub(crate) fn end(&mut self, ticket: u64, ending: Ending, now: Instant, rules: Rules) {
        if let Some(at) = self.began.iter().position(|(known, _)| *known == ticket)
            && let Some((_, began)) = self.began.remove(at)
        {
            let took = now.saturating_duration_since(began);
            self.latency = if self.latency.is_zero() { took } else { (self.latency * 7 + took) / 8 };
        }
        #[expect(clippy::cast_precision_loss, reason = "the limit is small")]
        let most = rules.most_in_flight as f64;
        match ending {
            Ending::Taken => {
                self.limit = (self.limit + 1.0).min(most);
                self.proven = true;
                self.line_ends = None;
            }
            Ending::Answered => self.proven = false,
            Ending::Overwhelmed => {
                self.limit = (self.limit / 2.0).max(1.0);
                self.proven = false;
            }
        }
    }

    /// How long a delivery that finds no room should wait: each stands behind the one before it.
    pub(crate) fn line_up(&mut self, now: Instant) -> Duration {
        let step = self.pace(now).div_f64(self.limit.max(1.0));
        let soonest = now + SHORTEST_WAIT;
        let at = self.line_ends.map_or(soonest, |end| end.max(soonest)).min(now + LONGEST_WAIT);
        self.line_ends = Some(at + step);
        at - now
    }

    /// Takes out what waits beyond what the lane can start soon, last come first.
    pub(crate) fn trim(&mut self, now: Instant, rules: Rules) -> Vec<J> {
        let keep = self.capacity(now, rules).min(self.waiting.len());
        self.waiting.split_off(keep).into()
    }

    /// Takes out everything that waits.
    pub(crate) fn empty(&mut self) -> Vec<J> {
        std::mem::take(&mut self.waiting).into()
    }

    fn capacity(&self, now: Instant, rules: Rules) -> usize {
        let starts = self.limit * HORIZON.as_secs_f64() / self.pace(now).as_secs_f64().max(0.001);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded below")]
        let starts = starts.min(1e6) as usize;
        starts.clamp(1, rules.most_waiting)
    }

    /// How long an attempt takes here: what was measured, or what the oldest one in flight has taken already.
    fn pace(&self, now: Instant) -> Duration {
        let oldest = self.began.front().map_or(Duration::ZERO, |(_, began)| now.saturating_duration_since(*began));
        self.latency.max(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { most_in_flight: 64, most_waiting: 512 };

    fn run(lane: &mut Lane<u32>, count: usize, took: Duration, ending: Ending, now: &mut Instant) {
        for _ in 0..count {
            let ticket = lane.begin(*now, RULES).unwrap();
            *now += took;
            lane.end(ticket, ending, *now, RULES);
        }
    }

    fn concurrency(lane: &mut Lane<u32>, now: Instant) -> usize {
        std::iter::from_fn(|| lane.begin(now, RULES)).count()
    }

    #[test]
    fn a_receiver_that_answers_soon_gets_all_it_may_have() {
        let (mut lane, mut now) = (Lane::new(), Instant::now());
        run(&mut lane, 100, Duration::from_millis(1), Ending::Taken, &mut now);
        assert!(lane.is_trusted());
        assert_eq!(concurrency(&mut lane, now), 64);
        assert_eq!(lane.capacity(now, RULES), 512);
    }

    #[test]
    fn a_receiver_that_hangs_is_left_with_one_slot_and_next_to_no_queue() {
        let (mut lane, mut now) = (Lane::new(), Instant::now());
        run(&mut lane, 8, Duration::from_secs(10), Ending::Overwhelmed, &mut now);
        assert!(!lane.is_trusted());
        assert_eq!(concurrency(&mut lane, now), 1);
        assert_eq!(lane.capacity(now, RULES), 1);
    }

    #[test]
    fn a_lane_that_has_begun_to_hang_is_trimmed_before_its_first_time_out() {
        let (mut lane, now) = (Lane::new(), Instant::now());
        assert_eq!(concurrency(&mut lane, now), 8);
        for job in 0..500 {
            lane.wait(job);
        }
        assert!(lane.trim(now + Duration::from_millis(1), RULES).is_empty());
        let later = now + Duration::from_secs(4);
        assert_eq!(lane.trim(later, RULES).len(), 496);
        assert_eq!(lane.next(), Some(0));
    }

    #[test]
    fn refused_deliveries_stand_in_line() {
        let (mut lane, mut now) = (Lane::<u32>::new(), Instant::now());
        run(&mut lane, 8, Duration::from_secs(10), Ending::Overwhelmed, &mut now);
        let waits: Vec<_> = (0..200).map(|_| lane.line_up(now)).collect();
        assert_eq!(waits[0], SHORTEST_WAIT);
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(waits[199], LONGEST_WAIT);
    }
}
