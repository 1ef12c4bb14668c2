//! What a text names: a delivery, event, message or trace by its id, a permit or another subject, an ordering key.
//!
//! Every match is exact, and so many events are considered at most, the newest ones. Nothing is sorted by the database,
//! and statements are planned for their very values, as in the ways into the log.

use busbar_domain::Timestamp;
use busbar_domain::id::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::filter::MOST_SCANNED;
use super::scan::Scanned;
use crate::Error;
use crate::event_log::{Made, owed};

/// The most events that one search considers.
const MOST_EVENTS: usize = 200;
/// The most deliveries of one event.
const MOST_OF_ONE: i64 = 1000;
/// The length of a trace id in hexadecimal digits.
const TRACE_DIGITS: usize = 32;

type Row = (Uuid, Timestamp, Option<Timestamp>);

/// The deliveries of `tenant` that `text` names, of events below the id `until`, newest first.
pub(super) async fn search(
    conn: &mut PgConnection,
    tenant: TenantId,
    text: &str,
    until: Uuid,
) -> Result<Vec<Scanned>, Error> {
    let id = Uuid::parse_str(text).ok();
    let mut events = by_subject(conn, tenant, text, until).await?;
    events.extend(by_ordering_key(conn, tenant, text, until).await?);
    let mut found = Vec::new();
    if let Some(id) = id {
        events.extend(by_id(conn, tenant, id).await?);
        found = by_own_ids(conn, tenant, id).await?;
    }
    if text.len() == TRACE_DIGITS
        && let Some(trace) = id
    {
        events.extend(by_trace(conn, tenant, trace).await?);
    }
    events.sort_unstable_by_key(|event| std::cmp::Reverse(event.0));
    events.dedup();
    events.truncate(MOST_EVENTS);
    let made: Vec<Made> =
        events.into_iter().map(|(id, accepted_at, spread_at)| Made { id: id.into(), accepted_at, spread_at }).collect();
    let most = i64::try_from(MOST_SCANNED).unwrap_or(i64::MAX);
    let owed = owed(conn, tenant, &made, MOST_OF_ONE, most).await?;
    found.extend(owed.into_iter().map(|owed| Scanned {
        id: owed.id.uuid(),
        webhook_id: owed.webhook.uuid(),
        event_id: owed.event.uuid(),
        state: owed.state,
    }));
    found.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
    found.dedup_by_key(|row| row.id);
    Ok(found)
}

/// The delivery with this id, and those that repeat it or bear it as their message id.
async fn by_own_ids(conn: &mut PgConnection, tenant: TenantId, id: Uuid) -> Result<Vec<Scanned>, Error> {
    let found = sqlx::query_as(
        "select d.id, d.webhook_id, d.event_id, d.state from deliveries d where d.id = $2 and d.tenant_id = $1
         union all
         (select d.id, d.webhook_id, d.event_id, d.state from deliveries d
          where d.message_id = any(array[$2, (select o.message_id from deliveries o where o.id = $2)])
              and d.replay_of is not null and (d.message_id = $2 or d.replay_of = $2) and d.tenant_id = $1
          limit $3)",
    )
    .bind(tenant.uuid())
    .bind(id)
    .bind(MOST_OF_ONE)
    .persistent(false)
    .fetch_all(conn);
    Ok(found.await?)
}

async fn by_id(conn: &mut PgConnection, tenant: TenantId, id: Uuid) -> Result<Option<Row>, Error> {
    let found = sqlx::query_as(
        "select id, accepted_at, case when spread_after is not null then due_at end from events
         where id = $2 and tenant_id = $1",
    )
    .bind(tenant.uuid())
    .bind(id)
    .fetch_optional(conn);
    Ok(found.await?)
}

async fn by_trace(conn: &mut PgConnection, tenant: TenantId, trace: Uuid) -> Result<Vec<Row>, Error> {
    let found = sqlx::query_as(
        "select id, accepted_at, case when spread_after is not null then due_at end from events
         where substring(trace from 1 for 16) = $2 and tenant_id = $1 limit $3",
    )
    .bind(tenant.uuid())
    .bind(&trace.as_bytes()[..])
    .bind(most_events())
    .persistent(false)
    .fetch_all(conn);
    Ok(found.await?)
}

async fn by_subject(conn: &mut PgConnection, tenant: TenantId, text: &str, until: Uuid) -> Result<Vec<Row>, Error> {
    let found = sqlx::query_as(
        "select e.id, e.accepted_at, case when e.spread_after is not null then e.due_at end from events e
         where (e.tenant_id, e.subject, e.id) >= ($1, $2, $3) and (e.tenant_id, e.subject, e.id) < ($1, $2, $4)
             and e.subject is not null and e.id < $4
         order by e.tenant_id desc, e.subject desc, e.id desc limit $5",
    )
    .bind(tenant.uuid())
    .bind(text)
    .bind(Uuid::nil())
    .bind(until)
    .bind(most_events())
    .persistent(false)
    .fetch_all(conn);
    Ok(found.await?)
}

/// The events that the newest deliveries with this ordering key owe.
async fn by_ordering_key(conn: &mut PgConnection, tenant: TenantId, key: &str, until: Uuid) -> Result<Vec<Row>, Error> {
    let found = sqlx::query_as(
        "select e.id, e.accepted_at, case when e.spread_after is not null then e.due_at end
         from (select distinct newest.event_id from (
                 select d.event_id, d.ordering_key from deliveries d
                 where (d.tenant_id, d.id) >= ($1, $3) and (d.tenant_id, d.id) < ($1, $4) and d.id < $4
                 order by d.tenant_id desc, d.id desc limit $5) newest
             where newest.ordering_key = $2) keyed
         cross join lateral (select * from events where id = keyed.event_id) e limit $6",
    )
    .bind(tenant.uuid())
    .bind(key)
    .bind(Uuid::nil())
    .bind(until)
    .bind(i64::try_from(MOST_SCANNED).unwrap_or(i64::MAX))
    .bind(most_events())
    .persistent(false)
    .fetch_all(conn);
    Ok(found.await?)
}

fn most_events() -> i64 {
    i64::try_from(MOST_EVENTS).unwrap_or(i64::MAX)
}
