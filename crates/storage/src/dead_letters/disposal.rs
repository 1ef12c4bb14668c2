//! What people do with letters: try once more, or discard. A letter is locked, decided and written in the transaction
//! of its caller, with its row in the audit; one that was disposed of stays as it is.

use busbar_domain::Timestamp;
use busbar_domain::id::{DeliveryId, InboundId, TenantId};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;
use crate::audit::{self, Entry};
use crate::dead_letters::listing::{self, Record, Status};
use crate::dead_letters::{Kind, payload};

/// The most letters of a group that one call disposes of.
pub const GROUP_LIMIT: i64 = 1000;

/// Who acts, for whom and when.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// Whose letters; without a tenant, those that are the platform operator's own.
    pub whose: Option<TenantId>,
    /// The key that is used; the nil id for the operator's key of the settings.
    pub actor: Uuid,
    /// The present.
    pub now: Timestamp,
    /// When the scheduler may wake what is made.
    pub due_at: Timestamp,
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such letter, or no open one of this cause.
    NotFound,
    /// It was resubmitted or discarded before.
    AlreadyDisposed,
    /// It is a wake-up, whose rows are woken by themselves, or what it is about is kept no longer.
    NothingToResubmit,
    /// The webhook was deleted.
    WebhookDeleted,
    /// The connector was deleted.
    ConnectorDeleted,
}

/// What a resubmission made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successor {
    /// The new delivery or call, to be woken.
    pub id: Uuid,
    /// Which of the two.
    pub kind: Kind,
    /// The event's type or the call's system.
    pub label: String,
}

/// What was done with letters of one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many were disposed of.
    pub count: usize,
    /// How many are open still.
    pub remaining: i64,
    /// What was made of them, to be woken.
    pub successors: Vec<Successor>,
}

/// Owes or processes once more what a letter is about, with `body` in place of the body that it had.
///
/// A delivery keeps its message id, stands in no order and goes behind what is live.
pub async fn resubmit(
    conn: &mut PgConnection,
    id: Uuid,
    body: Option<&[u8]>,
    act: &Act,
) -> Result<Result<Successor, Refusal>, Error> {
    let letter = match lock(conn, id, act.whose).await? {
        Ok(letter) => letter,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let kind = kind_of(&letter)?;
    if let Some(refusal) = hindrance(conn, kind, letter.source_id).await? {
        return Ok(Err(refusal));
    }
    let Some(former) = payload(conn, id, kind).await? else { return Ok(Err(Refusal::NothingToResubmit)) };
    let mut made = again(conn, kind, &[id], body, act).await?;
    let Some((_, successor)) = made.pop() else { return Ok(Err(Refusal::NothingToResubmit)) };
    dispose(conn, &[(id, Some(successor))], Status::Resubmitted, None, act).await?;
    let detail = match body {
        Some(body) => format!("successor {successor}; body of {} replaced by {}", told(&former), told(body)),
        None => format!("successor {successor}; body of {} unchanged", told(&former)),
    };
    note(conn, "dead_letter.resubmitted", id, &detail, act).await?;
    Ok(Ok(Successor { id: successor, kind, label: letter.label }))
}

/// Closes a letter for good, with the reason that was given.
pub async fn discard(conn: &mut PgConnection, id: Uuid, reason: &str, act: &Act) -> Result<Result<(), Refusal>, Error> {
    if let Err(refusal) = lock(conn, id, act.whose).await? {
        return Ok(Err(refusal));
    }
    dispose(conn, &[(id, None)], Status::Discarded, Some(reason), act).await?;
    note(conn, "dead_letter.discarded", id, reason, act).await?;
    Ok(Ok(()))
}

/// Resubmits the oldest open letters of one cause as they are, at most [`GROUP_LIMIT`].
///
/// Letters whose delivery or call is kept no longer stay open; they can only be discarded.
pub async fn resubmit_group(
    conn: &mut PgConnection,
    fingerprint: &str,
    act: &Act,
) -> Result<Result<Group, Refusal>, Error> {
    let ids = lock_resubmittable(conn, fingerprint, act.whose).await?;
    let Some(first) = ids.first() else {
        let open = count_open(conn, fingerprint, act.whose).await?;
        return Ok(Err(if open > 0 { Refusal::NothingToResubmit } else { Refusal::NotFound }));
    };
    let first = first_of(conn, *first).await?;
    let kind = kind_of(&first)?;
    if let Some(refusal) = hindrance(conn, kind, first.source_id).await? {
        return Ok(Err(refusal));
    }
    let made = again(conn, kind, &ids, None, act).await?;
    let pairs: Vec<_> = made.iter().map(|(id, successor)| (*id, Some(*successor))).collect();
    dispose(conn, &pairs, Status::Resubmitted, None, act).await?;
    let detail = format!("{} letters of cause {fingerprint}", made.len());
    note(conn, "dead_letters.resubmitted", first.source_id.unwrap_or_default(), &detail, act).await?;
    let remaining = count_open(conn, fingerprint, act.whose).await?;
    let successor = |(_, id): (Uuid, Uuid)| Successor { id, kind, label: first.label.clone() };
    Ok(Ok(Group { count: made.len(), remaining, successors: made.into_iter().map(successor).collect() }))
}

/// Discards the oldest open letters of one cause, at most [`GROUP_LIMIT`].
pub async fn discard_group(
    conn: &mut PgConnection,
    fingerprint: &str,
    reason: &str,
    act: &Act,
) -> Result<Result<Group, Refusal>, Error> {
    let ids = lock_open(conn, fingerprint, act.whose).await?;
    let Some(first) = ids.first() else { return Ok(Err(Refusal::NotFound)) };
    let first = first_of(conn, *first).await?;
    let pairs: Vec<_> = ids.iter().map(|id| (*id, None)).collect();
    dispose(conn, &pairs, Status::Discarded, Some(reason), act).await?;
    let detail = format!("{} letters of cause {fingerprint}: {reason}", ids.len());
    note(conn, "dead_letters.discarded", first.source_id.unwrap_or_default(), &detail, act).await?;
    let remaining = count_open(conn, fingerprint, act.whose).await?;
    Ok(Ok(Group { count: ids.len(), remaining, successors: Vec::new() }))
}

/// Locks an open letter until the transaction ends.
async fn lock(conn: &mut PgConnection, id: Uuid, whose: Option<TenantId>) -> Result<Result<Record, Refusal>, Error> {
    sqlx::query("select from dead_letters where id = $1 for update").bind(id).execute(&mut *conn).await?;
    Ok(match listing::find(conn, whose, id).await? {
        None => Err(Refusal::NotFound),
        Some(letter) if letter.disposition.is_some() => Err(Refusal::AlreadyDisposed),
        Some(letter) => Ok(letter),
    })
}

async fn lock_open(conn: &mut PgConnection, fingerprint: &str, whose: Option<TenantId>) -> Result<Vec<Uuid>, Error> {
    let locking = match whose {
        Some(tenant) => sqlx::query_scalar(
            "select id from dead_letters
             where tenant_id = $3 and disposition is null and fingerprint = $1 order by id limit $2 for update",
        )
        .bind(fingerprint)
        .bind(GROUP_LIMIT)
        .bind(tenant.uuid()),
        None => sqlx::query_scalar(
            "select id from dead_letters
             where tenant_id is null and disposition is null and fingerprint = $1 order by id limit $2 for update",
        )
        .bind(fingerprint)
        .bind(GROUP_LIMIT),
    };
    Ok(locking.fetch_all(conn).await?)
}

async fn lock_resubmittable(
    conn: &mut PgConnection,
    fingerprint: &str,
    whose: Option<TenantId>,
) -> Result<Vec<Uuid>, Error> {
    let locked = sqlx::query_scalar(
        "select l.id from dead_letters l
         where l.tenant_id = $3 and l.disposition is null and l.fingerprint = $1
             and (exists (select from deliveries d where d.id = l.id)
                 or exists (select from inbound i where i.id = l.id))
         order by l.id limit $2 for update of l",
    )
    .bind(fingerprint)
    .bind(GROUP_LIMIT)
    .bind(whose.map(TenantId::uuid))
    .fetch_all(conn);
    Ok(locked.await?)
}

async fn count_open(conn: &mut PgConnection, fingerprint: &str, whose: Option<TenantId>) -> Result<i64, Error> {
    let counting = match whose {
        Some(tenant) => sqlx::query_scalar(
            "select count(*) from dead_letters where tenant_id = $2 and disposition is null and fingerprint = $1",
        )
        .bind(fingerprint)
        .bind(tenant.uuid()),
        None => sqlx::query_scalar(
            "select count(*) from dead_letters where tenant_id is null and disposition is null and fingerprint = $1",
        )
        .bind(fingerprint),
    };
    Ok(counting.fetch_one(conn).await?)
}

/// What stands against trying again, if anything does; all letters of one cause have the same source.
async fn hindrance(conn: &mut PgConnection, kind: Kind, source: Option<Uuid>) -> Result<Option<Refusal>, Error> {
    let (living, refusal) = match kind {
        Kind::Wakeup => return Ok(Some(Refusal::NothingToResubmit)),
        Kind::Delivery => (
            sqlx::query_scalar("select exists (select from webhooks where id = $1 and deleted_at is null)"),
            Refusal::WebhookDeleted,
        ),
        Kind::Inbound => (
            sqlx::query_scalar("select exists (select from connectors where id = $1 and deleted_at is null)"),
            Refusal::ConnectorDeleted,
        ),
    };
    let lives: bool = living.bind(source).fetch_one(conn).await?;
    Ok((!lives).then_some(refusal))
}

/// Makes successors of the rows with `ids`; answers each with its own.
async fn again(
    conn: &mut PgConnection,
    kind: Kind,
    ids: &[Uuid],
    body: Option<&[u8]>,
    act: &Act,
) -> Result<Vec<(Uuid, Uuid)>, Error> {
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    let making = match kind {
        Kind::Wakeup => return Ok(Vec::new()),
        Kind::Delivery => {
            let successors: Vec<Uuid> = ids.iter().map(|_| DeliveryId::new(act.now).uuid()).collect();
            sqlx::query_as(
                "insert into deliveries (id, tenant_id, event_id, webhook_id, message_id, replay_of, state, due_at,
                     rank, body)
                 select p.successor, d.tenant_id, d.event_id, d.webhook_id, d.message_id, d.id, 'pending', $5,
                     1, coalesce($6, d.body)
                 from unnest($3::uuid[], $4::uuid[]) as p (id, successor) join deliveries d on d.id = p.id
                 where d.id between $1 and $2
                 returning replay_of, id",
            )
            .bind(first)
            .bind(last)
            .bind(ids)
            .bind(successors)
            .bind(act.due_at)
            .bind(body)
        }
        Kind::Inbound => {
            let successors: Vec<Uuid> = ids.iter().map(|_| InboundId::new(act.now).uuid()).collect();
            sqlx::query_as(
                "insert into inbound (id, tenant_id, connector_id, system, state, due_at, received_at, trace, body,
                     replay_of)
                 select p.successor, i.tenant_id, i.connector_id, i.system, 'received', $5, $7, i.trace,
                     coalesce($6, i.body), i.id
                 from unnest($3::uuid[], $4::uuid[]) as p (id, successor) join inbound i on i.id = p.id
                 where i.id between $1 and $2
                 returning replay_of, id",
            )
            .bind(first)
            .bind(last)
            .bind(ids)
            .bind(successors)
            .bind(act.due_at)
            .bind(body)
            .bind(act.now)
        }
    };
    Ok(making.fetch_all(conn).await?)
}

async fn dispose(
    conn: &mut PgConnection,
    letters: &[(Uuid, Option<Uuid>)],
    disposition: Status,
    reason: Option<&str>,
    act: &Act,
) -> Result<(), Error> {
    let (ids, successors): (Vec<Uuid>, Vec<Option<Uuid>>) = letters.iter().copied().unzip();
    sqlx::query(
        "update dead_letters l set disposition = $3, note = $4, disposed_by = $5, disposed_at = $6,
             successor_id = p.successor
         from unnest($1::uuid[], $2::uuid[]) as p (id, successor) where l.id = p.id and l.disposition is null",
    )
    .bind(ids)
    .bind(successors)
    .bind(disposition.as_str())
    .bind(reason)
    .bind(act.actor)
    .bind(act.now)
    .execute(conn)
    .await?;
    Ok(())
}

async fn note(conn: &mut PgConnection, action: &str, object: Uuid, detail: &str, act: &Act) -> Result<(), Error> {
    let entry = Entry { tenant: act.whose, actor: act.actor, action, object, detail: Some(detail) };
    audit::record(conn, &entry, act.now).await
}

async fn first_of(conn: &mut PgConnection, id: Uuid) -> Result<Record, Error> {
    let found = listing::read(conn, &[id]).await?.pop();
    found.ok_or_else(|| inconsistent(id, "a locked letter is gone"))
}

fn kind_of(letter: &Record) -> Result<Kind, Error> {
    Kind::parse(&letter.kind).ok_or_else(|| inconsistent(letter.id, "kind"))
}

fn inconsistent(id: Uuid, what: &'static str) -> Error {
    Error::Inconsistent { table: "dead_letters", row: id.to_string(), what }
}

/// A body as the audit tells it: how long it is, and by what it can be recognised.
fn told(body: &[u8]) -> String {
    format!("{} bytes (sha256 {})", body.len(), hex::encode(Sha256::digest(body)))
}
