//! Circuits as all processes know them: opened and probed through the database, closed with a report that the webhook
//! has recovered. Nothing of it is on the way of deliveries to receivers that answer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use busbar_domain::id::{TenantId, WebhookId};
use busbar_domain::operational;
use busbar_domain::{Clock, Timestamp};
use busbar_messaging::Publisher;
use busbar_storage::access::Plans;
use busbar_storage::circuits::{self, Probe};
use busbar_storage::claims::Finished;
use busbar_storage::settle::publish;
use busbar_storage::{Database, Error};
use tokio::sync::mpsc;

use crate::circuit::{Change, FIRST_PAUSE, LONGEST_PAUSE};
use crate::lanes::Job;
use crate::recorder::wake;
use crate::worker::Worker;

/// How long to wait before the database is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often what this process believes is held against what the database says.
const LOOK: Duration = Duration::from_secs(5);

/// What has become of a webhook's circuit in this process.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    tenant: TenantId,
    webhook: WebhookId,
    change: Change,
    error: String,
}

impl Note {
    pub(crate) fn of(job: &Job, change: Change, finished: &Finished) -> Self {
        let error = finished.attempt.as_ref().and_then(|attempt| attempt.error.clone());
        Self { tenant: job.claimed.tenant, webhook: job.claimed.webhook, change, error: error.unwrap_or_default() }
    }
}

/// How many changes may wait to be written; past it, the attempts that made them wait.
const ROOM: usize = 256;

/// Where changes are told. They are rare, at most a few for each failing webhook, and none may be lost.
#[derive(Clone, Debug)]
pub(crate) struct Breaker(mpsc::Sender<Note>);

impl Breaker {
    pub(crate) async fn tell(&self, note: Note) {
        // The writer outlives every attempt.
        let _told = self.0.send(note).await;
    }
}

pub(crate) fn channel() -> (Breaker, mpsc::Receiver<Note>) {
    let (sender, receiver) = mpsc::channel(ROOM);
    (Breaker(sender), receiver)
}

/// What the database says to who wants to probe.
pub(crate) enum Asked {
    /// This process has the probe.
    Granted,
    /// The circuit is closed.
    Closed,
    /// Nobody may probe for so long.
    NotFor(Duration),
}

/// Asks for the probe of a job's webhook.
pub(crate) async fn ask(database: &Database, clock: &Clock, job: &Job) -> Result<Asked, Error> {
    let asking = take_probe(database, clock, job);
    tokio::time::timeout(FIRST_PAUSE, asking).await.unwrap_or_else(|_| Err(Error::timed_out()))
}

async fn take_probe(database: &Database, clock: &Clock, job: &Job) -> Result<Asked, Error> {
    let now = clock.now();
    // As long as the attempt may take, and a little for its result.
    let until = now + job.route.endpoint.webhook.timeout + FIRST_PAUSE;
    let mut connection = database.acquire().await?;
    Ok(match circuits::take_probe(&mut connection, job.claimed.webhook, now, until).await? {
        Probe::Granted => Asked::Granted,
        Probe::Closed => Asked::Closed,
        Probe::NotYet(at) => Asked::NotFor((at - now).to_std().unwrap_or(FIRST_PAUSE)),
    })
}

/// Writes what changes, until every sender is gone.
pub(crate) struct Writer {
    pub(crate) database: Database,
    pub(crate) clock: Clock,
    pub(crate) plans: Arc<Plans>,
    pub(crate) publisher: Publisher,
}

impl Writer {
    pub(crate) async fn run(self, mut notes: mpsc::Receiver<Note>, worker: WeakWorker) {
        let mut last = Look { at: self.clock.now(), open: HashSet::new() };
        let mut next = tokio::time::Instant::now() + LOOK;
        loop {
            match tokio::time::timeout_at(next, notes.recv()).await {
                Ok(Some(note)) => self.insist(&note, &worker).await,
                Ok(None) => return,
                Err(_) => {
                    next = tokio::time::Instant::now() + LOOK;
                    if let Err(error) = self.look(&mut last, &worker).await {
                        tracing::warn!(%error, "circuits could not be read");
                    }
                }
            }
        }
    }

    async fn insist(&self, note: &Note, worker: &WeakWorker) {
        while let Err(error) = self.write(note, worker).await {
            tracing::warn!(%error, webhook = %note.webhook, "a circuit could not be written");
            if !error.is_transient() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Closes here what another process has closed, and there what a process has left open that has ended since.
    async fn look(&self, last: &mut Look, worker: &WeakWorker) -> Result<(), Error> {
        let Some(inside) = worker.0.upgrade() else { return Ok(()) };
        let (open, taken) = inside.lock_lanes().look_at_circuits();
        let before = std::mem::replace(last, Look { at: self.clock.now(), open: open.iter().copied().collect() });
        if open.is_empty() && taken.is_empty() {
            return Ok(());
        }
        let asked: Vec<WebhookId> = open.iter().chain(&taken).copied().collect();
        let found = circuits::find(&mut *self.database.acquire().await?, &asked).await?;
        let rows: HashSet<WebhookId> = found.iter().map(|circuit| circuit.webhook).collect();
        // One that has opened a moment ago may not be written yet.
        let gone: Vec<WebhookId> =
            before.open.into_iter().filter(|webhook| last.open.contains(webhook) && !rows.contains(webhook)).collect();
        inside.lock_lanes().close_circuits(&gone);
        let taken: HashSet<WebhookId> = taken.into_iter().collect();
        for circuit in found.iter().filter(|circuit| taken.contains(&circuit.webhook) && circuit.opened_at < before.at)
        {
            self.recovered(circuit.tenant, circuit.webhook).await?;
        }
        Ok(())
    }

    async fn write(&self, note: &Note, worker: &WeakWorker) -> Result<(), Error> {
        let now = self.clock.now();
        match note.change {
            Change::Opened(lasts) | Change::ProbeFailed(lasts) => {
                let since = now - lasts;
                let told = (note.error.as_str(), matches!(note.change, Change::ProbeFailed(_)));
                let pauses = (FIRST_PAUSE, LONGEST_PAUSE);
                let mut connection = self.database.acquire().await?;
                let whose = (note.tenant, note.webhook);
                let probe_at = circuits::open(&mut connection, whose, since, told, pauses, now).await?;
                tracing::warn!(webhook = %note.webhook, error = note.error, %probe_at, "a receiver keeps failing");
                let wait = (probe_at - now).to_std().unwrap_or(FIRST_PAUSE);
                worker.probe_at(note.webhook, Instant::now() + wait);
            }
            Change::Recovered => self.recovered(note.tenant, note.webhook).await?,
            Change::Answering => {
                circuits::close(&mut *self.database.acquire().await?, note.webhook).await?;
            }
        }
        Ok(())
    }

    /// Closes a circuit; whoever is the one that closes it reports that the webhook has recovered.
    async fn recovered(&self, tenant: TenantId, webhook: WebhookId) -> Result<(), Error> {
        let now = self.clock.now();
        let mut tx = self.database.begin().await?;
        let Some(since) = circuits::close(&mut tx, webhook).await? else { return Ok(()) };
        let event = operational::webhook_recovered(tenant, webhook, since, now);
        let owed = publish(&mut tx, &self.plans, vec![event], now).await?;
        tx.commit().await?;
        tracing::info!(%webhook, "a receiver has recovered");
        wake(&self.publisher, &owed);
        Ok(())
    }
}

/// What a look at all circuits found.
struct Look {
    at: Timestamp,
    /// What was open in this process.
    open: HashSet<WebhookId>,
}

/// The worker, as long as it is there: its end ends the writer, not the other way round.
pub(crate) struct WeakWorker(pub(crate) std::sync::Weak<crate::worker::Inside>);

impl WeakWorker {
    pub(crate) fn of(worker: &Worker) -> Self {
        Self(worker.downgrade())
    }

    fn probe_at(&self, webhook: WebhookId, at: Instant) {
        if let Some(inside) = self.0.upgrade() {
            inside.lock_lanes().probe_at(webhook, at);
        }
    }
}
