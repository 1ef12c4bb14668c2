//! The log of deliveries as people read it: filtered lists, one with its attempts, and test pings.
//!
//! The time at which a delivery was made is read from its id, so a span of time is a span of ids.

use busbar_domain::Timestamp;
use busbar_domain::event::{Label, NewEvent};
use busbar_domain::id::{DeliveryId, TenantId, WebhookId};
use chrono::DateTime;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// Which deliveries of a tenant are listed.
#[derive(Clone, Debug)]
pub struct Filter<'f> {
    /// In this state only.
    pub state: Option<&'f str>,
    /// To this webhook only.
    pub webhook: Option<WebhookId>,
    /// Of events of this type only.
    pub kind: Option<&'f str>,
    /// With ids from this one on.
    pub from: Uuid,
    /// With ids below this one.
    pub before: Uuid,
    /// At most this many.
    pub limit: i64,
}

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

/// Deliveries of `tenant`, newest first.
pub async fn list(
    conn: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter<'_>,
) -> Result<Vec<DeliveryRecord>, Error> {
    // Each webhook's part comes from its own log index, and the parts are merged.
    let listed = sqlx::query_as(
        "select d.* from webhooks w cross join lateral (
             select d.id, d.webhook_id, w.name as webhook_name, d.event_id, e.type as event_type, d.message_id,
                 d.replay_of, d.test, d.state, d.reason, d.attempts, d.last_status, d.last_error, d.due_at,
                 d.finished_at
             from deliveries d join events e on e.id = d.event_id
             where d.webhook_id = w.id and d.id >= $3 and d.id < $4
                 and ($5::text is null or d.state = $5) and ($6::text is null or e.type = $6)
             order by d.id desc limit $7) d
         where w.tenant_id = $1 and ($2::uuid is null or w.id = $2)
         order by d.id desc limit $7",
    )
    .bind(tenant.uuid())
    .bind(filter.webhook.map(WebhookId::uuid))
    .bind(filter.from)
    .bind(filter.before)
    .bind(filter.state)
    .bind(filter.kind)
    .bind(filter.limit)
    .fetch_all(conn);
    Ok(listed.await?)
}

/// The delivery with this id.
pub async fn find(conn: &mut PgConnection, tenant: TenantId, id: DeliveryId) -> Result<Option<DeliveryRecord>, Error> {
    let found = sqlx::query_as(
        "select d.id, d.webhook_id, w.name as webhook_name, d.event_id, e.type as event_type, d.message_id,
             d.replay_of, d.test, d.state, d.reason, d.attempts, d.last_status, d.last_error, d.due_at, d.finished_at
         from deliveries d join events e on e.id = d.event_id join webhooks w on w.id = d.webhook_id
         where d.id = $2 and d.tenant_id = $1",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .fetch_optional(conn);
    Ok(found.await?)
}

/// One attempt as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct AttemptRow {
    /// Counted from 1.
    pub number: i32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: i64,
    /// The response's status, if there was a response.
    pub status: Option<i16>,
    /// The stable word for what went wrong.
    pub error_class: Option<String>,
    /// What went wrong, in a sentence.
    pub error: Option<String>,
    /// The start of the response's body.
    pub response_body: Option<Vec<u8>>,
}

/// The attempts of a delivery, the first one first.
pub async fn attempts(conn: &mut PgConnection, id: DeliveryId) -> Result<Vec<AttemptRow>, Error> {
    let found = sqlx::query_as(
        "select number, started_at, duration_us, status, error_class, error, response_body from attempts
         where delivery_id = $1 order by number",
    )
    .bind(id.uuid())
    .fetch_all(conn);
    Ok(found.await?)
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
        "select d.id, d.webhook_id, w.name as webhook_name, d.event_id, e.type as event_type, d.message_id,
             d.replay_of, d.test, d.state, d.reason, d.attempts, d.last_status, d.last_error, d.due_at, d.finished_at,
             e.payload
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

/// Writes the event of a test ping with its one delivery; the scheduler may wake it from `due_at` on.
pub async fn insert_test(
    conn: &mut PgConnection,
    event: &NewEvent,
    (delivery, webhook): (DeliveryId, WebhookId),
    now: Timestamp,
    due_at: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "with made as (
             insert into events (id, tenant_id, type, subject, project, occurred_at, accepted_at, state, trace,
                 payload)
             values ($1, $2, $3, $4, $5, $6, $7, 'accepted', $8, $9)
         )
         insert into deliveries (id, tenant_id, event_id, webhook_id, message_id, test, state, due_at)
         values ($10, $2, $1, $11, $10, true, 'pending', $12)",
    )
    .bind(event.id.uuid())
    .bind(event.tenant.uuid())
    .bind(event.kind.as_str())
    .bind(event.subject.as_ref().map(Label::as_str))
    .bind(event.project.as_ref().map(Label::as_str))
    .bind(event.occurred_at)
    .bind(now)
    .bind(&event.trace.to_bytes()[..])
    .bind(&event.payload[..])
    .bind(delivery.uuid())
    .bind(webhook.uuid())
    .bind(due_at)
    .execute(conn)
    .await?;
    Ok(())
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
