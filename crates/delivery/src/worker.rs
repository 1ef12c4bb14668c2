//! The worker: takes wake-ups, claims rows, finds each a place in its lane, and runs the attempts.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use busbar_domain::delivery::{CRASHES_BEFORE_ALONE, CRASHES_BEFORE_DEAD, DeliveryState};
use busbar_domain::trace::TraceContext;
use busbar_domain::webhook::WebhookStatus;
use busbar_domain::{Clock, Failure};
use busbar_egress::Egress;
use busbar_messaging::Handler;
use busbar_runtime::Parts;
use busbar_runtime::settings::Settings;
use busbar_storage::access::Endpoints;
use busbar_storage::claims::{Claim, Claimed, Finished, claim, hold, park};
use busbar_storage::connect::Durability;
use busbar_storage::{Database, Error, Line};
use futures_util::FutureExt as _;
use tokio::sync::{Notify, RwLock};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::attempt::{about, attempt, panicked};
use crate::breaker::{self, Asked, Breaker, Note};
use crate::circuit::{FIRST_PAUSE, Limits};
use crate::lane::Rules;
use crate::lanes::{Job, Lanes, Place, Round, Start};
use crate::ledger::Ledger;
use crate::metric::{self, count};
use crate::recorder::Recorder;

/// The longest that a claim may take before its connection is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a delivery waits whose webhook cannot be read, until an operator has mended it.
const UNREADABLE: Duration = Duration::from_secs(30);

/// The worker; clones are one.
#[derive(Clone)]
pub(crate) struct Worker(Arc<Inside>);

/// What the worker's parts share.
pub(crate) struct Inside {
    pub(crate) ledger: Arc<Ledger>,
    clock: Clock,
    database: Database,
    egress: Egress,
    endpoints: Endpoints,
    lanes: Mutex<Lanes>,
    most_held: usize,
    room: Notify,
    parked: Mutex<Vec<Parked>>,
    recorder: Recorder,
    breaker: Breaker,
    /// Something waits in a lane with a pace of its own.
    pub(crate) limited: Notify,
    attempts: TaskTracker,
    /// Held for reading by every attempt, for writing by one that must be alone.
    alone: RwLock<()>,
}

/// A claim that goes back unworked, and after which time it may come again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked {
    pub(crate) claim: Claim,
    pub(crate) wait: Duration,
}

impl Worker {
    pub(crate) fn new(
        settings: &Settings,
        parts: &Parts,
        egress: Egress,
        recorder: Recorder,
        breaker: Breaker,
    ) -> Self {
        let rules = Rules {
            most_in_flight: settings.delivery.max_in_flight_per_webhook,
            most_waiting: settings.delivery.lane_queue,
            rate: None,
            circuit: Limits {
                failures: settings.delivery.circuit_failures,
                window: Duration::from_millis(settings.delivery.circuit_window_ms),
            },
        };
        let most_held = settings.delivery.max_in_flight;
        let longest = Duration::from_millis(settings.delivery.timeout_ms);
        Self(Arc::new(Inside {
            ledger: Arc::default(),
            clock: parts.clock.clone(),
            database: parts.database.clone(),
            egress,
            endpoints: Endpoints::new(parts.database.clone(), parts.changes.clone()),
            lanes: Mutex::new(Lanes::new(rules, most_held, longest)),
            most_held,
            room: Notify::new(),
            parked: Mutex::default(),
            recorder,
            breaker,
            limited: Notify::new(),
            attempts: TaskTracker::new(),
            alone: RwLock::new(()),
        }))
    }

    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.0.ledger)
    }

    pub(crate) fn downgrade(&self) -> Weak<Inside> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn inside(&self) -> &Inside {
        &self.0
    }

    /// Gives back what waits in lanes, due at once.
    pub(crate) fn give_back(&self) {
        let waiting = self.0.lock_lanes().empty();
        self.0.park(waiting.into_iter().map(|claimed| Parked { claim: claimed.claim, wait: Duration::ZERO }));
    }

    /// Waits until no attempt is in flight.
    pub(crate) async fn idle(&self) {
        self.0.attempts.close();
        self.0.attempts.wait().await;
    }

    /// Finds places for what was claimed.
    async fn place(&self, mut claimed: Vec<Claimed>) {
        let inside = &self.0;
        if claimed.iter().any(|claimed| claimed.crashes > 0) {
            claimed.sort_by_key(|claimed| claimed.crashes);
        }
        inside.ledger.take(claimed.iter().map(|claimed| claimed.claim), Instant::now());
        let known = match inside.endpoints.of(claimed.iter().map(|claimed| claimed.webhook)).await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, "webhooks cannot be read; what was claimed goes back");
                let wait = Duration::from_secs(1);
                inside.park(claimed.iter().map(|claimed| Parked { claim: claimed.claim, wait }));
                return;
            }
        };
        let (mut held, mut starts, mut refused, mut suspects) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        {
            let now = Instant::now();
            let mut lanes = inside.lock_lanes();
            for claimed in claimed {
                if claimed.crashes >= CRASHES_BEFORE_DEAD {
                    inside.bury(&claimed);
                    continue;
                }
                match known.endpoints.get(&claimed.webhook) {
                    Some(endpoint) if endpoint.webhook.status == WebhookStatus::Active || claimed.test => {
                        match lanes.offer(claimed, endpoint, inside.egress.policy(), now) {
                            Place::Start(start) => starts.push(start),
                            Place::Waits if endpoint.webhook.rate_limit.is_some() => {
                                metrics::counter!(metric::LIMITED).increment(1);
                                inside.limited.notify_one();
                            }
                            Place::Waits => {}
                            Place::Refused(claimed, wait) => {
                                let line =
                                    if claimed.crashes < CRASHES_BEFORE_ALONE { &mut refused } else { &mut suspects };
                                line.push(Parked { claim: claimed.claim, wait });
                            }
                        }
                    }
                    None if known.unreadable.contains(&claimed.webhook) => {
                        refused.push(Parked { claim: claimed.claim, wait: UNREADABLE });
                    }
                    Some(_) | None => held.push(claimed.claim),
                }
            }
        }
        inside.park(refused);
        if !suspects.is_empty() {
            inside.park_at_once(suspects).await;
        }
        for start in starts {
            self.spawn(start);
        }
        if !held.is_empty() {
            inside.hold(held).await;
        }
    }

    /// Gives back what waits in lanes that have become slow, and begins what waits in lanes that have become free.
    pub(crate) fn look_after_lanes(&self, now: Instant) {
        let inside = &self.0;
        let Round { parked, starts, limited, open, paused } = inside.lock_lanes().round(now);
        metrics::gauge!(metric::OPEN_CIRCUITS).set(count(open));
        metrics::gauge!(metric::PAUSED).set(count(paused));
        if limited {
            inside.limited.notify_one();
        }
        if !parked.is_empty() {
            inside.park(parked.into_iter().map(|(claimed, wait)| Parked { claim: claimed.claim, wait }));
            inside.room.notify_one();
        }
        for start in starts {
            self.spawn(start);
        }
    }

    pub(crate) fn spawn(&self, start: Start) {
        let worker = self.clone();
        self.0.attempts.spawn(async move {
            let mut next = Some(start);
            while let Some(start) = next.take() {
                let mut starts = worker.0.run(start).await.into_iter();
                next = starts.next();
                starts.for_each(|start| worker.spawn(start));
            }
        });
    }
}

impl Inside {
    pub(crate) fn lock_lanes(&self) -> std::sync::MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one attempt, hands in its result, and answers what may begin in its place.
    async fn run(&self, start: Start) -> Vec<Start> {
        let Start { job, ticket, probe } = start;
        // Seldom, so that it does not add to the size of every attempt.
        if probe && !Box::pin(self.may_probe(&job, ticket)).await {
            return Vec::new();
        }
        let work = AssertUnwindSafe(attempt(&job, &self.egress, &self.clock)).catch_unwind();
        let result = if job.alone.is_some() {
            let _alone = self.alone.write().await;
            work.await
        } else {
            let _among_others = self.alone.read().await;
            work.await
        };
        let (finished, end) = result.unwrap_or_else(|_| panicked(&job, &self.clock));
        let (starts, change) = self.lock_lanes().end(&job.claimed, ticket, end, Instant::now());
        self.room.notify_one();
        if let Some(change) = change {
            self.breaker.tell(Note::of(&job, change, &finished)).await;
        }
        // The recorder outlives every attempt; were it gone, the claim would end by itself.
        let _recorded = self.recorder.send(finished).await;
        starts
    }

    /// Asks for the one probe over all processes; a delivery that does not get it goes back.
    async fn may_probe(&self, job: &Job, ticket: u64) -> bool {
        let claimed = &job.claimed;
        match breaker::ask(&self.database, &self.clock, job).await {
            Ok(Asked::Granted) => true,
            Ok(Asked::Closed) => {
                self.lock_lanes().free_probe(claimed.webhook, ticket);
                true
            }
            Ok(Asked::NotFor(wait)) => {
                self.give_back(job, ticket, wait);
                false
            }
            Err(error) => {
                tracing::warn!(%error, webhook = %claimed.webhook, "a probe cannot be asked for");
                self.give_back(job, ticket, FIRST_PAUSE);
                false
            }
        }
    }

    /// Gives a delivery back that may not be the probe; the next may be taken after `wait`.
    fn give_back(&self, job: &Job, ticket: u64, wait: Duration) {
        let now = Instant::now();
        let wait = self.lock_lanes().give_probe_back(&job.claimed, ticket, now + wait, now);
        self.park([Parked { claim: job.claimed.claim, wait }]);
        self.room.notify_one();
    }

    /// Gives up a delivery that has crashed its worker, alone, too often.
    fn bury(&self, claimed: &Claimed) {
        tracing::error!(delivery = %claimed.claim.delivery, crashes = claimed.crashes, "a delivery is poison");
        let Ok(state) = DeliveryState::Pending.poisoned() else { return };
        let about = about(claimed, claimed.attempts);
        let finished = Finished { claim: claimed.claim, state, attempt: None, about: Some(Box::new(about)) };
        if self.recorder.try_send(finished).is_err() {
            // Its lease ends by itself and it comes here again.
            self.ledger.release([claimed.claim]);
        }
    }

    fn park(&self, claims: impl IntoIterator<Item = Parked>) {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).extend(claims);
    }

    pub(crate) fn take_parked(&self) -> Vec<Parked> {
        let mut parked = std::mem::take(&mut *self.parked.lock().unwrap_or_else(PoisonError::into_inner));
        parked.sort_unstable_by_key(|parked| parked.claim.delivery);
        parked
    }

    /// Gives back what is not looked at yet, before what is looked at begins: a crash shall not be counted for it.
    async fn park_at_once(&self, mut parked: Vec<Parked>) {
        parked.sort_unstable_by_key(|parked| parked.claim.delivery);
        let until: Vec<_> = parked.iter().map(|Parked { claim, wait }| (*claim, self.clock.now() + *wait)).collect();
        let written = async {
            let mut connection = self.database.pool().acquire().await.map_err(Error::from)?;
            park(&mut connection, &until).await
        };
        if let Err(error) = written.await {
            // The leases end by themselves and the rows come here again.
            tracing::warn!(%error, "deliveries could not be given back");
        }
        self.ledger.release(parked.into_iter().map(|parked| parked.claim));
    }

    /// Holds claims whose webhook takes nothing at present.
    async fn hold(&self, mut claims: Vec<Claim>) {
        claims.sort_unstable_by_key(|claim| claim.delivery);
        let held = async {
            let mut connection = self.database.pool().acquire().await.map_err(Error::from)?;
            hold(&mut connection, &claims, self.clock.now()).await
        };
        if let Err(error) = held.await {
            // The leases end by themselves and the rows come here again.
            tracing::warn!(%error, "deliveries could not be held");
        }
        self.ledger.release(claims);
    }

    /// Waits until there is room for `more` deliveries, or for the half that slow lanes cannot take: waiting for more
    /// than that would be waiting for a receiver that never answers.
    async fn wait_for_room(&self, more: usize) {
        let needed = more.min(self.most_held / 2);
        loop {
            let noticed = self.room.notified();
            let held = self.lock_lanes().held();
            if held == 0 || held + needed <= self.most_held {
                return;
            }
            noticed.await;
        }
    }
}

/// Takes wake-ups and claims their rows, one batch at a time.
pub(crate) struct Intake {
    worker: Worker,
    line: tokio::sync::Mutex<Line>,
}

impl Intake {
    pub(crate) fn new(worker: Worker, database: Database) -> Self {
        Self { worker, line: tokio::sync::Mutex::new(Line::new(database, Durability::Relaxed)) }
    }

    async fn claim(&self, ids: &[Uuid]) -> Result<Vec<Claimed>, Error> {
        let mut line = self.line.lock().await;
        let now = self.worker.0.clock.now();
        let claiming = claim(line.get().await?, ids, now);
        let claimed = tokio::time::timeout(PATIENCE, claiming).await.unwrap_or_else(|_| Err(Error::timed_out()));
        if claimed.is_err() {
            line.give_up();
        }
        claimed
    }
}

impl Handler for Intake {
    async fn handle(&self, ids: Vec<Uuid>, _trace: Option<TraceContext>) -> Result<(), Failure> {
        self.worker.0.wait_for_room(ids.len()).await;
        let claimed = self.claim(&ids).await?;
        if !claimed.is_empty() {
            self.worker.place(claimed).await;
        }
        Ok(())
    }
}
