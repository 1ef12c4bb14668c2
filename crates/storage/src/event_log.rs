//! The log of events as people read it: a tenant's events newest first, and one with what it owes.

use busbar_domain::Timestamp;
use busbar_domain::id::{DeliveryId, EventId, InboundId, TenantId, WebhookId};
use busbar_domain::trace::TraceContext;
use sqlx::PgConnection;
use uuid::Uuid;

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
    /// The producer's ordering key, kept with the event; deliveries are not ordered by it.
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
    /// Whether its fan-out was wider than one transaction.
    pub spread: bool,
}

/// One delivery that an event owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The delivery.
    pub id: DeliveryId,
    /// To whom.
    pub webhook: WebhookId,
    /// Its state.
    pub state: String,
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
    spread: bool,
}

/// The event with this id.
pub async fn find(conn: &mut PgConnection, tenant: TenantId, id: EventId) -> Result<Option<EventDetail>, Error> {
    let row: Option<DetailRow> = sqlx::query_as(
        "select id, type, subject, project, ordering_key, occurred_at, accepted_at, state, inbound_id, trace, payload,
             spread_after is not null as spread
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
        spread: row.spread,
    }))
}

/// The deliveries that `event` owes and that were made between two ids, at most `limit`.
///
/// Deliveries have no index by event; those of one event are made within moments, so the ids bound the search.
pub async fn owed(
    conn: &mut PgConnection,
    tenant: TenantId,
    event: EventId,
    (from, to): (Uuid, Uuid),
    limit: i64,
) -> Result<Vec<Owed>, Error> {
    let rows: Vec<(Uuid, Uuid, String)> = sqlx::query_as(
        "select d.id, d.webhook_id, d.state from webhooks w
         join deliveries d on d.webhook_id = w.id and d.id >= $3 and d.id < $4 and d.event_id = $2
         where w.tenant_id = $1 order by d.id limit $5",
    )
    .bind(tenant.uuid())
    .bind(event.uuid())
    .bind(from)
    .bind(to)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|(id, webhook, state)| Owed { id: id.into(), webhook: webhook.into(), state }).collect())
}
