//! Inbound calls of one system become events. Idempotent by the row it locks: a call that is processed, or that
//! another processor holds, is not touched.

use std::panic::{AssertUnwindSafe, catch_unwind};

use busbar_domain::event::NewEvent;
use busbar_domain::id::{EventId, InboundId, TenantId};
use busbar_domain::inbound::System;
use busbar_domain::subscription::{Subscriptions, WIDEST};
use busbar_domain::trace::TraceContext;
use busbar_domain::{Clock, Failure, Timestamp};
use busbar_messaging::{Handler, Publisher, Queue};
use busbar_runtime::Parts;
use busbar_storage::accept::{Owed, Publication, Written};
use busbar_storage::access::Plans;
use busbar_storage::due::WAKE_GRACE;
use busbar_storage::inbound::{Ended, Received, lock_received, mark_ended};
use busbar_storage::{Database, Error};
use busbar_systems::FieldRefusal;
use busbar_systems::registry::{Call, ToEvent, edge};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::deaths::{self, Dead};
use crate::metric;

/// How often a call whose processing panics is tried.
const MOST_FAILURES: i16 = 5;

/// Processes one system's calls.
pub(crate) struct Calls {
    database: Database,
    clock: Clock,
    plans: Plans,
    publisher: Publisher,
    system: System,
}

/// What one call came to.
struct Decision {
    call: InboundId,
    event: Option<NewEvent>,
    ended: Ended,
}

/// Why a batch was not written.
enum Refused {
    /// Its fan-out is wider than one transaction should write.
    TooWide,
    Storage(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Storage(error)
    }
}

impl Calls {
    pub(crate) fn new(parts: &Parts, publisher: Publisher, system: System) -> Self {
        Self {
            database: parts.database.clone(),
            clock: parts.clock.clone(),
            plans: Plans::new(parts.database.clone(), parts.changes.clone()),
            publisher,
            system,
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
        let mut decisions: Vec<Decision> =
            calls.iter().map(|call| decide(edge(self.system).to_event, call, now)).collect();
        let mut events: Vec<NewEvent> = decisions.iter_mut().filter_map(|decision| decision.event.take()).collect();
        let takes = self.publisher.takes(Queue::Deliveries);
        let due_at = if takes { now + WAKE_GRACE } else { now };
        let receipts = loop {
            let subscriptions = self.plans.of(events.iter().map(|event| event.tenant)).await?;
            let none = Subscriptions::default();
            let of = |tenant: TenantId| subscriptions.get(&tenant).map_or(&none, std::convert::AsRef::as_ref);
            let publication = Publication::plan(events, now, of);
            if publication.width() > WIDEST && calls.len() > 1 {
                return Err(Refused::TooWide);
            }
            match publication.write(&mut tx, now, due_at, false).await? {
                Written::Done(receipts) => break receipts,
                Written::Stale => {
                    events = publication.into_events();
                    self.plans.forget(events.iter().map(|event| event.tenant));
                }
            }
        };
        let ended: Vec<(InboundId, Ended)> =
            decisions.into_iter().map(|decision| (decision.call, decision.ended)).collect();
        mark_ended(&mut tx, &ended, now).await?;
        let reported = deaths::record(&mut tx, &self.plans, self.system, &dead(&calls, &ended), now).await?;
        tx.commit().await?;

        self.count(&ended);
        if takes {
            // A batch of several calls has several traces; each row keeps its own.
            let trace = if let [call] = calls.as_slice() { Some(call.trace) } else { None };
            self.wake(&Owed::by(&receipts), trace);
            self.wake(&reported, None);
        }
        Ok(())
    }

    fn wake(&self, owed: &Owed, trace: Option<TraceContext>) {
        self.publisher.wake(Queue::Deliveries, &owed.deliveries, trace);
        self.publisher.wake(Queue::Jobs, &owed.spreading, trace);
    }

    fn count(&self, ended: &[(InboundId, Ended)]) {
        for (call, end) in ended {
            let outcome = match end {
                Ended::Processed => "processed",
                Ended::Failed { .. } => "failed",
                Ended::Dead { reason } => {
                    tracing::warn!(%call, reason, "a call is dead");
                    "dead"
                }
            };
            metrics::counter!(metric::CALLS, "system" => self.system.as_str(), "outcome" => outcome).increment(1);
        }
    }

    /// Gives up a call that the database refuses even alone.
    async fn bury(&self, id: Uuid, error: &Error) -> Result<(), Error> {
        tracing::error!(%error, call = %id, "the database refuses what a call leads to");
        let now = self.clock.now();
        let mut tx = self.database.begin().await?;
        let calls = lock_received(&mut tx, &[id]).await?;
        let ends = |call: &Received| (call.id, Ended::Dead { reason: format!("storage_refused: {error}") });
        let ended: Vec<(InboundId, Ended)> = calls.iter().map(ends).collect();
        mark_ended(&mut tx, &ended, now).await?;
        let reported = deaths::record(&mut tx, &self.plans, self.system, &dead(&calls, &ended), now).await?;
        tx.commit().await?;

        self.count(&ended);
        self.wake(&reported, None);
        Ok(())
    }
}

impl Handler for Calls {
    async fn handle(&self, ids: Vec<Uuid>, _trace: Option<TraceContext>) -> Result<(), Failure> {
        let mut work = vec![ids];
        while let Some(mut ids) = work.pop() {
            match self.process(&ids).await {
                Ok(()) => {}
                Err(Refused::Storage(error)) if error.is_transient() => return Err(error.into()),
                Err(Refused::Storage(error)) if ids.len() == 1 => self.bury(ids[0], &error).await?,
                Err(Refused::TooWide | Refused::Storage(_)) => {
                    let second = ids.split_off(ids.len() / 2);
                    work.extend([second, ids]);
                }
            }
        }
        Ok(())
    }
}

/// What a call comes to; pure, and a panic in it is the call's own failure.
fn decide(to_event: ToEvent, received: &Received, now: Timestamp) -> Decision {
    let call = Call {
        tenant: received.tenant,
        connector: received.connector,
        inbound: Some(received.id),
        event: EventId::new(now),
        trace: received.trace,
        body: &received.body,
        received_at: received.received_at,
    };
    let (event, ended) = match catch_unwind(AssertUnwindSafe(|| to_event(&call))) {
        Ok(Ok(event)) => (Some(event), Ended::Processed),
        Ok(Err(refusals)) => (None, Ended::Dead { reason: reason_of(&refusals) }),
        Err(_) if received.failures + 1 >= MOST_FAILURES => (None, Ended::Dead { reason: "internal".to_owned() }),
        Err(_) => {
            let due_at = now + TimeDelta::seconds(1 << received.failures.clamp(0, 6));
            (None, Ended::Failed { reason: "internal".to_owned(), due_at })
        }
    };
    Decision { call: received.id, event, ended }
}

/// Those of `calls` that are given up; `ended` says how each ended, in the same order.
fn dead<'c>(calls: &'c [Received], ended: &'c [(InboundId, Ended)]) -> Vec<Dead<'c>> {
    let reason = |(call, (_, end)): (&'c Received, &'c (InboundId, Ended))| match end {
        Ended::Dead { reason } => Some((call, reason.as_str())),
        Ended::Processed | Ended::Failed { .. } => None,
    };
    calls.iter().zip(ended).filter_map(reason).collect()
}

fn reason_of(refusals: &[FieldRefusal]) -> String {
    let all: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    format!("invalid_body: {}", all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panics(_: &Call<'_>) -> Result<NewEvent, Vec<FieldRefusal>> {
        panic!("a defect")
    }

    #[test]
    fn a_panic_is_the_calls_own_failure_and_after_some_of_them_its_end() {
        let now = Clock::system().now();
        let mut call = Received {
            id: InboundId::new(now),
            tenant: TenantId::new(now),
            connector: busbar_domain::id::ConnectorId::new(now),
            body: Vec::new().into(),
            received_at: now,
            failures: 0,
            trace: TraceContext::root(),
        };
        for failures in 0..MOST_FAILURES - 1 {
            call.failures = failures;
            let due_at = now + TimeDelta::seconds(1 << failures);
            let failed = Ended::Failed { reason: "internal".to_owned(), due_at };
            assert_eq!(decide(panics, &call, now).ended, failed);
        }
        call.failures = MOST_FAILURES - 1;
        assert_eq!(decide(panics, &call, now).ended, Ended::Dead { reason: "internal".to_owned() });
    }
}
