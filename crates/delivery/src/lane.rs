//! A lane: what one webhook's deliveries may take of this process. Pure; time is a parameter.
//!
//! The number in flight grows with each success and halves with each time-out, so a receiver that answers gets as
//! much as it can take, and one that hangs soon holds a single slot. What waits in a lane is what can start within
//! about two seconds; the rest goes back to the database.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::circuit::{Change, Circuit, Gate, Limits, Sign};

/// How a lane's attempt ended, as far as its pace is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The receiver took it.
    Taken,
    /// The receiver answered, but did not take it.
    Answered,
    /// The receiver answered with an error of its own.
    Failing,
    /// The receiver asked for less.
    Busy,
    /// No answer in time, no connection, or an answer that says so.
    Overwhelmed,
    /// Nothing was sent.
    Unsent,
}

impl Ending {
    /// What it says of the receiver; a test that fails says nothing.
    const fn sign(self, test: bool) -> Sign {
        match self {
            Self::Taken => Sign::Health,
            Self::Busy | Self::Unsent => Sign::Nothing,
            Self::Answered | Self::Failing | Self::Overwhelmed if test => Sign::Nothing,
            Self::Answered => Sign::Life,
            Self::Failing | Self::Overwhelmed => Sign::Failure,
        }
    }
}

/// What an attempt that has ended means for its lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) ending: Ending,
    /// How long the receiver asked to be left alone.
    pub(crate) pause: Option<Duration>,
    /// Whether it was a test, which may close a circuit and else leaves it alone.
    pub(crate) test: bool,
}

impl From<Ending> for End {
    fn from(ending: Ending) -> Self {
        Self { ending, pause: None, test: false }
    }
}

/// What a lane may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The most in flight to one webhook.
    pub(crate) most_in_flight: usize,
    /// The most that waits.
    pub(crate) most_waiting: usize,
    /// The most per second, over all processes.
    pub(crate) rate: Option<u32>,
    /// When its circuit opens.
    pub(crate) circuit: Limits,
}

/// How far ahead a lane takes work in.
const HORIZON: Duration = Duration::from_secs(2);
/// How many may be in flight before anything is known of the receiver.
const FIRST: f64 = 8.0;
/// The longest that a refused delivery waits before it is offered again.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// The shortest.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// The longest pause that a receiver may ask of its whole lane.
const LONGEST_PAUSE: Duration = Duration::from_mins(15);
/// Of so many starts from the queue, one is a late delivery even if others wait.
const LATE_TURN: u32 = 8;
/// How close behind each other refused deliveries come once a lane that takes nothing at all may be open again.
const SHUT_STEP: Duration = Duration::from_millis(20);

/// One webhook's deliveries in this process.
#[derive(Debug)]
pub(crate) struct Lane<J> {
    waiting: VecDeque<J>,
    /// What goes behind: retries, what was held, replays.
    late: VecDeque<J>,
    turns: u32,
    /// When each attempt in flight began, oldest first.
    began: VecDeque<(u64, Instant)>,
    tickets: u64,
    limit: f64,
    latency: Duration,
    proven: bool,
    taken: bool,
    /// Where the line of refused deliveries ends.
    line_ends: Option<Instant>,
    /// Until when the receiver asked to be left alone.
    paused_until: Option<Instant>,
    circuit: Circuit,
    /// The ticket of the probe in flight.
    probe: Option<u64>,
    /// How many may begin at the webhook's own pace.
    tokens: u32,
}

impl<J> Lane<J> {
    pub(crate) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            late: VecDeque::new(),
            turns: 0,
            began: VecDeque::new(),
            tickets: 0,
            limit: FIRST,
            latency: Duration::ZERO,
            proven: false,
            taken: false,
            line_ends: None,
            paused_until: None,
            circuit: Circuit::default(),
            probe: None,
            tokens: 0,
        }
    }

    /// Deliveries that this lane holds, in flight or waiting.
    pub(crate) fn held(&self) -> usize {
        self.waiting.len() + self.late.len() + self.began.len()
    }

    /// Whether the last attempt was taken, and soon: such lanes may use all of the process.
    pub(crate) fn is_trusted(&self) -> bool {
        self.proven && self.latency < HORIZON
    }

    /// Whether an attempt here takes long, as far as is known: whoever waits for its room waits long too.
    pub(crate) fn is_slow(&self, now: Instant) -> bool {
        self.pace(now) >= SHORTEST_WAIT
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.circuit.is_open()
    }

    /// Whether the receiver asked to be left alone.
    pub(crate) fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// Whether the receiver has taken something since this was asked last.
    pub(crate) fn has_taken(&mut self) -> bool {
        std::mem::take(&mut self.taken)
    }

    /// Whether anything may be attempted now.
    pub(crate) fn gate(&self, now: Instant) -> Gate {
        match self.paused_until {
            Some(until) if now < until => Gate::Shut(until),
            Some(_) | None => self.circuit.gate(now),
        }
    }

    /// A ticket for one more attempt, if one more may be in flight.
    pub(crate) fn begin(&mut self, now: Instant, rules: Rules) -> Option<u64> {
        if self.slots(rules) == 0 || self.gate(now) != Gate::Free || (rules.rate.is_some() && self.tokens == 0) {
            return None;
        }
        self.tokens = self.tokens.saturating_sub(1);
        Some(self.begin_at_once(now))
    }

    /// A ticket for an attempt that nothing holds up: a test, or a probe.
    pub(crate) fn begin_at_once(&mut self, now: Instant) -> u64 {
        self.tickets += 1;
        self.began.push_back((self.tickets, now));
        self.tickets
    }

    /// A ticket for the one probe of an open circuit.
    pub(crate) fn begin_probe(&mut self, now: Instant) -> u64 {
        let ticket = self.begin_at_once(now);
        self.circuit.probe();
        self.probe = Some(ticket);
        ticket
    }

    /// Takes a probe back that another process has, or closes the circuit that another process has closed.
    pub(crate) fn end_probe(&mut self, ticket: u64, again_at: Option<Instant>) {
        self.began.retain(|(known, _)| *known != ticket || again_at.is_none());
        self.probe = None;
        match again_at {
            Some(at) => self.circuit.wait_until(at),
            None => self.close(),
        }
    }

    /// The next probe of an open circuit may be taken at `at`.
    pub(crate) fn probe_at(&mut self, at: Instant) {
        self.circuit.wait_until(at);
    }

    /// Another process has closed the circuit; one call goes first here too.
    pub(crate) fn close(&mut self) {
        self.circuit.close();
        self.probe = None;
        self.limit = 1.0;
        self.line_ends = None;
    }

    /// Whether one more may wait; what is late leaves the room to what is live.
    pub(crate) fn has_room(&self, late: bool, now: Instant, rules: Rules) -> bool {
        let before = if late { self.waiting.len() + self.late.len() } else { self.waiting.len() };
        self.gate(now) == Gate::Free && before < self.capacity(now, rules)
    }

    /// Whether anything waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.late.is_empty()
    }

    /// How many more could begin if the webhook's pace allowed it.
    pub(crate) fn wants(&self, now: Instant, rules: Rules) -> usize {
        let waiting = self.waiting.len() + self.late.len();
        if self.gate(now) == Gate::Free { waiting.min(self.slots(rules)) } else { 0 }
    }

    /// Lets so many more begin; what an earlier grant has left is gone.
    pub(crate) fn grant(&mut self, tokens: u32) {
        self.tokens = tokens;
    }

    /// Puts a delivery at the end of its queue.
    pub(crate) fn wait(&mut self, job: J, late: bool) {
        if late { self.late.push_back(job) } else { self.waiting.push_back(job) }
    }

    /// The next to be attempted: what is live first, and now and then a late one.
    pub(crate) fn next(&mut self) -> Option<J> {
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(LATE_TURN) {
            self.late.pop_front().or_else(|| self.waiting.pop_front())
        } else {
            self.waiting.pop_front().or_else(|| self.late.pop_front())
        }
    }

    /// Ends the attempt with this ticket; answers what has become of the circuit.
    pub(crate) fn end(&mut self, ticket: u64, end: End, now: Instant, rules: Rules) -> Option<Change> {
        if let Some(at) = self.began.iter().position(|(known, _)| *known == ticket)
            && let Some((_, began)) = self.began.remove(at)
        {
            let took = now.saturating_duration_since(began);
            self.latency = if self.latency.is_zero() { took } else { (self.latency * 7 + took) / 8 };
        }
        let was_probe = self.probe.take_if(|probe| *probe == ticket).is_some();
        let change = self.circuit.note(end.ending.sign(end.test), was_probe, rules.circuit, now);
        #[expect(clippy::cast_precision_loss, reason = "the limit is small")]
        let most = rules.most_in_flight as f64;
        match end.ending {
            Ending::Taken => {
                self.limit = (self.limit + 1.0).min(most);
                (self.proven, self.taken) = (true, true);
                // A pace of the webhook's own does not change with its successes.
                self.line_ends = self.line_ends.filter(|_| rules.rate.is_some());
            }
            Ending::Answered | Ending::Failing | Ending::Unsent => self.proven = false,
            Ending::Busy | Ending::Overwhelmed => {
                self.limit = (self.limit / 2.0).max(1.0);
                self.proven = false;
            }
        }
        if change.is_some() {
            // Whoever recovers is met with one call, then two, then four; and behind each probe a new line begins.
            self.limit = 1.0;
            self.line_ends = None;
        }
        if let Some(pause) = end.pause {
            let until = now + pause.min(LONGEST_PAUSE);
            self.paused_until = Some(self.paused_until.map_or(until, |known| known.max(until)));
        }
        change
    }

    /// How long a delivery that finds no room should wait: each stands behind the one before it.
    pub(crate) fn line_up(&mut self, now: Instant, rules: Rules) -> Duration {
        let pace = self.pace(now).div_f64(self.limit.max(1.0));
        let (soonest, pace) = match self.gate(now) {
            // How slow it was before says nothing about how it will be then.
            Gate::Shut(until) => (until.max(now + SHORTEST_WAIT), pace.min(SHUT_STEP)),
            Gate::Free | Gate::Probe => (now + SHORTEST_WAIT, pace),
        };
        let step = rules.rate.map_or(pace, |rate| pace.max(Duration::from_secs(1) / rate.max(1)));
        let latest = soonest + LONGEST_WAIT;
        let at = self.line_ends.map_or(soonest, |end| end.max(soonest)).min(latest);
        self.line_ends = Some(at + step);
        at - now
    }

    /// Takes out what waits beyond what the lane can start soon, late ones first and of each the last come first.
    pub(crate) fn trim(&mut self, now: Instant, rules: Rules) -> Vec<J> {
        let keep = if self.gate(now) == Gate::Free { self.capacity(now, rules) } else { 0 };
        let live = keep.min(self.waiting.len());
        let late = (keep - live).min(self.late.len());
        let mut out: Vec<J> = self.late.split_off(late).into();
        out.extend(self.waiting.split_off(live));
        out
    }

    /// Takes out everything that waits.
    pub(crate) fn empty(&mut self) -> Vec<J> {
        let mut out: Vec<J> = std::mem::take(&mut self.waiting).into();
        out.extend(std::mem::take(&mut self.late));
        out
    }

    /// How many more may be in flight.
    fn slots(&self, rules: Rules) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the limit is small and positive")]
        let limit = (self.limit as usize).clamp(1, rules.most_in_flight);
        limit.saturating_sub(self.began.len())
    }

    fn capacity(&self, now: Instant, rules: Rules) -> usize {
        let starts = self.limit * HORIZON.as_secs_f64() / self.pace(now).as_secs_f64().max(0.001);
        let starts = match rules.rate {
            Some(rate) => starts.min(f64::from(rate) * HORIZON.as_secs_f64()),
            None => starts,
        };
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
#[path = "lane_tests.rs"]
mod tests;
