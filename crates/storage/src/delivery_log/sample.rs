//! A log as long as one wants, for measuring: weeks of deliveries of many tenants, one of them with many webhooks.
//!
//! Only databases of a run's own are filled. One delivery in forty is dead after eleven attempts and one was called
//! off, few are held or tried again, and the newest 500 are pending.

use busbar_domain::Timestamp;
use busbar_domain::id::{TenantId, WebhookId};
use chrono::TimeDelta;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::tenants::{self, Plan, Tenant};
use crate::{Error, partitions};

/// How many events one statement writes.
const CHUNK: i64 = 10_000;

/// How much of a log.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// About how many attempts; four fifths as many deliveries, and half of these events.
    pub attempts: i64,
    /// Over how many weeks up to now.
    pub weeks: i32,
    /// How many tenants, at least two; the first has half of the log.
    pub tenants: i32,
    /// How many webhooks the first tenant has; every other one has one.
    pub webhooks: i32,
}

/// What is in a filled log.
#[derive(Clone, Debug)]
pub struct Filled {
    /// The tenants; the first is the one with many webhooks.
    pub tenants: Vec<TenantId>,
    /// The webhooks of the first tenant.
    pub webhooks: Vec<WebhookId>,
    /// How many deliveries there are.
    pub deliveries: i64,
}

/// Fills an empty database, which is vacuumed and analysed afterwards as it would be after weeks. No transaction.
pub async fn fill(conn: &mut PgConnection, sample: Sample, now: Timestamp) -> Result<Filled, Error> {
    let since = now - TimeDelta::weeks(sample.weeks.into());
    partitions::make(conn, since, sample.weeks + 1).await?;
    let tenants: Vec<TenantId> = (0..sample.tenants.max(2)).map(|_| TenantId::new(since)).collect();
    for id in &tenants {
        let tenant = Tenant { id: *id, name: "sample".into(), plan: Plan::Enterprise, created_at: since };
        tenants::insert(conn, &tenant).await?;
    }
    let own: Vec<WebhookId> = (0..sample.webhooks.max(1)).map(|_| WebhookId::new(since)).collect();
    let others: Vec<WebhookId> = tenants.iter().skip(1).map(|_| WebhookId::new(since)).collect();
    for id in &own {
        insert_webhook(conn, tenants[0], *id, now).await?;
    }
    for (tenant, id) in tenants.iter().skip(1).zip(&others) {
        insert_webhook(conn, *tenant, *id, now).await?;
    }
    let events = sample.attempts * 2 / 5;
    let ids = |ids: &[WebhookId]| ids.iter().map(|id| id.uuid()).collect::<Vec<Uuid>>();
    let mut from = 0;
    while from < events {
        let to = events.min(from + CHUNK);
        sqlx::query(FILL)
            .bind(from)
            .bind(to - 1)
            .bind(since.timestamp_millis())
            .bind((now - since).num_milliseconds())
            .bind(events)
            .bind(tenants.iter().map(|id| id.uuid()).collect::<Vec<_>>())
            .bind(ids(&own))
            .bind(ids(&others))
            .execute(&mut *conn)
            .await?;
        from = to;
    }
    for statement in [TIDY_DELIVERIES, TIDY_EVENTS, TIDY_ATTEMPTS] {
        sqlx::raw_sql(statement).execute(&mut *conn).await?;
    }
    Ok(Filled { tenants, webhooks: own, deliveries: events * 2 })
}

async fn insert_webhook(conn: &mut PgConnection, tenant: TenantId, id: WebhookId, now: Timestamp) -> Result<(), Error> {
    sqlx::query(
        "insert into webhooks (id, tenant_id, name, url, events, dialect, status, secret, timeout_ms,
             retry_max_attempts, retry_first_ms, retry_factor, retry_max_ms, created_at, updated_at)
         values ($1, $2, 'sample', 'https://example.com/', '{*}', 'standard', 'paused', '', 10000, 12, 5000, 4, 21600000,
             $3, $3)",
    )
    .bind(id.uuid())
    .bind(tenant.uuid())
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

const TIDY_DELIVERIES: &str = "vacuum (analyze) deliveries";
const TIDY_EVENTS: &str = "vacuum (analyze) events";
const TIDY_ATTEMPTS: &str = "vacuum (analyze) attempts";

// Ids are made of the moment and of a hash, so that rows of one statement find each other.
const FILL: &str = "
with happened as materialized (
    select i, $3::int8 + i * $4::int8 / $5::int8 as ms, lpad(to_hex($3::int8 + i * $4::int8 / $5::int8), 12, '0') as stamp,
        1 + (i / 2) % (cardinality($6::uuid[]) - 1) as other
    from generate_series($1::int8, $2::int8) i
), made as materialized (
    select i, ms, stamp, other, md5('e' || i) as hash, case when i % 2 = 0 then ($6::uuid[])[1] else ($6::uuid[])[1 + other] end
        as tenant_id, case when i % 50 = 8 then 'K-' || i % 1000 end as ordering_key
    from happened
), written as (
    insert into events (id, tenant_id, type, subject, ordering_key, occurred_at, accepted_at, state, trace, payload)
    select (stamp || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15))::uuid, tenant_id,
        case when i % 20000 = 4 then 'order.rare'
            else (array['order.made', 'order.paid', 'order.sent', 'order.gone'])[1 + i / 2 % 4] end,
        'PTW-' || i % greatest($5::int8 / 20, 1), ordering_key, to_timestamp(ms / 1000.0), to_timestamp(ms / 1000.0),
        'accepted', decode(hash || '000000000000000001', 'hex'), convert_to('{\"number\":' || i || '}', 'utf8')
    from made
), owed as (
    insert into deliveries (id, tenant_id, event_id, webhook_id, message_id, state, reason, due_at, attempts,
        last_status, last_error, finished_at, ordering_key)
    select id, tenant_id, event_id, webhook_id, id, state, case when state = 'dead' then 'attempts_exhausted' end,
        to_timestamp(ms / 1000.0), case when state = 'dead' then 11 when state = 'pending' then 0 else 1 end,
        case when state = 'succeeded' then 200 else 503 end, case when state = 'dead' then 'HTTP 503' end,
        case when state in ('succeeded', 'dead', 'cancelled') then to_timestamp(ms / 1000.0) end, ordering_key
    from (
        select m.tenant_id, m.ms, m.ordering_key,
            (m.stamp || '7' || substr(m.hash, 1, 3) || '8' || substr(m.hash, 4, 15))::uuid as event_id,
            (m.stamp || '7' || substr(o.hash, 1, 3) || '9' || substr(o.hash, 4, 15))::uuid as id,
            case when m.i % 2 = 0 then ($7::uuid[])[1 + (m.i + o.k) % cardinality($7::uuid[])]
                else ($8::uuid[])[m.other] end as webhook_id,
            case when m.i >= $5::int8 - 250 then 'pending'
                when m.i % 40 < 2 then (array['dead', 'cancelled'])[1 + o.k]
                when m.i % 400 in (2, 3) then (array['retrying', 'held'])[1 + o.k]
                else 'succeeded' end as state
        from made m cross join lateral (
            select k, md5('d' || m.i || '.' || k) as hash from generate_series(0, 1) k) o) d
    returning id, state, due_at
)
insert into attempts (delivery_id, number, started_at, duration_us, status, error_class, error, response_body,
    request_headers, response_headers, address, connect_us, first_byte_us)
select o.id, n, o.due_at + n * interval '1 second', 2500, case when o.state = 'succeeded' then 200 else 503 end,
    case when o.state <> 'succeeded' then 'http_status' end, case when o.state <> 'succeeded' then 'HTTP 503' end,
    'ok', 'content-type: application/json', 'content-length: 2', '192.0.2.1:443', 700, 2400
from owed o cross join lateral generate_series(1, case o.state when 'dead' then 11 when 'pending' then 0 else 1 end) n";
