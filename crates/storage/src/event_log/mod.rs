//! The log of events as people read it: a tenant's events newest first, and one with what it owes.

use busbar_domain::Timestamp;
use busbar_domain::id::{EventId, InboundId, TenantId};
use busbar_domain::trace::TraceContext;
use sqlx::PgConnection;
use uuid::Uuid;

mod owed;

pub use owed::{Made, Owed, owed};

use crate::Error;

/// Which events of a tenant are listed.
#[derive(Clone, Debug)]
pub struct Filter<'f> {
    /// Of this type only.
    pub kind: Option<&'f str>,
    /// With this subject only.
    pub subject: Option<&'f str>,
    /// With ids below this one.
    pub before: Uuid,
    /// At most this many.
    pub limit: i64,
}

/// One event as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct EventRecord {
    /// Its id.
    pub id: Uuid,
    /// What happened.
    #[sqlx(rename = "type")]
    pub kind: String,
    /// What it happened to.
    pub subject: Option<String>,
    /// The project it belongs to.
    pub project: Option<String>,
    /// What its deliveries stay in order by.
    pub ordering_key: Option<String>,
    /// When it happened, as its producer says.
    pub occurred_at: Timestamp,
    /// When the hub took it.
    pub accepted_at: Timestamp,
    /// `accepted`, or `spreading` while a wide fan-out is being written.
    pub state: String,
}

/// One event with its payload.
#[derive(Clone, Debug)]
pub struct EventDetail {
    /// As it is listed.
    pub event: EventRecord,
    /// The call it came from.
    pub inbound: Option<InboundId>,
    /// Where in which trace it was made.
    pub trace: Option<TraceContext>,
    /// Compact JSON.
    pub payload: Vec<u8>,
    /// How often what led to it has left the hub and come back.
    pub hops: i16,
    /// When the last chunk of its fan-out was written, if that was wider than one transaction.
    pub spread_at: Option<Timestamp>,
}

impl EventDetail {
    /// When its deliveries were made.
    pub fn made(&self) -> Made {
        Made { id: self.event.id.into(), accepted_at: self.event.accepted_at, spread_at: self.spread_at }
    }
}

/// Events of `tenant`, newest first.
pub async fn list(conn: &mut PgConnection, tenant: TenantId, filter: &Filter<'_>) -> Result<Vec<EventRecord>, Error> {
    let listed = sqlx::query_as(
        "select id, type, subject, project, ordering_key, occurred_at, accepted_at, state from events
         where tenant_id = $1 and id < $2 and ($3::text is null or type = $3) and ($4::text is null or subject = $4)
         order by id desc limit $5",
    )
    .bind(tenant.uuid())
    .bind(filter.before)
    .bind(filter.kind)
    .bind(filter.subject)
    .bind(filter.limit)
    .fetch_all(conn);
    Ok(listed.await?)
}

#[derive(sqlx::FromRow)]
struct DetailRow {
    #[sqlx(flatten)]
    event: EventRecord,
    inbound_id: Option<Uuid>,
    trace: Vec<u8>,
    payload: Vec<u8>,
    hops: i16,
    spread_at: Option<Timestamp>,
}

/// The event with this id.
pub async fn find(conn: &mut PgConnection, tenant: TenantId, id: EventId) -> Result<Option<EventDetail>, Error> {
    let row: Option<DetailRow> = sqlx::query_as(
        "select id, type, subject, project, ordering_key, occurred_at, accepted_at, state, inbound_id, trace, payload,
             hops, case when spread_after is not null then due_at end as spread_at
         from events where tenant_id = $1 and id = $2",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| EventDetail {
        event: row.event,
        inbound: row.inbound_id.map(InboundId::from),
        trace: TraceContext::from_bytes(&row.trace),
        payload: row.payload,
        hops: row.hops,
        spread_at: row.spread_at,
    }))
}

/// Events of `tenant` that were made of one call, the first one first, at most `limit`.
pub async fn of_call(
    conn: &mut PgConnection,
    tenant: TenantId,
    call: InboundId,
    limit: i64,
) -> Result<Vec<(EventRecord, Made)>, Error> {
    let rows: Vec<MadeRow> = sqlx::query_as(
        "select id, type, subject, project, ordering_key, occurred_at, accepted_at, state,
             case when spread_after is not null then due_at end as spread_at
         from events where inbound_id = $2 and tenant_id = $1 order by id limit $3",
    )
    .bind(tenant.uuid())
    .bind(call.uuid())
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(MadeRow::split).collect())
}

#[derive(sqlx::FromRow)]
struct MadeRow {
    #[sqlx(flatten)]
    event: EventRecord,
    spread_at: Option<Timestamp>,
}

impl MadeRow {
    fn split(self) -> (EventRecord, Made) {
        let Self { event, spread_at } = self;
        let made = Made { id: event.id.into(), accepted_at: event.accepted_at, spread_at };
        (event, made)
    }
}
