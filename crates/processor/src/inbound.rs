//! The frame in which inbound calls of one system are processed. Idempotent by the row it locks: a call that is
//! processed, or that another processor holds, is not touched.

use busbar_domain::event::NewEvent;
use busbar_domain::id::{EventId, InboundId, TenantId};
use busbar_domain::inbound::{Answer, System};
use busbar_domain::subscription::{Subscriptions, WIDEST};
use busbar_domain::trace::TraceContext;
use busbar_domain::{Clock, Failure, Timestamp};
use busbar_messaging::{Handler, Publisher, Queue};
use busbar_runtime::Parts;
use busbar_storage::accept::{Owed, Publication, Receipt, Written};
use busbar_storage::access::Plans;
use busbar_storage::due::WAKE_GRACE;
use busbar_storage::inbound::{Ended, Received, lock_received, mark_ended};
use busbar_storage::{Database, Error, PgConnection, answers};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::deaths::{self, Dead};
use crate::metric;

/// How often a call whose processing panics is tried.
pub(crate) const MOST_FAILURES: i16 = 5;
/// How often a batch is decided again because others were quicker, before each of its calls is decided alone.
const MOST_OVERTAKEN: usize = 50;
/// Why a call is given up that is overtaken even so.
const NEVER_SEEN: Error =
    Error::Inconsistent { table: "inbound", row: String::new(), what: "it meets a row that it never sees" };

/// What the calls of one system come to.
pub(crate) trait Decide: Send + Sync + 'static {
    /// The system whose calls these are.
    fn system(&self) -> System;

    /// Decides about `calls`, which this transaction has locked, in their order, and writes what they change besides.
    fn decide(
        &self,
        conn: &mut PgConnection,
        calls: &[Received],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Decision>, Refused>> + Send;

    /// What the caller is told whose call is given up, where callers are told anything.
    fn regret(&self) -> Option<Answer> {
        None
    }
}

/// What one call came to.
pub(crate) struct Decision {
    pub(crate) call: InboundId,
    pub(crate) events: Vec<NewEvent>,
    pub(crate) ended: Ended,
    pub(crate) answer: Option<Answer>,
}

/// Why a batch was not written.
pub(crate) enum Refused {
    /// Its fan-out is wider than one transaction should write.
    TooWide,
    /// Another has made meanwhile what was not there when it was decided.
    Overtaken,
    Storage(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Storage(error)
    }
}

/// Processes one system's calls.
pub(crate) struct Calls<D> {
    database: Database,
    clock: Clock,
    plans: Plans,
    publisher: Publisher,
    work: D,
}

impl<D: Decide> Calls<D> {
    pub(crate) fn new(parts: &Parts, publisher: Publisher, work: D) -> Self {
        Self {
            database: parts.database.clone(),
            clock: parts.clock.clone(),
            plans: Plans::new(parts.database.clone(), parts.changes.clone()),
            publisher,
            work,
        }
    }

    /// One transaction over those of `ids` that are still to be processed.
    async fn process(&self, ids: &[Uuid]) -> Result<(), Refused> {
        let mut tx = self.database.begin().await?;
        let calls = lock_received(&mut tx, ids).await?;
        if calls.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let mut decisions = self.work.decide(&mut tx, &calls, now).await?;
        let events = decisions.iter_mut().flat_map(|decision| std::mem::take(&mut decision.events)).collect();
        let takes = self.publisher.takes(Queue::Deliveries);
        let due_at = if takes { now + WAKE_GRACE } else { now };
        let receipts = self.publish(&mut tx, events, (now, due_at), calls.len() > 1).await?;
        let reported = self.end(&mut tx, &calls, decisions, now).await?;
        tx.commit().await?;

        self.count(&reported.ended);
        if takes {
            // A batch of several calls has several traces; each row keeps its own.
            let trace = if let [call] = calls.as_slice() { Some(call.trace) } else { None };
            self.wake(&Owed::by(&receipts), trace);
            self.wake(&reported.owed, None);
        }
        Ok(())
    }

    /// Publishes `events`; what is too wide for one transaction may be halved if `several` calls led to it.
    async fn publish(
        &self,
        conn: &mut PgConnection,
        mut events: Vec<NewEvent>,
        (now, due_at): (Timestamp, Timestamp),
        several: bool,
    ) -> Result<std::collections::HashMap<EventId, Receipt>, Refused> {
        loop {
            let subscriptions = self.plans.of(events.iter().map(|event| event.tenant)).await?;
            let none = Subscriptions::default();
            let of = |tenant: TenantId| subscriptions.get(&tenant).map_or(&none, std::convert::AsRef::as_ref);
            let publication = Publication::plan(events, now, of);
            if publication.width() > WIDEST && several {
                return Err(Refused::TooWide);
            }
            match publication.write(conn, now, due_at, false).await? {
                Written::Done(receipts) => return Ok(receipts),
                Written::Stale => {
                    events = publication.into_events();
                    self.plans.forget(events.iter().map(|event| event.tenant));
                }
            }
        }
    }

    /// Writes how `calls` ended and what their callers are told.
    async fn end(
        &self,
        conn: &mut PgConnection,
        calls: &[Received],
        decisions: Vec<Decision>,
        now: Timestamp,
    ) -> Result<Reported, Error> {
        let told: Vec<(InboundId, Answer)> =
            decisions.iter().filter_map(|decision| Some((decision.call, decision.answer.clone()?))).collect();
        let ended: Vec<(InboundId, Ended)> =
            decisions.into_iter().map(|decision| (decision.call, decision.ended)).collect();
        mark_ended(conn, &ended, now).await?;
        answers::store(conn, &told).await?;
        let owed = deaths::record(conn, &self.plans, self.work.system(), &dead(calls, &ended), now).await?;
        Ok(Reported { ended, owed })
    }

    fn wake(&self, owed: &Owed, trace: Option<TraceContext>) {
        self.publisher.wake(Queue::Deliveries, &owed.deliveries, trace);
        self.publisher.wake(Queue::Jobs, &owed.spreading, trace);
    }

    fn count(&self, ended: &[(InboundId, Ended)]) {
        let system = self.work.system().as_str();
        for (call, end) in ended {
            let outcome = match end {
                Ended::Processed => "processed",
                Ended::Failed { .. } => "failed",
                Ended::Dead { reason } => {
                    tracing::warn!(%call, reason, "a call is dead");
                    "dead"
                }
            };
            metrics::counter!(metric::CALLS, "system" => system, "outcome" => outcome).increment(1);
        }
    }

    /// Gives up a call that the database refuses even alone.
    async fn bury(&self, id: Uuid, error: &Error) -> Result<(), Error> {
        tracing::error!(%error, call = %id, "the database refuses what a call leads to");
        let now = self.clock.now();
        let mut tx = self.database.begin().await?;
        let calls = lock_received(&mut tx, &[id]).await?;
        let given_up = |call: &Received| Decision {
            call: call.id,
            events: Vec::new(),
            ended: Ended::Dead { reason: format!("storage_refused: {error}") },
            answer: self.work.regret(),
        };
        let reported = self.end(&mut tx, &calls, calls.iter().map(given_up).collect(), now).await?;
        tx.commit().await?;

        self.count(&reported.ended);
        self.wake(&reported.owed, None);
        Ok(())
    }
}

/// How calls ended, and what that is owed.
struct Reported {
    ended: Vec<(InboundId, Ended)>,
    owed: Owed,
}

impl<D: Decide> Handler for Calls<D> {
    async fn handle(&self, ids: Vec<Uuid>, _trace: Option<TraceContext>) -> Result<(), Failure> {
        let (mut work, mut overtaken) = (vec![ids], 0);
        while let Some(ids) = work.pop() {
            match self.process(&ids).await {
                Ok(()) => {}
                Err(Refused::Overtaken) if overtaken < MOST_OVERTAKEN => {
                    overtaken += 1;
                    work.push(ids);
                }
                Err(Refused::Overtaken) if ids.len() == 1 => self.bury(ids[0], &NEVER_SEEN).await?,
                // What takes too long together may be quick enough in halves.
                Err(Refused::Storage(error)) if error.is_timeout() && ids.len() > 1 => {
                    tracing::warn!(%error, calls = ids.len(), "a batch is halved");
                    work.extend(halves(ids));
                }
                Err(Refused::Storage(error)) if error.is_transient() => return Err(error.into()),
                Err(Refused::Storage(error)) if ids.len() == 1 => self.bury(ids[0], &error).await?,
                Err(Refused::TooWide | Refused::Overtaken | Refused::Storage(_)) => work.extend(halves(ids)),
            }
        }
        Ok(())
    }
}

/// Both halves of a batch, the second one first.
fn halves(mut ids: Vec<Uuid>) -> [Vec<Uuid>; 2] {
    let second = ids.split_off(ids.len() / 2);
    [second, ids]
}

/// How a call ended whose processing has panicked: tried again for some times, then given up.
pub(crate) fn panicked(call: &Received, now: Timestamp) -> Ended {
    if call.failures + 1 >= MOST_FAILURES {
        return Ended::Dead { reason: "internal".to_owned() };
    }
    Ended::Failed { reason: "internal".to_owned(), due_at: now + TimeDelta::seconds(1 << call.failures.clamp(0, 6)) }
}

/// Those of `calls` that are given up; `ended` says how each ended, in the same order.
fn dead<'c>(calls: &'c [Received], ended: &'c [(InboundId, Ended)]) -> Vec<Dead<'c>> {
    let reason = |(call, (_, end)): (&'c Received, &'c (InboundId, Ended))| match end {
        Ended::Dead { reason } => Some((call, reason.as_str())),
        Ended::Processed | Ended::Failed { .. } => None,
    };
    calls.iter().zip(ended).filter_map(reason).collect()
}
