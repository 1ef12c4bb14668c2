//! The two writers: one connection each, one statement a batch. A batch of unknown outcome is written again as it
//! was; a batch that the database refuses is halved, down to the entry that is refused alone.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use busbar_domain::event::NewEvent;
use busbar_domain::id::{EventId, InboundId, TenantId};
use busbar_domain::inbound::{NewInbound, System};
use busbar_domain::subscription::{Subscriptions, WIDEST};
use busbar_domain::trace::TraceContext;
use busbar_domain::{Clock, Timestamp};
use busbar_messaging::{Publisher, Queue};
use busbar_storage::accept::{Owed, Publication, Receipt, Written};
use busbar_storage::access::Plans;
use busbar_storage::connect::Durability;
use busbar_storage::due::WAKE_GRACE;
use busbar_storage::{Database, Error, Line, inbound};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::commit::{Entry, Intake, Refused};
use crate::door::measure;

/// The longest that one write may take before its connection is given up.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait before the database is asked again.
const PAUSE: Duration = Duration::from_millis(50);

type EventEntry = Entry<Vec<NewEvent>, Vec<Receipt>>;
type CallEntry = Entry<NewInbound, inbound::Receipt>;

/// Writes events with the deliveries they owe.
pub(crate) struct EventWriter {
    line: Line,
    clock: Clock,
    plans: Plans,
    publisher: Publisher,
    wake: Queue,
}

impl EventWriter {
    pub(crate) fn new(database: Database, clock: Clock, plans: Plans, publisher: Publisher, wake: Queue) -> Self {
        Self { line: Line::new(database, Durability::Durable), clock, plans, publisher, wake }
    }

    /// Runs until `stop`, then writes what is left.
    pub(crate) async fn run(
        mut self,
        mut intake: Intake<Vec<NewEvent>, Vec<Receipt>>,
        most: usize,
        stop: CancellationToken,
    ) {
        while let Some(batch) = next(&mut intake, most, &stop).await {
            let mut work = vec![batch];
            while let Some(batch) = work.pop() {
                work.extend(self.write(batch).await);
            }
        }
    }

    /// Writes one batch; answers the parts to write one by one if it is too wide or refused.
    async fn write(&mut self, mut batch: Vec<EventEntry>) -> Vec<Vec<EventEntry>> {
        let began = Instant::now();
        let counts: Vec<usize> = batch.iter().map(|entry| entry.item.len()).collect();
        let mut events: Vec<NewEvent> = batch.iter_mut().flat_map(|entry| std::mem::take(&mut entry.item)).collect();
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        let trace = only(events.iter().map(|event| event.trace));
        loop {
            let now = self.clock.now();
            let publication = match self.plan(events, now).await {
                Ok(publication) => publication,
                Err((error, back)) => {
                    tracing::warn!(%error, "subscriptions cannot be read");
                    if !batch.iter().any(Entry::is_awaited) {
                        return Vec::new();
                    }
                    tokio::time::sleep(PAUSE).await;
                    events = back;
                    continue;
                }
            };
            if publication.width() > WIDEST && batch.len() > 1 {
                return halves(restore(batch, &counts, &ids, publication.into_events()));
            }
            let takes = self.publisher.takes(self.wake);
            let due_at = if takes { now + WAKE_GRACE } else { now };
            match self.insist(&publication, &batch, now, due_at).await {
                Ok(Written::Stale) => {
                    self.plans.forget(batch.iter().map(|entry| entry.tenant));
                    events = publication.into_events();
                }
                Ok(Written::Done(mut receipts)) => {
                    if takes {
                        self.wake(&receipts, trace);
                    }
                    measure(ids.len(), began);
                    let mut ids = ids.into_iter();
                    for (entry, count) in batch.into_iter().zip(counts) {
                        let own = ids.by_ref().take(count).filter_map(|id| receipts.remove(&id)).collect();
                        entry.answer(Ok(own));
                    }
                    return Vec::new();
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, events = ids.len(), "a batch could not be written in time");
                    return Vec::new();
                }
                Err(error) if batch.len() == 1 => {
                    tracing::error!(%error, "the database refuses an event");
                    for entry in batch {
                        entry.answer(Err(Refused::Rejected));
                    }
                    return Vec::new();
                }
                Err(_) => return halves(restore(batch, &counts, &ids, publication.into_events())),
            }
        }
    }

    async fn plan(&self, events: Vec<NewEvent>, now: Timestamp) -> Result<Publication, (Error, Vec<NewEvent>)> {
        let subscriptions = match self.plans.of(events.iter().map(|event| event.tenant)).await {
            Ok(subscriptions) => subscriptions,
            Err(error) => return Err((error, events)),
        };
        let none = Subscriptions::default();
        let of = |tenant: TenantId| subscriptions.get(&tenant).map_or(&none, std::convert::AsRef::as_ref);
        Ok(Publication::plan(events, now, of))
    }

    /// Writes until the outcome is known, or until nobody waits for it any more.
    async fn insist(
        &mut self,
        publication: &Publication,
        batch: &[EventEntry],
        now: Timestamp,
        due_at: Timestamp,
    ) -> Result<Written, Error> {
        let mut again = false;
        loop {
            let written = match self.line.get().await {
                Ok(connection) => {
                    let write = publication.write(connection, now, due_at, again);
                    let written =
                        tokio::time::timeout(PATIENCE, write).await.unwrap_or_else(|_| Err(Error::timed_out()));
                    again |= matches!(written, Err(Error::Connection(_)));
                    written
                }
                // Nothing was sent, so what is known of the outcome stays as it is.
                Err(error) => Err(error),
            };
            match written {
                Err(error) if error.is_transient() => {
                    self.line.give_up();
                    if !batch.iter().any(Entry::is_awaited) {
                        return Err(error);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                known => return known,
            }
        }
    }

    fn wake(&self, receipts: &HashMap<EventId, Receipt>, trace: Option<TraceContext>) {
        let owed = Owed::by(receipts);
        self.publisher.wake(self.wake, &owed.deliveries, trace);
        self.publisher.wake(Queue::Jobs, &owed.spreading, trace);
    }
}

/// Gives entries their events back; `ids` names them in the entries' order.
fn restore(mut batch: Vec<EventEntry>, counts: &[usize], ids: &[EventId], events: Vec<NewEvent>) -> Vec<EventEntry> {
    let mut events: HashMap<EventId, NewEvent> = events.into_iter().map(|event| (event.id, event)).collect();
    let mut ids = ids.iter();
    for (entry, count) in batch.iter_mut().zip(counts) {
        entry.item = ids.by_ref().take(*count).filter_map(|id| events.remove(id)).collect();
    }
    batch
}

/// The trace of a batch that has but one; each row keeps its own.
fn only(mut traces: impl Iterator<Item = TraceContext>) -> Option<TraceContext> {
    let first = traces.next();
    first.filter(|_| traces.next().is_none())
}

fn halves<T>(mut batch: Vec<T>) -> Vec<Vec<T>> {
    let second = batch.split_off(batch.len() / 2);
    vec![second, batch]
}

/// The next batch; after `stop`, what is left of the queue and then nothing.
async fn next<T, R>(intake: &mut Intake<T, R>, most: usize, stop: &CancellationToken) -> Option<Vec<Entry<T, R>>> {
    tokio::select! {
        biased;
        batch = intake.next(most) => batch,
        () = stop.cancelled() => None,
    }
}

/// Writes calls of external systems.
pub(crate) struct CallWriter {
    line: Line,
    clock: Clock,
    publisher: Publisher,
}

impl CallWriter {
    pub(crate) fn new(database: Database, clock: Clock, publisher: Publisher) -> Self {
        Self { line: Line::new(database, Durability::Durable), clock, publisher }
    }

    /// Runs until `stop`, then writes what is left.
    pub(crate) async fn run(
        mut self,
        mut intake: Intake<NewInbound, inbound::Receipt>,
        most: usize,
        stop: CancellationToken,
    ) {
        while let Some(batch) = next(&mut intake, most, &stop).await {
            let mut work = vec![batch];
            while let Some(batch) = work.pop() {
                work.extend(self.write(batch).await);
            }
        }
    }

    async fn write(&mut self, batch: Vec<CallEntry>) -> Vec<Vec<CallEntry>> {
        let began = Instant::now();
        let calls: Vec<NewInbound> = batch.iter().map(|entry| entry.item.clone()).collect();
        loop {
            let now = self.clock.now();
            let takes = |system| Queue::inbound(system).is_some_and(|queue| self.publisher.takes(queue));
            let woken: Vec<System> = System::ALL.into_iter().filter(|system| takes(*system)).collect();
            let due_at = |system| if woken.contains(&system) { now + WAKE_GRACE } else { now };
            let written = match self.line.get().await {
                // Ids and keys are the same each time, so an insert of unknown outcome is simply sent again.
                Ok(connection) => {
                    let insert = inbound::insert(connection, &calls, now, due_at);
                    tokio::time::timeout(PATIENCE, insert).await.unwrap_or_else(|_| Err(Error::timed_out()))
                }
                Err(error) => Err(error),
            };
            match written {
                Ok(receipts) => {
                    self.wake(&woken, &calls, &receipts);
                    measure(batch.len(), began);
                    for entry in batch {
                        let receipt = receipts.get(&entry.item.id).copied().ok_or(Refused::Rejected);
                        entry.answer(receipt);
                    }
                    return Vec::new();
                }
                Err(error) if error.is_transient() => {
                    self.line.give_up();
                    if !batch.iter().any(Entry::is_awaited) {
                        tracing::warn!(%error, calls = calls.len(), "a batch could not be written in time");
                        return Vec::new();
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) if batch.len() == 1 => {
                    tracing::error!(%error, "the database refuses a call");
                    for entry in batch {
                        entry.answer(Err(Refused::Rejected));
                    }
                    return Vec::new();
                }
                Err(_) => return halves(batch),
            }
        }
    }

    fn wake(&self, systems: &[System], calls: &[NewInbound], receipts: &HashMap<InboundId, inbound::Receipt>) {
        for system in systems {
            let Some(queue) = Queue::inbound(*system) else { continue };
            let ids: Vec<Uuid> = calls
                .iter()
                .filter(|call| call.system == *system && receipts.get(&call.id) == Some(&inbound::Receipt::Accepted))
                .map(|call| call.id.uuid())
                .collect();
            self.publisher.wake(queue, &ids, only(calls.iter().map(|call| call.trace)));
        }
    }
}
