//! The log of calls as people read it: filtered lists, one with its body; and their replay.

mod replay;

pub use replay::{Act, Refusal, Replayed, replay};

use busbar_domain::Timestamp;
use busbar_domain::id::{ConnectorId, InboundId, TenantId};
use busbar_domain::inbound::{Answer, System};
use busbar_domain::trace::TraceContext;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::Error;
use crate::page::{Page, Steps, forbid_sorting};

/// The most rows that one page looks at.
const MOST_SCANNED: usize = 5000;
/// How many rows are looked at first.
const FIRST: usize = 250;
/// How many bytes of a body are shown.
pub const SHOWN: i32 = 64 * 1024;

/// Which calls of a tenant are listed.
#[derive(Clone, Debug)]
pub struct Filter<'f> {
    /// In this state only.
    pub state: Option<&'f str>,
    /// Of this connector only.
    pub connector: Option<ConnectorId>,
    /// Of this system only.
    pub system: Option<System>,
    /// With ids from this one on.
    pub from: Uuid,
    /// With ids below this one.
    pub before: Uuid,
    /// At most this many.
    pub limit: usize,
}

impl Filter<'_> {
    fn fits(&self, call: &CallRecord) -> bool {
        self.state.is_none_or(|state| call.state == state)
            && self.connector.is_none_or(|connector| call.connector_id == connector.uuid())
            && self.system.is_none_or(|system| call.system == system.as_str())
    }

    const fn is_bare(&self) -> bool {
        self.state.is_none() && self.connector.is_none() && self.system.is_none()
    }
}

/// One call as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct CallRecord {
    /// Its id.
    pub id: Uuid,
    /// The connector that was called.
    pub connector_id: Uuid,
    /// The connector's name.
    pub connector_name: String,
    /// The connector's system.
    pub system: String,
    /// Its state.
    pub state: String,
    /// Why it failed or was given up.
    pub reason: Option<String>,
    /// How often its processing has failed.
    pub failures: i16,
    /// When it was received.
    pub received_at: Timestamp,
    /// When it is due.
    pub due_at: Timestamp,
    /// When it was processed or given up.
    pub finished_at: Option<Timestamp>,
    /// The call that it repeats.
    pub replay_of: Option<Uuid>,
}

/// One page of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The calls, newest first; fewer than asked for where the rows that were looked at hold no more.
    pub rows: Vec<CallRecord>,
    /// What the next page goes before; none after the last one.
    pub next: Option<Uuid>,
}

/// Calls of `tenant`, newest first. What it costs is bounded, whatever the filter and however long the log.
pub async fn list(conn: &mut PgConnection, tenant: TenantId, filter: &Filter<'_>) -> Result<Listed, Error> {
    let mut tx = conn.begin().await?;
    forbid_sorting(&mut tx).await?;
    let mut page = Page::new(filter.limit);
    let mut before = filter.before;
    let mut is_end = false;
    for step in Steps::new(if filter.is_bare() { filter.limit + 1 } else { FIRST }, MOST_SCANNED) {
        let rows = scan(&mut tx, tenant, (filter.from, before), step).await?;
        is_end = rows.len() < step;
        before = rows.last().map_or(before, |call| call.id);
        let is_full = page.take(rows.into_iter().filter(|call| filter.fits(call)), |call| call.id);
        is_end |= is_full;
        if is_end {
            break;
        }
    }
    tx.commit().await?;
    let next = if is_end { page.next } else { Some(before) };
    Ok(Listed { rows: page.rows, next })
}

async fn scan(
    conn: &mut PgConnection,
    tenant: TenantId,
    (from, before): (Uuid, Uuid),
    limit: usize,
) -> Result<Vec<CallRecord>, Error> {
    let found = sqlx::query_as(
        "select i.id, i.connector_id, c.name as connector_name, i.system, i.state, i.reason, i.failures,
             i.received_at, i.due_at, i.finished_at, i.replay_of
         from (select * from inbound
               where (tenant_id, id) >= ($1, $2) and (tenant_id, id) < ($1, $3) and id >= $2 and id < $3
               order by tenant_id desc, id desc limit $4) i
         join connectors c on c.id = i.connector_id
         order by i.tenant_id desc, i.id desc",
    )
    .bind(tenant.uuid())
    .bind(from)
    .bind(before)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .persistent(false)
    .fetch_all(conn);
    Ok(found.await?)
}

/// One call with its body.
#[derive(Clone, Debug)]
pub struct CallDetail {
    /// As it is listed.
    pub call: CallRecord,
    /// Where in which trace it was received.
    pub trace: Option<TraceContext>,
    /// The start of its body, at most [`SHOWN`] bytes.
    pub body: Vec<u8>,
    /// How long the whole body is.
    pub length: i32,
    /// The calls that repeat it, the first one first.
    pub replayed_as: Vec<Uuid>,
    /// What its caller was told, where the processing makes the answer.
    pub answer: Option<Answer>,
}

#[derive(sqlx::FromRow)]
struct DetailRow {
    #[sqlx(flatten)]
    call: CallRecord,
    trace: Vec<u8>,
    body: Vec<u8>,
    length: i32,
    replayed_as: Vec<Uuid>,
    answer_status: Option<i16>,
    answer: Option<Vec<u8>>,
}

/// The call with this id.
pub async fn find(conn: &mut PgConnection, tenant: TenantId, id: InboundId) -> Result<Option<CallDetail>, Error> {
    let row: Option<DetailRow> = sqlx::query_as(
        "select i.id, i.connector_id, c.name as connector_name, i.system, i.state, i.reason, i.failures,
             i.received_at, i.due_at, i.finished_at, i.replay_of, i.trace, substring(i.body from 1 for $3) as body,
             octet_length(i.body) as length,
             array(select r.id from inbound r where r.replay_of = i.id order by r.id limit 100) as replayed_as,
             i.answer_status, i.answer
         from inbound i join connectors c on c.id = i.connector_id where i.id = $2 and i.tenant_id = $1",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .bind(SHOWN)
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| CallDetail {
        call: row.call,
        trace: TraceContext::from_bytes(&row.trace),
        body: row.body,
        length: row.length,
        replayed_as: row.replayed_as,
        answer: row
            .answer_status
            .zip(row.answer)
            .map(|(status, body)| Answer { status: status.unsigned_abs(), body: body.into() }),
    }))
}
