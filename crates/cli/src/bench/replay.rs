//! What a replay costs live traffic: one hub, a steady load, and a job that is paused and runs in turn beside it.
//! What it repeats came through the same door before; the ledger proves that each came once more under its id.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use busbar_domain::Clock;
use busbar_domain::id::{TenantId, first_at};
use busbar_runtime::{Settings, parts};
use busbar_sandbox::load::{Latency, Load, Verdict};
use busbar_storage::replays::{self, Ended, Filter, InvalidTransition, JobState};
use busbar_storage::{Database, tenants};
use serde_json::json;
use uuid::Uuid;

use crate::bench::hub::Hub;
use crate::bench::pairs::median;
use crate::bench::report::{ledger, milliseconds, print, rate, thousands};
use crate::bench::round::{ANSWER_WITHIN, PATIENCE, Plan, per_second};
use crate::bench::traffic::Traffic;
use crate::bench::{Options, in_a_hub};

/// Pairs that are measured unless somebody asks for another number.
const PAIRS: u32 = 5;
/// The longest slice, in seconds.
const LONGEST_SLICE: u64 = 10;
/// How long live traffic warms up, in seconds.
const WARM_UP: u64 = 3;
/// How long a job that is resumed may take to begin, or one that is paused to come to rest.
const TURNED_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is done: so many deliveries are replayed beside a live load, in slices.
struct Course {
    originals: u64,
    /// Deliveries of the job per second.
    replay_rate: u32,
    /// Live events per second.
    live_rate: u64,
    pairs: u32,
    /// In seconds.
    slice: u64,
    connections: usize,
}

/// Two slices of live traffic, one beside a paused job and one beside a running one.
struct Pair {
    paused: Latency,
    running: Latency,
}

impl Pair {
    fn ratio(&self, of: fn(&Latency) -> Duration) -> f64 {
        of(&self.running).as_secs_f64() / of(&self.paused).as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// What came of it.
struct Outcome {
    pairs: Vec<Pair>,
    /// The job at its end.
    job: replays::Job,
    /// Deliveries that the job made per second, in slices in which it ran.
    pace: f64,
    originals: Verdict,
    live: Verdict,
    /// Originals that did not come once more.
    missing: u64,
    /// Originals that came more than once more.
    repeated: u64,
}

impl Outcome {
    fn is_kept(&self) -> bool {
        self.originals.is_kept() && self.live.is_kept() && self.missing == 0 && self.job.state == JobState::Done
    }
}

impl Course {
    fn plan(options: &Options, originals: u64) -> anyhow::Result<Self> {
        let live_rate = options.rate.context("--replay needs a --rate for the live traffic")?;
        let pairs = options.pairs.unwrap_or(PAIRS);
        let course = Self::of(originals, options.replay_rate, live_rate, pairs, options.connections.into());
        anyhow::ensure!(course.slice > 0, "so few deliveries are replayed before {pairs} slices have gone by");
        Ok(course)
    }

    /// Slices so short that the job runs for all of the pairs, and one more.
    fn of(originals: u64, replay_rate: u32, live_rate: u64, pairs: u32, connections: usize) -> Self {
        let lasts = originals / u64::from(replay_rate);
        let slice = (lasts / u64::from(pairs + 1)).min(LONGEST_SLICE);
        Self { originals, replay_rate, live_rate, pairs, slice, connections }
    }

    /// The most pairs of slices: the job may take twice as long as its rate says.
    fn most_pairs(&self) -> u64 {
        2 * (self.originals / u64::from(self.replay_rate) / self.slice + 1)
    }

    fn events(&self) -> u64 {
        self.originals + self.live_rate * (WARM_UP + 2 * self.slice * self.most_pairs())
    }
}

/// Measures and prints; answers whether every promise was kept.
pub(super) async fn run(options: &Options, settings: &Settings, originals: u64) -> anyhow::Result<bool> {
    let course = Course::plan(options, originals)?;
    let traffic = Traffic::new(options, &Plan::of(course.events()), 1, false)?;
    let work = async |hub: &Hub| Live::new(&course, &traffic, hub).measure(options.json).await;
    let outcome = in_a_hub(options, settings, &traffic, work).await?;
    report(options, &course, &outcome)?;
    let wanted = usize::try_from(course.pairs).unwrap_or(usize::MAX);
    anyhow::ensure!(outcome.pairs.len() >= wanted, "the replay was over after {} pairs", outcome.pairs.len());
    Ok(outcome.is_kept())
}

/// The live traffic, event by event.
struct Live<'l> {
    course: &'l Course,
    traffic: &'l Traffic,
    hub: &'l Hub,
    next: u64,
}

impl<'l> Live<'l> {
    const fn new(course: &'l Course, traffic: &'l Traffic, hub: &'l Hub) -> Self {
        Self { course, traffic, hub, next: course.originals }
    }

    async fn measure(mut self, is_quiet: bool) -> anyhow::Result<Outcome> {
        let originals = 0..self.course.originals;
        self.send(originals.clone(), None).await;
        let arrived = self.traffic.ledger.settle(originals, PATIENCE).await;
        anyhow::ensure!(arrived, "not everything arrived that is to be replayed");
        // It repeats what has come until now, and nothing of the live traffic.
        let job = Job::make(self.hub, self.course).await?;
        self.live(WARM_UP).await;

        let (mut pairs, mut made, mut running_for) = (Vec::new(), 0, Duration::ZERO);
        for number in 0..self.course.most_pairs() {
            let (mut paused, mut running) = (None, None);
            for runs in [number % 2 == 1, number % 2 == 0] {
                let before = if runs { job.begin().await? } else { job.rest(self.traffic).await? };
                let start = Instant::now();
                let latency = self.live(self.course.slice).await;
                let after = job.look().await?;
                // A slice in which the job has come to its end is no slice beside a running job.
                if runs && after.state == JobState::Running {
                    running_for += start.elapsed();
                    made += after.made - before.made;
                    running = Some(latency);
                } else if !runs {
                    paused = Some(latency);
                }
            }
            let (Some(paused), Some(running)) = (paused, running) else { break };
            let pair = Pair { paused, running };
            if !is_quiet {
                print(&line(pairs.len() + 1, &pair))?;
            }
            pairs.push(pair);
        }
        let job = job.end(self.traffic).await?;
        let pace = per_second(u64::try_from(made).unwrap_or(0), running_for);
        Ok(self.sum_up(pairs, job, pace).await)
    }

    async fn sum_up(&self, pairs: Vec<Pair>, job: replays::Job, pace: f64) -> Outcome {
        let (ledger, originals) = (&self.traffic.ledger, self.course.originals);
        // What is missing after this is told by the verdict.
        let _ = ledger.settle(originals..self.next, PATIENCE).await;
        let (mut missing, mut repeated) = (0, 0);
        for event in 0..originals {
            let again = ledger.check(event..event + 1).duplicated;
            missing += u64::from(again == 0);
            repeated += u64::from(again > 1);
        }
        let (originals, live) = (ledger.check(0..originals), ledger.check(originals..self.next));
        Outcome { pairs, job, pace, originals, live, missing, repeated }
    }

    /// Sends at the live rate for so many seconds; answers how long its events took to arrive.
    async fn live(&mut self, seconds: u64) -> Latency {
        let events = self.next..self.next + self.course.live_rate * seconds;
        self.next = events.end;
        self.send(events.clone(), Some(self.course.live_rate)).await;
        // What is missing after this is told by the verdict at the end.
        let _ = self.traffic.ledger.settle(events.clone(), PATIENCE).await;
        Latency::of(self.traffic.ledger.delivery_times(events))
    }

    async fn send(&self, events: Range<u64>, rate: Option<u64>) {
        let target = self.hub.door;
        let connections = self.course.connections;
        let load = Load { target, connections, events, rate, timeout: ANSWER_WITHIN, retry_until_acked: false };
        load.run(self.traffic.requests(target), &self.traffic.ledger).await;
    }
}

/// The job, and the way to its row.
struct Job {
    database: Database,
    tenant: TenantId,
    id: Uuid,
    originals: u64,
}

impl Job {
    /// A paused job that repeats everything that was made so far and has succeeded by the time it gets there.
    async fn make(hub: &Hub, course: &Course) -> anyhow::Result<Self> {
        let database = parts::database(hub.settings(), "bench")?;
        let now = Clock::system().now();
        let mut conn = database.acquire().await?;
        let tenant = tenants::list(&mut conn, Uuid::max(), 1).await?.pop().context("the hub has no tenant")?.id;
        let before = first_at(now);
        let filter = Filter { ended: Ended::Succeeded, webhook: None, kind: None, from: Uuid::nil(), before };
        let job = replays::Job {
            id: Uuid::now_v7(),
            tenant,
            state: JobState::Paused,
            dry_run: false,
            rate_per_second: i32::try_from(course.replay_rate)?,
            position: filter.from,
            filter,
            total: None,
            made: 0,
            skipped: 0,
            paced_at: now,
            created_by: Uuid::nil(),
            created_at: now,
            updated_at: now,
            finished_at: None,
        };
        replays::insert(&mut conn, &job).await?;
        drop(conn);
        Ok(Self { database, tenant, id: job.id, originals: course.originals })
    }

    async fn look(&self) -> anyhow::Result<replays::Job> {
        let mut conn = self.database.acquire().await?;
        replays::find(&mut conn, self.tenant, self.id).await?.context("the job is gone")
    }

    /// Takes the job through a transition, unless it has ended.
    async fn turn(
        &self,
        transition: fn(JobState) -> Result<JobState, InvalidTransition>,
    ) -> anyhow::Result<replays::Job> {
        let mut tx = self.database.begin().await?;
        let job = replays::lock(&mut tx, self.tenant, self.id).await?.context("the job is gone")?;
        let Ok(next) = transition(job.state) else { return Ok(job) };
        let turned = replays::mark(&mut tx, job, next, Clock::system().now()).await?;
        tx.commit().await?;
        Ok(turned)
    }

    /// Lets it run, and waits until it does.
    async fn begin(&self) -> anyhow::Result<replays::Job> {
        let before = self.turn(JobState::resumed).await?;
        let start = Instant::now();
        loop {
            let job = self.look().await?;
            if job.made > before.made || job.state.has_ended() {
                return Ok(job);
            }
            anyhow::ensure!(start.elapsed() < TURNED_WITHIN, "the replay does not go on");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Stops it, and waits until all that it has made has come.
    async fn rest(&self, traffic: &Traffic) -> anyhow::Result<replays::Job> {
        let job = self.turn(JobState::paused).await?;
        let start = Instant::now();
        while i64::try_from(traffic.ledger.check(0..self.originals).duplicated)? < job.made {
            anyhow::ensure!(start.elapsed() < TURNED_WITHIN, "what was replayed does not arrive");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(job)
    }

    /// Lets it run to its end, for as long as it comes on, and waits until all of it has come.
    async fn end(&self, traffic: &Traffic) -> anyhow::Result<replays::Job> {
        let mut job = self.turn(JobState::resumed).await?;
        let mut since = Instant::now();
        while !job.state.has_ended() {
            anyhow::ensure!(since.elapsed() < PATIENCE, "the replay does not come to its end");
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.look().await?;
            if now.made != job.made {
                since = Instant::now();
            }
            job = now;
        }
        let job = self.rest(traffic).await?;
        self.database.close().await;
        Ok(job)
    }
}

fn line(number: usize, pair: &Pair) -> String {
    format!(
        "pair {number:>2}: live end to end p50 {} p99 {} ms beside the paused replay, p50 {} p99 {} ms beside the \
         running one, ratio of the p99 {:.2}\n",
        milliseconds(pair.paused.p50),
        milliseconds(pair.paused.p99),
        milliseconds(pair.running.p50),
        milliseconds(pair.running.p99),
        pair.ratio(|latency| latency.p99),
    )
}

fn report(options: &Options, course: &Course, outcome: &Outcome) -> anyhow::Result<()> {
    let middle = |of: fn(&Latency) -> Duration| median(outcome.pairs.iter().map(|pair| pair.ratio(of)).collect());
    let (p50, p99) = (middle(|latency| latency.p50), middle(|latency| latency.p99));
    if options.json {
        return Ok(print(&format!("{}\n", object(course, outcome, p50, p99)))?);
    }
    let mut text = format!(
        "\n{} deliveries replayed at {} per second beside {} live events per second, in slices of {} s\n",
        thousands(course.originals),
        thousands(course.replay_rate.into()),
        thousands(course.live_rate),
        course.slice,
    );
    let _ = writeln!(text, "median of the ratios of {} pairs: p50 {p50:.2}, p99 {p99:.2}", outcome.pairs.len());
    let (state, made, pace) = (outcome.job.state.as_str(), outcome.job.made.unsigned_abs(), rate(outcome.pace));
    let _ = writeln!(text, "replay: {state}, {} made, {pace} per second while it ran", thousands(made));
    let (missing, repeated) = (thousands(outcome.missing), thousands(outcome.repeated));
    let _ = writeln!(text, "once more: not at all {missing}, more than once {repeated}");
    let _ = writeln!(text, "ledger of the replayed: {}", ledger(&outcome.originals));
    let _ = writeln!(text, "ledger of the live:     {}", ledger(&outcome.live));
    Ok(print(&text)?)
}

fn object(course: &Course, outcome: &Outcome, p50: f64, p99: f64) -> serde_json::Value {
    let latency = |latency: &Latency| json!({ "p50_ms": latency.p50.as_secs_f64() * 1e3, "p99_ms": latency.p99.as_secs_f64() * 1e3 });
    let pair = |pair: &Pair| json!({ "paused": latency(&pair.paused), "running": latency(&pair.running) });
    json!({
        "replayed": course.originals,
        "replay_rate": course.replay_rate,
        "replay_pace": outcome.pace,
        "live_rate": course.live_rate,
        "slice_seconds": course.slice,
        "pairs": outcome.pairs.iter().map(pair).collect::<Vec<_>>(),
        "median_p50_ratio": p50,
        "median_p99_ratio": p99,
        "state": outcome.job.state.as_str(),
        "made": outcome.job.made,
        "skipped": outcome.job.skipped,
        "missing": outcome.missing,
        "repeated": outcome.repeated,
        "lost": outcome.originals.lost + outcome.live.lost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_slices_enough_for_the_whole_of_a_job_and_events_for_all_of_them() {
        for (originals, pairs, slice) in [(100_000, 5, 10), (100_000, 19, 5), (10_000, 4, 2)] {
            let course = Course::of(originals, 1_000, 200, pairs, 1);
            assert_eq!(course.slice, slice);
            assert!(course.most_pairs() * course.slice >= originals / 1_000);
            assert!(course.most_pairs() >= u64::from(course.pairs));
            assert_eq!(course.events(), originals + 200 * (3 + 2 * slice * course.most_pairs()));
        }
    }
}
