//! Wide fan-outs: an event that is owed to more webhooks than one transaction should write is spread in chunks.

use busbar_domain::Timestamp;
use busbar_domain::event::{EventType, Label};
use busbar_domain::id::{DeliveryId, EventId, TenantId, WebhookId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// An event whose fan-out this transaction has locked.
#[derive(Clone, Debug)]
pub struct Spreading {
    /// The event.
    pub id: EventId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its type.
    pub kind: EventType,
    /// Its project.
    pub project: Option<Label>,
    /// The last webhook that has its delivery; chunks go in order of webhook ids.
    pub after: Option<WebhookId>,
}

type SpreadingRow = (Uuid, Uuid, String, Option<String>, Option<Uuid>);

/// Locks the event if its fan-out is not finished and nobody else is at it.
pub async fn lock(conn: &mut PgConnection, id: Uuid) -> Result<Option<Spreading>, Error> {
    let row: Option<SpreadingRow> = sqlx::query_as(
        "select id, tenant_id, type, project, spread_after from events
         where id = $1 and state = 'spreading' for update skip locked",
    )
    .bind(id)
    .fetch_optional(conn)
    .await?;
    row.map(|(id, tenant, kind, project, after)| {
        let broken = |what| Error::Inconsistent { table: "events", row: id.to_string(), what };
        Ok(Spreading {
            id: id.into(),
            tenant: tenant.into(),
            kind: EventType::parse(&kind).map_err(|_| broken("type"))?,
            project: project.map(Label::parse).transpose().map_err(|_| broken("project"))?,
            after: after.map(WebhookId::from),
        })
    })
    .transpose()
}

/// Writes one chunk of deliveries and how far the fan-out has come; `done` when this was the last chunk.
pub async fn advance(
    conn: &mut PgConnection,
    event: &Spreading,
    owed: &[(DeliveryId, WebhookId)],
    done: bool,
    now: Timestamp,
    due_at: Timestamp,
) -> Result<(), Error> {
    let (ids, webhooks): (Vec<Uuid>, Vec<Uuid>) =
        owed.iter().map(|(delivery, webhook)| (delivery.uuid(), webhook.uuid())).unzip();
    sqlx::query(
        "with owed as (
             insert into deliveries (id, tenant_id, event_id, webhook_id, message_id, state, due_at)
             select d.id, $2, $1, d.webhook_id, d.id, 'pending', $5
             from unnest($3::uuid[], $4::uuid[]) as d (id, webhook_id)
         )
         update events set spread_after = coalesce($6, spread_after), due_at = $7,
             state = case when $8 then 'accepted' else state end
         where id = $1",
    )
    .bind(event.id.uuid())
    .bind(event.tenant.uuid())
    .bind(ids)
    .bind(webhooks)
    .bind(due_at)
    .bind(owed.iter().map(|(_, webhook)| webhook.uuid()).max())
    .bind(now)
    .bind(done)
    .execute(conn)
    .await?;
    Ok(())
}
