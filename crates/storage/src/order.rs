//! Ordering keys: deliveries with one key to one webhook go out in the order of their acceptance.
//!
//! A row of `order_lanes` is locked by whoever accepts or ends such a delivery, so sequence order is commit order.
//! All but the first open one of a key are held with the reason `order`; ending one releases the next.

use std::collections::{BTreeMap, HashMap};

use busbar_domain::Timestamp;
use chrono::TimeDelta;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;
use crate::due::WAKE_GRACE;

/// How many deliveries of each key of a webhook.
pub(crate) type Counts<'k> = BTreeMap<(Uuid, &'k str), i32>;

/// Where a delivery stands in its key's order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Its place; later ones have higher numbers.
    pub(crate) seq: i64,
    /// Whether another stands before it.
    pub(crate) waits: bool,
}

/// The standings that one transaction has taken.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    next: HashMap<(Uuid, String), Standing>,
}

impl Standings {
    /// The next standing of a key.
    pub(crate) fn next(&mut self, webhook: Uuid, key: &str) -> Option<Standing> {
        let standing = self.next.get_mut(&(webhook, key.to_owned()))?;
        let given = *standing;
        *standing = Standing { seq: given.seq + 1, waits: true };
        Some(given)
    }
}

/// Takes standings for `wanted`, in key order; each key stays locked until the transaction ends.
pub(crate) async fn take(conn: &mut PgConnection, wanted: &Counts<'_>, now: Timestamp) -> Result<Standings, Error> {
    if wanted.is_empty() {
        return Ok(Standings::default());
    }
    let (webhooks, keys, counts) = columns(wanted);
    let rows: Vec<(Uuid, String, i64, i32)> = sqlx::query_as(
        "insert into order_lanes as l (webhook_id, key, next_seq, open, touched_at)
         select w.webhook_id, w.key, 1 + w.count, w.count, $4
         from unnest($1::uuid[], $2::text[], $3::int[]) as w (webhook_id, key, count)
         order by w.webhook_id, w.key
         on conflict (webhook_id, key) do update
             set next_seq = l.next_seq + excluded.open, open = l.open + excluded.open, touched_at = $4
         returning l.webhook_id, l.key, l.next_seq, l.open",
    )
    .bind(webhooks)
    .bind(keys)
    .bind(counts)
    .bind(now)
    .fetch_all(conn)
    .await?;
    let next = rows.into_iter().map(|(webhook, key, next_seq, open)| {
        let count = wanted.get(&(webhook, key.as_str())).copied().unwrap_or(0);
        ((webhook, key), Standing { seq: next_seq - i64::from(count), waits: open > count })
    });
    Ok(Standings { next: next.collect() })
}

/// Locks the keys of those of `ids` that have one, in key order.
pub async fn lock(conn: &mut PgConnection, ids: &[Uuid]) -> Result<(), Error> {
    sqlx::query(
        "select from order_lanes where (webhook_id, key) in (
             select webhook_id, ordering_key from deliveries where id = any($1) and seq is not null)
         order by webhook_id, key for update",
    )
    .bind(ids)
    .execute(conn)
    .await?;
    Ok(())
}

/// Counts off what has ended of locked keys and releases what stands first now; answers what to wake.
pub(crate) async fn release(conn: &mut PgConnection, ended: &Counts<'_>, now: Timestamp) -> Result<Vec<Uuid>, Error> {
    if ended.is_empty() {
        return Ok(Vec::new());
    }
    let (webhooks, keys, counts) = columns(ended);
    let released = sqlx::query_scalar(
        "with ended as (
             update order_lanes l set open = greatest(l.open - e.count, 0), touched_at = $4
             from unnest($1::uuid[], $2::text[], $3::int[]) as e (webhook_id, key, count)
             where l.webhook_id = e.webhook_id and l.key = e.key returning l.webhook_id, l.key
         ), head as (
             select first.id from ended cross join lateral (
                 select d.id, d.state, d.reason from deliveries d
                 where d.webhook_id = ended.webhook_id and d.ordering_key = ended.key and d.seq is not null
                     and d.state in ('pending', 'retrying', 'held')
                 order by d.seq limit 1) first
             where first.state = 'held' and first.reason = 'order'
         )
         update deliveries d set state = 'pending', reason = null, due_at = $5 from head where d.id = head.id
         returning d.id",
    )
    .bind(webhooks)
    .bind(keys)
    .bind(counts)
    .bind(now)
    .bind(now + WAKE_GRACE)
    .fetch_all(conn);
    Ok(released.await?)
}

/// Releases those of `ids` (ended in this transaction, their keys locked) that stood in an order; answers what to wake.
pub async fn release_after(conn: &mut PgConnection, ids: &[Uuid], now: Timestamp) -> Result<Vec<Uuid>, Error> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "select webhook_id, ordering_key from deliveries
         where id = any($1) and seq is not null and ordering_key is not null",
    )
    .bind(ids)
    .fetch_all(&mut *conn)
    .await?;
    let mut ended = Counts::new();
    for (webhook, key) in &rows {
        *ended.entry((*webhook, key.as_str())).or_default() += 1;
    }
    release(conn, &ended, now).await
}

/// How long a key with open deliveries may lie untouched before it is looked at.
const UNTOUCHED: TimeDelta = TimeDelta::seconds(10);
/// How long a key without any is kept.
const IDLE: TimeDelta = TimeDelta::hours(1);

/// Looks at keys that nobody has touched for a while: counts their open deliveries anew and releases a first one that
/// is still held. Answers what to wake.
pub async fn repair(conn: &mut PgConnection, now: Timestamp, limit: i64) -> Result<Vec<Uuid>, Error> {
    let released = sqlx::query_scalar(
        "with looked as (
             select webhook_id, key from order_lanes where open > 0 and touched_at <= $1
             order by touched_at limit $2 for update skip locked
         ), counted as (
             update order_lanes l set touched_at = $3, open = (
                 select count(*) from deliveries d
                 where d.webhook_id = l.webhook_id and d.ordering_key = l.key and d.seq is not null
                     and d.state in ('pending', 'retrying', 'held'))
             from looked where l.webhook_id = looked.webhook_id and l.key = looked.key
         ), head as (
             select first.id from looked cross join lateral (
                 select d.id, d.state, d.reason from deliveries d
                 where d.webhook_id = looked.webhook_id and d.ordering_key = looked.key and d.seq is not null
                     and d.state in ('pending', 'retrying', 'held')
                 order by d.seq limit 1) first
             where first.state = 'held' and first.reason = 'order'
         )
         update deliveries d set state = 'pending', reason = null, due_at = $4 from head where d.id = head.id
         returning d.id",
    )
    .bind(now - UNTOUCHED)
    .bind(limit)
    .bind(now)
    .bind(now + WAKE_GRACE)
    .fetch_all(conn);
    Ok(released.await?)
}

/// Forgets keys that have had no open delivery for a while; answers how many.
pub async fn trim(conn: &mut PgConnection, now: Timestamp, limit: i64) -> Result<u64, Error> {
    let trimmed = sqlx::query(
        "delete from order_lanes where ctid = any(array(
             select ctid from order_lanes where open = 0 and touched_at <= $1
             order by touched_at limit $2 for update skip locked))",
    )
    .bind(now - IDLE)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(trimmed.rows_affected())
}

fn columns<'k>(counts: &Counts<'k>) -> (Vec<Uuid>, Vec<&'k str>, Vec<i32>) {
    let (mut webhooks, mut keys, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for ((webhook, key), count) in counts {
        webhooks.push(*webhook);
        keys.push(*key);
        numbers.push(*count);
    }
    (webhooks, keys, numbers)
}
