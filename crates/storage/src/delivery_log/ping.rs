//! Test pings: an event of sample data that is owed to one webhook only.

use busbar_domain::Timestamp;
use busbar_domain::event::{Label, NewEvent};
use busbar_domain::id::{DeliveryId, WebhookId};
use sqlx::PgConnection;

use crate::Error;

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
