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

/// Makes due deliveries pending that nothing goes before, and answers their ids: tenants in turn, at most `each` of one.
///
/// Wake-ups that were lost, leases that expired, and rows written without a wake-up all look the same: open, due, and
/// not under a live lease. What may have crashed its worker while it was worked alone waits longer each time.
pub async fn release_live(conn: &mut PgConnection, now: Timestamp, each: i64) -> Result<Vec<Uuid>, Error> {
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
                 where d.state in ('pending', 'retrying') and d.tenant_id = tenant.tenant_id and d.rank = 0
                     and d.due_at <= $1 and (d.lease_until is null
                         or d.lease_until < $1 - greatest(d.crashes - 2, 0) * interval '10 seconds')
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

/// Makes due deliveries pending that go behind what is live, and answers their ids: retries and what was held before
/// replays, tenants in turn, at most `each` of one tenant and kind.
pub async fn release_late(conn: &mut PgConnection, now: Timestamp, each: i64) -> Result<Vec<Uuid>, Error> {
    let mut released: Vec<(i16, Uuid)> = sqlx::query_as(
        "with recursive tenant as (
             (select tenant_id from deliveries where state in ('pending', 'retrying') order by tenant_id limit 1)
             union all
             select (select d.tenant_id from deliveries d
                     where d.state in ('pending', 'retrying') and d.tenant_id > tenant.tenant_id
                     order by d.tenant_id limit 1)
             from tenant where tenant.tenant_id is not null
         ), due as materialized (
             select one.id from tenant cross join (values (1::int2), (2::int2)) ranks (rank) cross join lateral (
                 select d.id from deliveries d
                 where d.state in ('pending', 'retrying') and d.tenant_id = tenant.tenant_id
                     and d.rank = ranks.rank and d.due_at <= $1 and (d.lease_until is null
                         or d.lease_until < $1 - greatest(d.crashes - 2, 0) * interval '10 seconds')
                 order by d.due_at limit $2 for update skip locked) one
             where tenant.tenant_id is not null
         )
         update deliveries d set state = 'pending', due_at = $3 from due where d.id = due.id returning d.rank, d.id",
    )
    .bind(now)
    .bind(each)
    .bind(now + WAKE_GRACE)
    .fetch_all(conn)
    .await?;
    released.sort_unstable();
    Ok(released.into_iter().map(|(_, id)| id).collect())
}

/// The most held deliveries of one webhook that are released at a time.
const MOST_OF_ONE: i64 = 200;

/// Makes held deliveries of active webhooks pending again, at most `limit`, and answers their ids: webhooks in turn,
/// the oldest of each first, at most 200 of one.
///
/// They go behind what is live. What is held by an ordering key stays held until its predecessor has ended.
pub async fn release_held(conn: &mut PgConnection, now: Timestamp, limit: i64) -> Result<Vec<Uuid>, Error> {
    let released = sqlx::query_scalar(
        "with recursive webhook as (
             (select webhook_id from deliveries where state = 'held' and reason <> 'order'
              order by webhook_id limit 1)
             union all
             select (select d.webhook_id from deliveries d
                     where d.state = 'held' and d.reason <> 'order' and d.webhook_id > webhook.webhook_id
                     order by d.webhook_id limit 1)
             from webhook where webhook.webhook_id is not null
         ), ready as materialized (
             select w.id from webhook join webhooks w on w.id = webhook.webhook_id
             where w.status = 'active' and w.deleted_at is null order by random() limit $1
         ), chosen as materialized (
             select one.id from ready cross join lateral (
                 select d.id, row_number() over (order by d.id) as turn from deliveries d
                 where d.state = 'held' and d.reason <> 'order' and d.webhook_id = ready.id
                 order by d.id limit least($1, $3)) one
             order by one.turn, one.id limit $1
         ), held as materialized (
             select d.id from deliveries d
             where d.id in (select id from chosen) and d.state = 'held' and d.reason <> 'order'
             order by d.id for update skip locked
         )
         update deliveries d set state = 'pending', reason = null, due_at = $2, rank = greatest(d.rank, 1::int2)
         from held
         where d.id = held.id returning d.id",
    )
    .bind(limit)
    .bind(now + WAKE_GRACE)
    .bind(MOST_OF_ONE)
    .fetch_all(conn);
    Ok(released.await?)
}

/// Calls off at most `limit` held deliveries of deleted webhooks; answers how many.
///
/// What is pending is called off by the worker that claims it.
pub async fn cancel_held_of_deleted(conn: &mut PgConnection, now: Timestamp, limit: i64) -> Result<u64, Error> {
    let cancelled = sqlx::query(
        "with recursive waiting as (
             (select webhook_id from deliveries where state = 'held' and reason <> 'order'
              order by webhook_id limit 1)
             union all
             select (select d.webhook_id from deliveries d
                     where d.state = 'held' and d.reason <> 'order' and d.webhook_id > waiting.webhook_id
                     order by d.webhook_id limit 1)
             from waiting where waiting.webhook_id is not null
         ), ordered as (
             (select webhook_id from deliveries where seq is not null and state in ('pending', 'retrying', 'held')
              order by webhook_id limit 1)
             union all
             select (select d.webhook_id from deliveries d
                     where d.seq is not null and d.state in ('pending', 'retrying', 'held')
                         and d.webhook_id > ordered.webhook_id
                     order by d.webhook_id limit 1)
             from ordered where ordered.webhook_id is not null
         ), gone as materialized (
             select w.id from (select webhook_id from waiting union select webhook_id from ordered) any_of
             join webhooks w on w.id = any_of.webhook_id where w.deleted_at is not null
         ), chosen as materialized (
             (select one.id from gone cross join lateral (
                  select d.id from deliveries d
                  where d.state = 'held' and d.reason <> 'order' and d.webhook_id = gone.id
                  order by d.id limit $2) one
              limit $2)
             union all
             (select one.id from gone cross join lateral (
                  select d.id from deliveries d
                  where d.seq is not null and d.state = 'held' and d.webhook_id = gone.id
                  order by d.ordering_key, d.seq limit $2) one
              limit $2)
         ), held as materialized (
             select d.id from deliveries d where d.id in (select id from chosen) and d.state = 'held'
             order by d.id limit $2 for update skip locked
         )
         update deliveries d set state = 'cancelled', reason = 'webhook_deleted', finished_at = $1
         from held where d.id = held.id",
    )
    .bind(now)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(cancelled.rows_affected())
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
