//! Connectors whose calls die one after the other.

use busbar_domain::Timestamp;
use busbar_domain::id::{ConnectorId, TenantId, first_at};
use chrono::TimeDelta;
use sqlx::PgConnection;

use crate::Error;

/// Within how long a time calls must have died.
const SPAN: TimeDelta = TimeDelta::minutes(10);
/// How long before its death a call may have been received.
const RECEIVED_BEFORE: TimeDelta = TimeDelta::hours(1);
/// How many calls must have died.
const ENOUGH: usize = 5;
/// How many of a tenant's newest letters are looked at.
const LOOKED_AT: i64 = 2000;

/// Calls of one connector that died with none processed among the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streak {
    /// How many died within ten minutes.
    pub deaths: i64,
    /// When the first of these died.
    pub since: Timestamp,
}

/// The streak of a connector: at least five calls died within ten minutes, and since the fifth last of these deaths
/// none was processed.
pub async fn streak(
    conn: &mut PgConnection,
    tenant: TenantId,
    connector: ConnectorId,
    now: Timestamp,
) -> Result<Option<Streak>, Error> {
    let died: Vec<Timestamp> = sqlx::query_scalar(
        "select died_at from (
             select source_id, kind, died_at from dead_letters where tenant_id = $1 and id >= $3
             order by id desc limit $4) newest
         where source_id = $2 and kind = 'inbound' and died_at > $5 order by died_at desc",
    )
    .bind(tenant.uuid())
    .bind(connector.uuid())
    .bind(first_at(now - RECEIVED_BEFORE))
    .bind(LOOKED_AT)
    .bind(now - SPAN)
    .fetch_all(&mut *conn)
    .await?;
    let deaths = i64::try_from(died.len()).unwrap_or(i64::MAX);
    let (Some(since), Some(fifth)) = (died.last(), died.get(ENOUGH - 1)) else { return Ok(None) };
    let processed: bool = sqlx::query_scalar(
        "select exists (select from inbound
             where tenant_id = $1 and id >= $3 and connector_id = $2 and state = 'processed' and finished_at >= $4)",
    )
    .bind(tenant.uuid())
    .bind(connector.uuid())
    .bind(first_at(*fifth - RECEIVED_BEFORE))
    .bind(fifth)
    .fetch_one(conn)
    .await?;
    Ok((!processed).then_some(Streak { deaths, since: *since }))
}
