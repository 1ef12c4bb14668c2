//! One delivery as it is shown, and how rows are read once it is known which.

use busbar_domain::Timestamp;
use busbar_domain::id::{DeliveryId, TenantId, WebhookId};
use busbar_domain::trace::TraceContext;
use chrono::DateTime;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// One delivery as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DeliveryRecord {
    /// Its id.
    pub id: Uuid,
    /// To whom.
    pub webhook_id: Uuid,
    /// The webhook's name.
    pub webhook_name: String,
    /// What is owed.
    pub event_id: Uuid,
    /// The event's type.
    pub event_type: String,
    /// The event's ordering key.
    pub ordering_key: Option<String>,
    /// The `webhook-id` header.
    pub message_id: Uuid,
    /// The delivery that it repeats.
    pub replay_of: Option<Uuid>,
    /// Whether it is a test ping.
    pub test: bool,
    /// Its state.
    pub state: String,
    /// Why it is in that state.
    pub reason: Option<String>,
    /// Attempts made so far.
    pub attempts: i32,
    /// The last response's status.
    pub last_status: Option<i16>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it is due.
    pub due_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl DeliveryRecord {
    /// When it was made.
    pub fn created_at(&self) -> Timestamp {
        made_at(self.id)
    }
}

/// The moment that a UUIDv7 holds, to the microsecond.
fn made_at(id: Uuid) -> Timestamp {
    let bits = id.as_u128();
    let millis = i64::try_from(bits >> 80).unwrap_or(0);
    let fraction = i64::try_from((bits >> 64) & 0xfff).unwrap_or(0);
    DateTime::from_timestamp_micros(millis * 1000 + (fraction * 1000 + 4095) / 4096).unwrap_or_default()
}

/// The deliveries of `tenant` with these ids, newest first.
pub(super) async fn read(
    conn: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
) -> Result<Vec<DeliveryRecord>, Error> {
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    let found = sqlx::query_as(
        "select d.id, d.webhook_id, w.name as webhook_name, d.event_id, e.type as event_type, e.ordering_key,
             d.message_id, d.replay_of, d.test, d.state, d.reason, d.attempts, d.last_status, d.last_error, d.due_at,
             d.finished_at
         from deliveries d join events e on e.id = d.event_id join webhooks w on w.id = d.webhook_id
         where d.id between $2 and $3 and d.id = any($4) and d.tenant_id = $1 order by d.id desc",
    )
    .bind(tenant.uuid())
    .bind(first)
    .bind(last)
    .bind(ids)
    .persistent(false)
    .fetch_all(conn);
    Ok(found.await?)
}

/// One delivery with what its event is found by.
#[derive(Clone, Debug)]
pub struct DeliveryDetail {
    /// As it is listed.
    pub delivery: DeliveryRecord,
    /// What the event happened to.
    pub subject: Option<String>,
    /// Where in which trace the event was made.
    pub trace: Option<TraceContext>,
}

/// The delivery with this id.
pub async fn find(conn: &mut PgConnection, tenant: TenantId, id: DeliveryId) -> Result<Option<DeliveryDetail>, Error> {
    let Some(delivery) = read(conn, tenant, &[id.uuid()]).await?.pop() else { return Ok(None) };
    let event: Option<(Option<String>, Vec<u8>)> = sqlx::query_as("select subject, trace from events where id = $1")
        .bind(delivery.event_id)
        .fetch_optional(conn)
        .await?;
    let (subject, trace) = event.unwrap_or_default();
    Ok(Some(DeliveryDetail { delivery, subject, trace: TraceContext::from_bytes(&trace) }))
}

#[derive(sqlx::FromRow)]
struct WithPayload {
    #[sqlx(flatten)]
    delivery: DeliveryRecord,
    payload: Vec<u8>,
}

/// The latest deliveries to one webhook with their events' payloads, newest first.
pub async fn latest(
    conn: &mut PgConnection,
    webhook: WebhookId,
    limit: i64,
) -> Result<Vec<(DeliveryRecord, Vec<u8>)>, Error> {
    let rows: Vec<WithPayload> = sqlx::query_as(
        "select d.id, d.webhook_id, w.name as webhook_name, d.event_id, e.type as event_type, e.ordering_key,
             d.message_id, d.replay_of, d.test, d.state, d.reason, d.attempts, d.last_status, d.last_error, d.due_at,
             d.finished_at, e.payload
         from (select * from deliveries where webhook_id = $1 order by id desc limit $2) d
         join events e on e.id = d.event_id join webhooks w on w.id = d.webhook_id
         order by d.id desc",
    )
    .bind(webhook.uuid())
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.delivery, row.payload)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_it_was_made() {
        for micros in [1_700_000_000_000_000, 1_700_000_000_123_456, 1_700_000_000_999_999] {
            let at = DateTime::from_timestamp_micros(micros).unwrap();
            assert_eq!(made_at(DeliveryId::new(at).uuid()), at);
        }
    }
}
