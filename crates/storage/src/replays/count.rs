//! How many deliveries a replay would repeat: counted once, for a bounded time, and for one request of a tenant at a time.

use busbar_domain::id::{TenantId, WebhookId};

use super::Filter;
use crate::{Database, Error};

/// How a count ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// So many.
    Total(i64),
    /// More than can be counted in time.
    TooMany,
    /// Another request of the tenant is counting.
    UnderWay,
}

/// Counts what `filter` selects, for ten seconds at most.
pub async fn count(database: &Database, tenant: TenantId, filter: &Filter) -> Result<Counted, Error> {
    let mut tx = database.begin().await?;
    let ours: bool =
        sqlx::query_scalar("select pg_try_advisory_xact_lock(hashtextextended('busbar.replays.' || $1, 0))")
            .bind(tenant.to_string())
            .fetch_one(&mut *tx)
            .await?;
    if !ours {
        return Ok(Counted::UnderWay);
    }
    sqlx::query("set local statement_timeout = '10s'").execute(&mut *tx).await?;
    // Planned for these very values, so that the state picks the partial index.
    let counted = sqlx::query_scalar(COUNT)
        .bind(tenant.uuid())
        .bind(filter.from)
        .bind(filter.before)
        .bind(filter.ended.as_str())
        .bind(filter.webhook.map(WebhookId::uuid))
        .bind(&filter.kind)
        .persistent(false)
        .fetch_one(&mut *tx)
        .await;
    match counted.map_err(Error::from) {
        Ok(total) => Ok(Counted::Total(total)),
        Err(Error::Busy(_)) => Ok(Counted::TooMany),
        Err(error) => Err(error),
    }
}

const COUNT: &str = "
select count(*) from deliveries d
where d.tenant_id = $1 and d.id > $2 and d.id < $3 and d.state = $4 and ($5::uuid is null or d.webhook_id = $5)
    and d.replay_id is null and not d.test
    and ($6::text is null or exists (select from events e where e.id = d.event_id and e.type = $6))";
