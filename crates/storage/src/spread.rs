//! Wide fan-outs: an event that is owed to more webhooks than one transaction should write is spread in chunks.

use busbar_domain::Timestamp;
use busbar_domain::event::{EventType, Label};
use busbar_domain::filter::Facts;
use busbar_domain::id::{DeliveryId, EventId, TenantId, WebhookId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;
use crate::order::{self, Counts};

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
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// The last webhook that has its delivery; chunks go in order of webhook ids.
    pub after: Option<WebhookId>,
    subject: Option<String>,
    occurred_at: Timestamp,
    payload: Vec<u8>,
}

impl Spreading {
    /// What filters see of it.
    pub fn facts(&self) -> Facts {
        Facts::new(
            self.kind.as_str(),
            self.subject.as_deref(),
            self.project.as_ref().map(Label::as_str),
            self.ordering_key.as_deref(),
            self.occurred_at,
            &self.payload,
        )
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    r#type: String,
    project: Option<String>,
    spread_after: Option<Uuid>,
    ordering_key: Option<String>,
    subject: Option<String>,
    occurred_at: Timestamp,
    payload: Vec<u8>,
}

/// Locks the event if its fan-out is not finished and nobody else is at it.
pub async fn lock(conn: &mut PgConnection, id: Uuid) -> Result<Option<Spreading>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "select id, tenant_id, type, project, spread_after, ordering_key, subject, occurred_at, payload from events
         where id = $1 and state = 'spreading' for update skip locked",
    )
    .bind(id)
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let broken = |what| Error::Inconsistent { table: "events", row: row.id.to_string(), what };
        Ok(Spreading {
            id: row.id.into(),
            tenant: row.tenant_id.into(),
            kind: EventType::parse(&row.r#type).map_err(|_| broken("type"))?,
            project: row.project.map(Label::parse).transpose().map_err(|_| broken("project"))?,
            ordering_key: row.ordering_key,
            after: row.spread_after.map(WebhookId::from),
            subject: row.subject,
            occurred_at: row.occurred_at,
            payload: row.payload,
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
    let key = event.ordering_key.as_deref();
    let wanted: Counts<'_> = key.into_iter().flat_map(|key| webhooks.iter().map(move |id| ((*id, key), 1))).collect();
    let mut standings = order::take(conn, &wanted, now).await?;
    let (seqs, waits): (Vec<Option<i64>>, Vec<bool>) = webhooks
        .iter()
        .map(|webhook| key.and_then(|key| standings.next(*webhook, key)))
        .map(|standing| (standing.map(|standing| standing.seq), standing.is_some_and(|standing| standing.waits)))
        .unzip();
    sqlx::query(
        "with owed as (
             insert into deliveries (id, tenant_id, event_id, webhook_id, message_id, state, reason, due_at,
                 ordering_key, seq)
             select d.id, $2, $1, d.webhook_id, d.id, case when d.waits then 'held' else 'pending' end,
                 case when d.waits then 'order' end, $5, $11, d.seq
             from unnest($3::uuid[], $4::uuid[], $9::int8[], $10::bool[]) as d (id, webhook_id, seq, waits)
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
    .bind(seqs)
    .bind(waits)
    .bind(key)
    .execute(conn)
    .await?;
    Ok(())
}
