//! What an owner does with one delivery: owes it once more, or calls it off. Each is one transaction with its row in
//! the audit.

use busbar_domain::Timestamp;
use busbar_domain::id::{DeliveryId, TenantId};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::audit::{self, Entry};
use crate::{Error, order};

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such delivery, or its event is kept no longer.
    NotFound,
    /// It has not ended, so it need not be repeated.
    Open,
    /// It has ended, so it cannot be called off.
    Ended,
    /// Its webhook was deleted.
    WebhookDeleted,
}

/// Who acts on one delivery, and when.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// Whose delivery it is.
    pub tenant: TenantId,
    /// The key that is used; the nil id for the operator's key of the settings.
    pub actor: Uuid,
    /// The present.
    pub now: Timestamp,
    /// When the scheduler may wake what is made.
    pub due_at: Timestamp,
}

/// Owes an ended delivery once more, under its message id and with its body; answers the new one, to be woken.
///
/// The new one stands in no order and goes behind what is live.
pub async fn replay(conn: &mut PgConnection, id: DeliveryId, act: &Act) -> Result<Result<DeliveryId, Refusal>, Error> {
    let made = DeliveryId::new(act.now);
    let mut tx = conn.begin().await?;
    let original: Option<(String, bool, Option<Uuid>)> = sqlx::query_as(REPLAY)
        .bind(act.tenant.uuid())
        .bind(id.uuid())
        .bind(made.uuid())
        .bind(act.due_at)
        .fetch_optional(&mut *tx)
        .await?;
    match original {
        None => return Ok(Err(Refusal::NotFound)),
        Some((_, _, Some(_))) => {}
        Some((_, true, None)) => return Ok(Err(Refusal::WebhookDeleted)),
        Some((_, false, None)) => return Ok(Err(Refusal::Open)),
    }
    note(&mut tx, "delivery.replayed", id, Some(&format!("as {made}")), act).await?;
    tx.commit().await?;
    Ok(Ok(made))
}

const REPLAY: &str = "
with original as materialized (
    select d.id, d.tenant_id, d.event_id, d.webhook_id, d.message_id, d.test, d.state, d.body,
        w.deleted_at is not null as is_deleted
    from deliveries d join webhooks w on w.id = d.webhook_id join events e on e.id = d.event_id
    where d.id = $2 and d.tenant_id = $1 for share of w
), made as (
    insert into deliveries (id, tenant_id, event_id, webhook_id, message_id, replay_of, test, state, due_at, rank, body)
    select $3, o.tenant_id, o.event_id, o.webhook_id, o.message_id, o.id, o.test, 'pending', $4, 1, o.body
    from original o where o.state in ('succeeded', 'dead', 'cancelled') and not o.is_deleted
    returning id
)
select o.state, o.is_deleted, (select id from made) from original o";

/// Calls off a delivery that has not ended; answers what stood behind it in its order and goes out now, to be woken.
///
/// An attempt that is under way is not stopped, but its result is not written any more.
pub async fn cancel(conn: &mut PgConnection, id: DeliveryId, act: &Act) -> Result<Result<Vec<Uuid>, Refusal>, Error> {
    let mut tx = conn.begin().await?;
    let exists: bool = sqlx::query_scalar("select exists (select from deliveries where id = $2 and tenant_id = $1)")
        .bind(act.tenant.uuid())
        .bind(id.uuid())
        .fetch_one(&mut *tx)
        .await?;
    if !exists {
        return Ok(Err(Refusal::NotFound));
    }
    order::lock(&mut tx, &[id.uuid()]).await?;
    let cancelled = sqlx::query(
        "update deliveries set state = 'cancelled', reason = 'cancelled_by_owner', claim_no = claim_no + 1,
             lease_until = null, crashes = 0, due_at = $3, finished_at = $3
         where id = $2 and tenant_id = $1 and state in ('pending', 'retrying', 'held')",
    )
    .bind(act.tenant.uuid())
    .bind(id.uuid())
    .bind(act.now)
    .execute(&mut *tx)
    .await?;
    if cancelled.rows_affected() == 0 {
        return Ok(Err(Refusal::Ended));
    }
    let released = order::release_after(&mut tx, &[id.uuid()], act.now).await?;
    note(&mut tx, "delivery.cancelled", id, None, act).await?;
    tx.commit().await?;
    Ok(Ok(released))
}

async fn note(
    conn: &mut PgConnection,
    action: &str,
    id: DeliveryId,
    detail: Option<&str>,
    act: &Act,
) -> Result<(), Error> {
    let entry = Entry { tenant: Some(act.tenant), actor: act.actor, action, object: id.uuid(), detail };
    audit::record(conn, &entry, act.now).await
}
