//! The ways into the log: each reads one index newest first, for at most as many rows as it is told.
//!
//! Their order begins with the tenant or the webhook, bounded as a row and not as an equality, so that no other index
//! can give it; and no plan may sort, so that none reads more rows than are wanted, whatever the statistics say.

use busbar_domain::id::{TenantId, WebhookId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// Where a scan begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Everything of the tenant.
    Tenant,
    /// Everything to one webhook.
    Webhook(WebhookId),
    /// What is not as it should be.
    Trouble(Trouble),
    /// What is pending, all of it or nothing: the index does not tell what is newest.
    Pending,
}

/// The states that have an index of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Retrying,
    Held,
    Dead,
    Cancelled,
}

impl Trouble {
    pub(super) fn parse(state: &str) -> Option<Self> {
        match state {
            "retrying" => Some(Self::Retrying),
            "held" => Some(Self::Held),
            "dead" => Some(Self::Dead),
            "cancelled" => Some(Self::Cancelled),
            _ => None,
        }
    }
}

/// A delivery as filters see it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Scanned {
    pub(super) id: Uuid,
    pub(super) webhook_id: Uuid,
    pub(super) event_id: Uuid,
    pub(super) state: String,
}

/// Which part of a way is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// From this id on.
    pub(super) from: Uuid,
    /// Below this one.
    pub(super) before: Uuid,
}

/// The newest rows of a way within a span, newest first, at most `limit`. Needs a transaction that may not sort:
/// [`crate::page::forbid_sorting`].
pub(super) async fn scan(
    conn: &mut PgConnection,
    tenant: TenantId,
    way: Way,
    span: Span,
    limit: usize,
) -> Result<Vec<Scanned>, Error> {
    let statement = match way {
        Way::Tenant => sqlx::query_as(TENANT).bind(tenant.uuid()),
        Way::Webhook(webhook) => sqlx::query_as(WEBHOOK).bind(webhook.uuid()),
        Way::Trouble(Trouble::Retrying) => sqlx::query_as(RETRYING).bind(tenant.uuid()),
        Way::Trouble(Trouble::Held) => sqlx::query_as(HELD).bind(tenant.uuid()),
        Way::Trouble(Trouble::Dead) => sqlx::query_as(DEAD).bind(tenant.uuid()),
        Way::Trouble(Trouble::Cancelled) => sqlx::query_as(CANCELLED).bind(tenant.uuid()),
        Way::Pending => sqlx::query_as(PENDING).bind(tenant.uuid()),
    };
    let statement = statement.bind(span.from).bind(span.before).bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let statement = if let Way::Webhook(_) = way { statement.bind(tenant.uuid()) } else { statement };
    // Planned for these very values, so that only the partitions of the span are looked at.
    let mut rows: Vec<Scanned> = statement.persistent(false).fetch_all(conn).await?;
    if way == Way::Pending {
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
    }
    Ok(rows)
}

const TENANT: &str = "
select d.id, d.webhook_id, d.event_id, d.state from deliveries d
where (d.tenant_id, d.id) >= ($1, $2) and (d.tenant_id, d.id) < ($1, $3) and d.id >= $2 and d.id < $3
order by d.tenant_id desc, d.id desc limit $4";

const WEBHOOK: &str = "
select d.id, d.webhook_id, d.event_id, d.state from deliveries d
where (d.webhook_id, d.id) >= ($1, $2) and (d.webhook_id, d.id) < ($1, $3) and d.id >= $2 and d.id < $3
    and exists (select from webhooks w where w.id = $1 and w.tenant_id = $5)
order by d.webhook_id desc, d.id desc limit $4";

// The state is a literal, since the index holds only some of them.
const RETRYING: &str = "
select d.id, d.webhook_id, d.event_id, d.state from deliveries d
where d.state = 'retrying' and (d.tenant_id, d.state, d.id) >= ($1, 'retrying', $2)
    and (d.tenant_id, d.state, d.id) < ($1, 'retrying', $3) and d.id >= $2 and d.id < $3
order by d.tenant_id desc, d.id desc limit $4";

const HELD: &str = "
select d.id, d.webhook_id, d.event_id, d.state from deliveries d
where d.state = 'held' and (d.tenant_id, d.state, d.id) >= ($1, 'held', $2)
    and (d.tenant_id, d.state, d.id) < ($1, 'held', $3) and d.id >= $2 and d.id < $3
order by d.tenant_id desc, d.id desc limit $4";

const DEAD: &str = "
select d.id, d.webhook_id, d.event_id, d.state from deliveries d
where d.state = 'dead' and (d.tenant_id, d.state, d.id) >= ($1, 'dead', $2)
    and (d.tenant_id, d.state, d.id) < ($1, 'dead', $3) and d.id >= $2 and d.id < $3
order by d.tenant_id desc, d.id desc limit $4";

const CANCELLED: &str = "
select d.id, d.webhook_id, d.event_id, d.state from deliveries d
where d.state = 'cancelled' and (d.tenant_id, d.state, d.id) >= ($1, 'cancelled', $2)
    and (d.tenant_id, d.state, d.id) < ($1, 'cancelled', $3) and d.id >= $2 and d.id < $3
order by d.tenant_id desc, d.id desc limit $4";

// The order is that of the index of what is due, which ends after the few rows that are open.
const PENDING: &str = "
select d.id, d.webhook_id, d.event_id, d.state from deliveries d
where d.state in ('pending', 'retrying') and d.state = 'pending' and d.tenant_id = $1 and d.id >= $2 and d.id < $3
order by d.rank, d.due_at limit $4";
