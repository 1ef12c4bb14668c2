//! The desk as people read it: letters newest first, letters grouped by cause, one with what would be sent.

use busbar_domain::Timestamp;
use busbar_domain::dialect::Dialect;
use busbar_domain::id::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;
use crate::dead_letters::Kind;

/// The most groups of one answer.
pub const MOST_GROUPS: i64 = 200;

/// What became of a letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Nothing yet.
    #[default]
    Open,
    /// It was tried once more.
    Resubmitted,
    /// Somebody decided that it need not be.
    Discarded,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Open, Self::Resubmitted, Self::Discarded];

    /// The status's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resubmitted => "resubmitted",
            Self::Discarded => "discarded",
        }
    }

    /// Reads a status's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// Which letters are listed.
#[derive(Clone, Debug)]
pub struct Filter<'f> {
    /// What became of them.
    pub status: Status,
    /// Of this kind only.
    pub kind: Option<Kind>,
    /// Of this webhook or connector only.
    pub source: Option<Uuid>,
    /// Of this cause only.
    pub fingerprint: Option<&'f str>,
    /// With ids below this one.
    pub before: Uuid,
    /// At most this many.
    pub limit: i64,
}

/// One letter as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Record {
    /// The delivery's or call's id; one of its own for a wake-up.
    pub id: Uuid,
    /// Whose it is; nobody's but the platform operator's for a wake-up.
    pub tenant_id: Option<Uuid>,
    /// `delivery`, `inbound` or `wakeup`.
    pub kind: String,
    /// The webhook or connector.
    pub source_id: Option<Uuid>,
    /// The event's type, the call's system, or the queue.
    pub label: String,
    /// What was owed, as long as the delivery is kept.
    pub event_id: Option<Uuid>,
    /// Why it was given up.
    pub reason: String,
    /// The stable word for what went wrong last.
    pub error_class: Option<String>,
    /// The last response's status.
    pub status: Option<i16>,
    /// What went wrong last, in a sentence.
    pub error: Option<String>,
    /// Equal for letters of the same cause.
    pub fingerprint: String,
    /// When it was given up.
    pub died_at: Timestamp,
    /// `resubmitted` or `discarded`; nothing while it is open.
    pub disposition: Option<String>,
    /// When that was done.
    pub disposed_at: Option<Timestamp>,
    /// The key that did it; the nil id for the operator's key of the settings.
    pub disposed_by: Option<Uuid>,
    /// Why it was discarded.
    pub note: Option<String>,
    /// What a resubmission made.
    pub successor_id: Option<Uuid>,
}

/// Letters of `whose`, newest first; without a tenant, those that are the platform operator's own.
pub async fn list(conn: &mut PgConnection, whose: Option<TenantId>, filter: &Filter<'_>) -> Result<Vec<Record>, Error> {
    let ids = match whose {
        Some(tenant) => ids_of_tenant(conn, tenant, filter).await?,
        None => ids_of_platform(conn, filter).await?,
    };
    read(conn, &ids).await
}

/// The letter with this id, if it is `whose`.
pub async fn find(conn: &mut PgConnection, whose: Option<TenantId>, id: Uuid) -> Result<Option<Record>, Error> {
    let found = read(conn, &[id]).await?.pop();
    Ok(found.filter(|letter| letter.tenant_id == whose.map(TenantId::uuid)))
}

// What is open, and of which cause, stand in the statements as they do in the indexes.
async fn ids_of_tenant(conn: &mut PgConnection, tenant: TenantId, filter: &Filter<'_>) -> Result<Vec<Uuid>, Error> {
    let listing = match (filter.status, filter.fingerprint) {
        (Status::Open, Some(fingerprint)) => sqlx::query_scalar(
            "select id from dead_letters
             where tenant_id = $1 and id < $2 and ($3::text is null or kind = $3)
                 and ($4::uuid is null or source_id = $4) and disposition is null and fingerprint = $6
             order by id desc limit $5",
        )
        .bind(tenant.uuid())
        .bind(filter.before)
        .bind(filter.kind.map(Kind::as_str))
        .bind(filter.source)
        .bind(filter.limit)
        .bind(fingerprint),
        (Status::Open, None) => sqlx::query_scalar(
            "select id from dead_letters
             where tenant_id = $1 and id < $2 and ($3::text is null or kind = $3)
                 and ($4::uuid is null or source_id = $4) and disposition is null
             order by id desc limit $5",
        )
        .bind(tenant.uuid())
        .bind(filter.before)
        .bind(filter.kind.map(Kind::as_str))
        .bind(filter.source)
        .bind(filter.limit),
        (Status::Resubmitted | Status::Discarded, fingerprint) => sqlx::query_scalar(
            "select id from dead_letters
             where tenant_id = $1 and id < $2 and ($3::text is null or kind = $3)
                 and ($4::uuid is null or source_id = $4) and disposition = $6
                 and ($7::text is null or fingerprint = $7)
             order by id desc limit $5",
        )
        .bind(tenant.uuid())
        .bind(filter.before)
        .bind(filter.kind.map(Kind::as_str))
        .bind(filter.source)
        .bind(filter.limit)
        .bind(filter.status.as_str())
        .bind(fingerprint),
    };
    Ok(listing.fetch_all(conn).await?)
}

async fn ids_of_platform(conn: &mut PgConnection, filter: &Filter<'_>) -> Result<Vec<Uuid>, Error> {
    let listed = sqlx::query_scalar(
        "select id from dead_letters
         where tenant_id is null and id < $1 and coalesce(disposition, 'open') = $2
             and ($3::text is null or kind = $3) and ($4::uuid is null or source_id = $4)
             and ($5::text is null or fingerprint = $5)
         order by id desc limit $6",
    )
    .bind(filter.before)
    .bind(filter.status.as_str())
    .bind(filter.kind.map(Kind::as_str))
    .bind(filter.source)
    .bind(filter.fingerprint)
    .bind(filter.limit)
    .fetch_all(conn);
    Ok(listed.await?)
}

/// The letters with these ids, newest first.
pub(super) async fn read(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Record>, Error> {
    let read = sqlx::query_as(
        "select l.id, l.tenant_id, l.kind, l.source_id, l.label, d.event_id, l.reason, l.error_class, l.status,
             l.error, l.fingerprint, l.died_at, l.disposition, l.disposed_at, l.disposed_by, l.note, l.successor_id
         from dead_letters l left join deliveries d on d.id = l.id and l.kind = 'delivery'
         where l.id = any($1) order by l.id desc",
    )
    .bind(ids)
    .fetch_all(conn);
    Ok(read.await?)
}

/// Open letters that died of the same cause.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Cause {
    /// What they have in common.
    pub fingerprint: String,
    /// How many there are.
    pub count: i64,
    /// `delivery`, `inbound` or `wakeup`.
    pub kind: String,
    /// The webhook or connector.
    pub source_id: Option<Uuid>,
    /// Of the newest: the event's type, the call's system, or the queue.
    pub label: String,
    /// Why they were given up.
    pub reason: String,
    /// The stable word for what went wrong last.
    pub error_class: Option<String>,
    /// The last response's status.
    pub status: Option<i16>,
    /// What went wrong last with the newest, in a sentence.
    pub error: Option<String>,
    /// When the first of them was given up.
    pub first_died_at: Timestamp,
    /// When the last of them was given up.
    pub last_died_at: Timestamp,
    /// Up to five of them, the newest first.
    pub sample_ids: Vec<Uuid>,
}

/// The open letters of `whose` by cause, the most frequent first, at most [`MOST_GROUPS`].
pub async fn groups(
    conn: &mut PgConnection,
    whose: Option<TenantId>,
    kind: Option<Kind>,
    source: Option<Uuid>,
) -> Result<Vec<Cause>, Error> {
    let grouping = match whose {
        Some(tenant) => sqlx::query_as(
            "with causes as materialized (
                 select fingerprint, count(*) as count, min(died_at) as first_died_at, max(died_at) as last_died_at
                 from dead_letters
                 where tenant_id = $4 and disposition is null and ($1::text is null or kind = $1)
                     and ($2::uuid is null or source_id = $2)
                 group by fingerprint order by count desc, fingerprint limit $3
             )
             select c.fingerprint, c.count, l.kind, l.source_id, l.label, l.reason, l.error_class, l.status, l.error,
                 c.first_died_at, c.last_died_at, array(
                     select s.id from dead_letters s
                     where s.tenant_id = $4 and s.disposition is null and s.fingerprint = c.fingerprint
                     order by s.id desc limit 5) as sample_ids
             from causes c cross join lateral (
                 select * from dead_letters n
                 where n.tenant_id = $4 and n.disposition is null and n.fingerprint = c.fingerprint
                 order by n.id desc limit 1) l
             order by c.count desc, c.fingerprint",
        )
        .bind(kind.map(Kind::as_str))
        .bind(source)
        .bind(MOST_GROUPS)
        .bind(tenant.uuid()),
        None => sqlx::query_as(
            "with causes as materialized (
                 select fingerprint, count(*) as count, min(died_at) as first_died_at, max(died_at) as last_died_at
                 from dead_letters
                 where tenant_id is null and disposition is null and ($1::text is null or kind = $1)
                     and ($2::uuid is null or source_id = $2)
                 group by fingerprint order by count desc, fingerprint limit $3
             )
             select c.fingerprint, c.count, l.kind, l.source_id, l.label, l.reason, l.error_class, l.status, l.error,
                 c.first_died_at, c.last_died_at, array(
                     select s.id from dead_letters s
                     where s.tenant_id is null and s.disposition is null and s.fingerprint = c.fingerprint
                     order by s.id desc limit 5) as sample_ids
             from causes c cross join lateral (
                 select * from dead_letters n
                 where n.tenant_id is null and n.disposition is null and n.fingerprint = c.fingerprint
                 order by n.id desc limit 1) l
             order by c.count desc, c.fingerprint",
        )
        .bind(kind.map(Kind::as_str))
        .bind(source)
        .bind(MOST_GROUPS),
    };
    Ok(grouping.fetch_all(conn).await?)
}

type Owed = (Option<Vec<u8>>, String, String, Timestamp, Vec<u8>);

/// What a resubmission of the letter would send or process, or the message that could not be read; nothing where the
/// row that the letter is about is kept no longer.
pub async fn payload(conn: &mut PgConnection, id: Uuid, kind: Kind) -> Result<Option<Vec<u8>>, Error> {
    match kind {
        Kind::Delivery => owed_body(conn, id).await,
        Kind::Inbound => {
            let body = sqlx::query_scalar("select body from inbound where id = $1").bind(id).fetch_optional(conn);
            Ok(body.await?)
        }
        Kind::Wakeup => {
            let message = sqlx::query_scalar("select message from dead_letters where id = $1").bind(id);
            Ok(message.fetch_optional(conn).await?.flatten())
        }
    }
}

async fn owed_body(conn: &mut PgConnection, id: Uuid) -> Result<Option<Vec<u8>>, Error> {
    let owed: Option<Owed> = sqlx::query_as(
        "select d.body, w.dialect, e.type, e.occurred_at, e.payload
         from deliveries d join events e on e.id = d.event_id join webhooks w on w.id = d.webhook_id
         where d.id = $1",
    )
    .bind(id)
    .fetch_optional(conn)
    .await?;
    let Some((edited, dialect, kind, occurred_at, payload)) = owed else { return Ok(None) };
    if edited.is_some() {
        return Ok(edited);
    }
    let dialect = Dialect::parse(&dialect).ok_or_else(|| Error::Inconsistent {
        table: "webhooks",
        row: id.to_string(),
        what: "the dialect of a dead delivery's webhook",
    })?;
    Ok(Some(dialect.body(&kind, occurred_at, &payload)))
}
