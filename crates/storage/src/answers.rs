//! Answers that the processing of a call makes, for callers that wait: one listener and one statement for all of them.
//!
//! What is announced is looked up at once; a poll is the net for what was announced while nobody could listen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use busbar_domain::id::InboundId;
use busbar_domain::inbound::Answer;
use sqlx::PgConnection;
use sqlx::postgres::PgListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Database, Error};

const CHANNEL: &str = "busbar_done";
/// How often every call that is waited for is looked up.
const POLL: Duration = Duration::from_millis(500);
/// How long to wait before a listener that broke is made anew.
const REOPEN: Duration = Duration::from_secs(1);

/// Who waits for which call's answer; clones are one table.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    waiting: Arc<Mutex<HashMap<InboundId, oneshot::Sender<Answer>>>>,
}

/// A call whose answer is waited for; dropping it ends the waiting.
#[derive(Debug)]
pub struct Awaited {
    id: InboundId,
    answer: oneshot::Receiver<Answer>,
    answers: Answers,
}

impl Awaited {
    /// Waits at most `patience` for the answer.
    pub async fn within(mut self, patience: Duration) -> Option<Answer> {
        tokio::time::timeout(patience, &mut self.answer).await.ok()?.ok()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.answers.table().remove(&self.id);
    }
}

impl Answers {
    /// Begins to wait for the answer to `id`. To be called before the call is durable, or the news of it may be missed.
    pub fn expect(&self, id: InboundId) -> Awaited {
        let (sender, answer) = oneshot::channel();
        self.table().insert(id, sender);
        Awaited { id, answer, answers: self.clone() }
    }

    /// Listens and polls until `stop`.
    pub async fn watch(&self, database: &Database, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let listener = listen(database).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.follow(database, listener) => {}
            }
        }
    }

    /// Follows `listener` until it breaks; without one, polls for a while.
    async fn follow(&self, database: &Database, mut listener: Option<PgListener>) {
        let opened = tokio::time::Instant::now();
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let ids = tokio::select! {
                heard = heard(listener.as_mut()) => match heard {
                    Some(ids) => self.waited_for(&ids),
                    None => return,
                },
                _ = poll.tick() => self.all(),
            };
            if !ids.is_empty() {
                match self.look_up(database, &ids).await {
                    Ok(found) => self.hand_out(found),
                    Err(error) => tracing::warn!(%error, "answers cannot be looked up"),
                }
            }
            if listener.is_none() && opened.elapsed() >= REOPEN {
                return;
            }
        }
    }

    async fn look_up(&self, database: &Database, ids: &[Uuid]) -> Result<Vec<(InboundId, Answer)>, Error> {
        find(&mut *database.acquire().await?, ids).await
    }

    fn hand_out(&self, found: Vec<(InboundId, Answer)>) {
        let mut waiting = self.table();
        for (id, answer) in found {
            if let Some(sender) = waiting.remove(&id) {
                // Who has gone away meanwhile is told nothing.
                let _gone = sender.send(answer);
            }
        }
    }

    fn waited_for(&self, ids: &[InboundId]) -> Vec<Uuid> {
        let waiting = self.table();
        ids.iter().filter(|id| waiting.contains_key(id)).map(|id| id.uuid()).collect()
    }

    fn all(&self) -> Vec<Uuid> {
        self.table().keys().map(|id| id.uuid()).collect()
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<InboundId, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen(database: &Database) -> Option<PgListener> {
    let mut listener = PgListener::connect_with(database.pool()).await.ok()?;
    listener.listen(CHANNEL).await.ok()?;
    Some(listener)
}

/// The calls that are announced, all that have arrived; `None` when there is no listener any more.
async fn heard(listener: Option<&mut PgListener>) -> Option<Vec<InboundId>> {
    let Some(listener) = listener else { return std::future::pending().await };
    let mut heard = vec![listener.recv().await.ok()?];
    while let Some(more) = listener.next_buffered() {
        heard.push(more);
    }
    Some(heard.iter().filter_map(|one| one.payload().parse().ok()).collect())
}

/// The answers that there are to `ids`.
pub async fn find(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<(InboundId, Answer)>, Error> {
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    let rows: Vec<(Uuid, i16, Vec<u8>)> = sqlx::query_as(
        "select id, answer_status, answer from inbound
         where id between $1 and $2 and id = any($3) and answer_status is not null and answer is not null",
    )
    .bind(first)
    .bind(last)
    .bind(ids)
    .fetch_all(conn)
    .await?;
    let answer = |(id, status, body): (Uuid, i16, Vec<u8>)| {
        (id.into(), Answer { status: status.unsigned_abs(), body: body.into() })
    };
    Ok(rows.into_iter().map(answer).collect())
}

/// Stores the answers to calls that this transaction has locked, and announces them once it is committed.
pub async fn store(conn: &mut PgConnection, answers: &[(InboundId, Answer)]) -> Result<(), Error> {
    if answers.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "with answered as (
             update inbound i set answer_status = a.status, answer = a.body
             from unnest($1::uuid[], $2::int2[], $3::bytea[]) as a (id, status, body)
             where i.id = a.id returning i.id
         )
         select pg_notify('busbar_done', id::text) from answered",
    )
    .bind(answers.iter().map(|(id, _)| id.uuid()).collect::<Vec<_>>())
    .bind(answers.iter().map(|(_, answer)| i16::try_from(answer.status).unwrap_or(500)).collect::<Vec<_>>())
    .bind(answers.iter().map(|(_, answer)| &answer.body[..]).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}
