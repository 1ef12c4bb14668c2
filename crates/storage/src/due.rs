//! What the clock owes: rows that are due and that nobody works on are made ready and woken.
//!
//! Every statement skips what another scheduler holds, takes a bounded batch, and may run on many replicas.

use busbar_domain::Timestamp;
use chrono::TimeDelta;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// How long after a wake-up a row is due again if nobody claims it.
pub const WAKE_GRACE: TimeDelta = TimeDelta::seconds(5);

/// Makes due deliveries pending and answers their ids: tenants in turn, at most `each` of one tenant.
///
/// Retries whose time has come, wake-ups that were lost, leases that expired, and rows written without a wake-up
/// all look the same: open, due, and not under a live lease.
pub async fn release_deliveries(conn: &mut PgConnection, now: Timestamp, each: i64) -> Result<Vec<Uuid>, Error> {
    let released = sqlx::query_scalar(
        "with recursive tenant as (
             (select tenant_id from deliveries where state in ('pending', 'retrying') order by tenant_id limit 1)
             union all
             select (select d.tenant_id from deliveries d
                     where d.state in ('pending', 'retrying') and d.tenant_id > tenant.tenant_id
                     order by d.tenant_id limit 1)
             from tenant where tenant.tenant_id is not null
         ), due as materialized (
             select one.id from tenant cross join lateral (
                 select d.id from deliveries d
                 where d.state in ('pending', 'retrying') and d.tenant_id = tenant.tenant_id and d.due_at <= $1
                     and (d.lease_until is null or d.lease_until < $1)
                 order by d.due_at limit $2 for update skip locked) one
             where tenant.tenant_id is not null
         )
         update deliveries d set state = 'pending', due_at = $3 from due where d.id = due.id returning d.id",
    )
    .bind(now)
    .bind(each)
    .bind(now + WAKE_GRACE)
    .fetch_all(conn);
    Ok(released.await?)
}

/// Makes held deliveries of active webhooks pending again and answers their ids.
pub async fn release_held(conn: &mut PgConnection, now: Timestamp, limit: i64) -> Result<Vec<Uuid>, Error> {
    let released = sqlx::query_scalar(
        "with held as materialized (
             select d.id from deliveries d join webhooks w on w.id = d.webhook_id
             where d.state = 'held' and w.status = 'active' and w.deleted_at is null
             order by d.id limit $2 for update of d skip locked
         )
         update deliveries d set state = 'pending', reason = null, due_at = $3 from held
         where d.id = held.id returning d.id",
    )
    .bind(now)
    .bind(limit)
    .bind(now + WAKE_GRACE)
    .fetch_all(conn);
    Ok(released.await?)
}

/// Answers due inbound calls as `(system, id)` and puts off their next wake-up.
pub async fn release_inbound(
    conn: &mut PgConnection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<(String, Uuid)>, Error> {
    let released = sqlx::query_as(
        "with due as materialized (
             select id from inbound where state in ('received', 'failed') and due_at <= $1
             order by due_at limit $2 for update skip locked
         )
         update inbound i set due_at = $3, state = 'received' from due where i.id = due.id returning i.system, i.id",
    )
    .bind(now)
    .bind(limit)
    .bind(now + WAKE_GRACE)
    .fetch_all(conn);
    Ok(released.await?)
}

/// Answers events whose wide fan-out is due and puts off their next wake-up.
pub async fn release_spreading(conn: &mut PgConnection, now: Timestamp, limit: i64) -> Result<Vec<Uuid>, Error> {
    let released = sqlx::query_scalar(
        "with due as materialized (
             select id from events where state = 'spreading' and due_at <= $1
             order by due_at limit $2 for update skip locked
         )
         update events e set due_at = $3 from due where e.id = due.id returning e.id",
    )
    .bind(now)
    .bind(limit)
    .bind(now + WAKE_GRACE)
    .fetch_all(conn);
    Ok(released.await?)
}

/// Removes keys that have expired; answers how many.
pub async fn trim_first_seen(conn: &mut PgConnection, now: Timestamp, limit: i64) -> Result<u64, Error> {
    let trimmed = sqlx::query(
        "delete from first_seen where ctid = any(array(
             select ctid from first_seen where expires_at <= $1 order by expires_at limit $2 for update skip locked))",
    )
    .bind(now)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(trimmed.rows_affected())
}

/// How long the oldest due row of each kind has waited, in seconds: what operators scale and alarm on.
#[derive(Clone, Copy, Debug, Default, PartialEq, sqlx::FromRow)]
pub struct OldestDue {
    /// Of deliveries.
    pub deliveries: f64,
    /// Of inbound calls.
    pub inbound: f64,
    /// Of wide fan-outs.
    pub spreading: f64,
}

/// Reads how long the oldest due rows have waited. Rows under a live lease are being worked on and do not count.
pub async fn oldest(conn: &mut PgConnection, now: Timestamp) -> Result<OldestDue, Error> {
    let oldest = sqlx::query_as(
        "select
             coalesce(extract(epoch from $1 - (
                 select min(due_at) from deliveries where state in ('pending', 'retrying') and due_at <= $1
                     and (lease_until is null or lease_until < $1))), 0)::float8 as deliveries,
             coalesce(extract(epoch from $1 - (
                 select min(due_at) from inbound where state in ('received', 'failed') and due_at <= $1)), 0)::float8
                 as inbound,
             coalesce(extract(epoch from $1 - (
                 select min(due_at) from events where state = 'spreading' and due_at <= $1)), 0)::float8 as spreading",
    )
    .bind(now)
    .fetch_one(conn);
    Ok(oldest.await?)
}
