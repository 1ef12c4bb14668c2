//! Webhooks as the management API reads and writes them, each with how its last attempt ended.
//!
//! Secrets go in sealed; what comes back is sealed too.

use busbar_domain::Timestamp;
use busbar_domain::dialect::Dialect;
use busbar_domain::id::{TenantId, WebhookId};
use busbar_domain::retry::RetryPolicy;
use busbar_domain::webhook::WebhookStatus;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;
use crate::rotation::Rotation;

/// What the owner of a webhook decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookFields {
    /// Its name, for people.
    pub name: String,
    /// Where it listens, as the guarded door wrote it.
    pub url: String,
    /// The patterns of what it hears.
    pub events: Vec<String>,
    /// How bodies are shaped and signed for it.
    pub dialect: Dialect,
    /// The one project that it hears; all of them if there is none.
    pub project: Option<String>,
    /// Whether it takes deliveries.
    pub status: WebhookStatus,
    /// The total deadline of one attempt, in milliseconds.
    pub timeout_ms: i32,
    /// When failed deliveries are tried again.
    pub retry: RetryPolicy,
    /// The most requests in flight to it at a time.
    pub max_in_flight: Option<i32>,
    /// The most requests to it in one second.
    pub rate_limit: Option<i32>,
    /// What must be true of an event besides, in the Common Expression Language.
    pub filter: Option<String>,
    /// The names of its custom headers.
    pub header_names: Vec<String>,
    /// The custom headers, sealed.
    pub headers: Option<Vec<u8>>,
}

/// One webhook as it is listed.
#[derive(Clone, Debug)]
pub struct WebhookRecord {
    /// Its id.
    pub id: WebhookId,
    /// What its owner decides.
    pub fields: WebhookFields,
    /// Why the hub gave it its status.
    pub status_reason: Option<String>,
    /// The secret, sealed.
    pub secret: Vec<u8>,
    /// Until when the secret before the last rotation signs as well.
    pub old_secret_until: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// How the newest attempt among its latest deliveries ended.
    pub last: Option<LastAttempt>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAttempt {
    /// When it began.
    pub at: Timestamp,
    /// The response's status, if there was a response.
    pub status: Option<i16>,
    /// What went wrong.
    pub error: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    url: String,
    events: Vec<String>,
    dialect: String,
    project: Option<String>,
    status: String,
    status_reason: Option<String>,
    secret: Vec<u8>,
    old_secret_until: Option<Timestamp>,
    timeout_ms: i32,
    retry_max_attempts: i32,
    retry_first_ms: i64,
    retry_factor: i32,
    retry_max_ms: i64,
    max_in_flight: Option<i32>,
    rate_limit: Option<i32>,
    filter: Option<String>,
    header_names: Vec<String>,
    headers: Option<Vec<u8>>,
    created_at: Timestamp,
    updated_at: Timestamp,
    last_at: Option<Timestamp>,
    last_status: Option<i16>,
    last_error: Option<String>,
}

impl TryFrom<Row> for WebhookRecord {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let broken = |what| Error::Inconsistent { table: "webhooks", row: row.id.to_string(), what };
        let retry = RetryPolicy::try_new(
            u32::try_from(row.retry_max_attempts).unwrap_or(0),
            u64::try_from(row.retry_first_ms).unwrap_or(0),
            u32::try_from(row.retry_factor).unwrap_or(0),
            u64::try_from(row.retry_max_ms).unwrap_or(0),
        );
        Ok(Self {
            id: row.id.into(),
            fields: WebhookFields {
                dialect: Dialect::parse(&row.dialect).ok_or_else(|| broken("dialect"))?,
                status: WebhookStatus::parse(&row.status).ok_or_else(|| broken("status"))?,
                retry: retry.map_err(|_| broken("retry"))?,
                name: row.name,
                url: row.url,
                events: row.events,
                project: row.project,
                timeout_ms: row.timeout_ms,
                max_in_flight: row.max_in_flight,
                rate_limit: row.rate_limit,
                filter: row.filter,
                header_names: row.header_names,
                headers: row.headers,
            },
            status_reason: row.status_reason,
            secret: row.secret,
            old_secret_until: row.old_secret_until,
            created_at: row.created_at,
            updated_at: row.updated_at,
            last: row.last_at.map(|at| LastAttempt { at, status: row.last_status, error: row.last_error }),
        })
    }
}

/// Writes a new webhook with its secret, sealed.
pub async fn insert(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: WebhookId,
    fields: &WebhookFields,
    secret: &[u8],
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "insert into webhooks (id, tenant_id, name, url, events, dialect, project, status, timeout_ms,
             retry_max_attempts, retry_first_ms, retry_factor, retry_max_ms, max_in_flight, rate_limit, filter,
             header_names, headers, secret, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $20)",
    )
    .bind(id.uuid())
    .bind(tenant.uuid())
    .bind(&fields.name)
    .bind(&fields.url)
    .bind(&fields.events)
    .bind(fields.dialect.as_str())
    .bind(&fields.project)
    .bind(fields.status.as_str())
    .bind(fields.timeout_ms)
    .bind(i32::from(fields.retry.max_attempts()))
    .bind(i64::try_from(fields.retry.first_ms()).unwrap_or(i64::MAX))
    .bind(i32::from(fields.retry.factor()))
    .bind(i64::try_from(fields.retry.max_ms()).unwrap_or(i64::MAX))
    .bind(fields.max_in_flight)
    .bind(fields.rate_limit)
    .bind(&fields.filter)
    .bind(&fields.header_names)
    .bind(&fields.headers)
    .bind(secret)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// The webhook with this id; of this dialect only, if one is given.
pub async fn find(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: WebhookId,
    dialect: Option<Dialect>,
) -> Result<Option<WebhookRecord>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "select w.id, w.name, w.url, w.events, w.dialect, w.project, w.status, w.status_reason, w.secret,
             w.old_secret_until, w.timeout_ms, w.retry_max_attempts, w.retry_first_ms, w.retry_factor,
             w.retry_max_ms, w.max_in_flight, w.rate_limit, w.filter, w.header_names, w.headers, w.created_at,
             w.updated_at,
             last.started_at as last_at, last.status as last_status, last.error as last_error
         from webhooks w left join lateral (
             select a.started_at, a.status, a.error from (
                 select d.id, d.attempts from deliveries d where d.webhook_id = w.id order by d.id desc limit 200) d
             join attempts a on a.delivery_id = d.id and a.number = d.attempts
             order by d.id desc limit 1) last on true
         where w.tenant_id = $1 and w.id = $2 and w.deleted_at is null and ($3::text is null or w.dialect = $3)",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .bind(dialect.map(Dialect::as_str))
    .fetch_optional(conn)
    .await?;
    row.map(WebhookRecord::try_from).transpose()
}

/// Which webhooks of a tenant are listed.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Of this dialect only.
    pub dialect: Option<Dialect>,
    /// With ids below this one.
    pub before: Uuid,
    /// After passing over this many.
    pub offset: i64,
    /// At most this many.
    pub limit: i64,
}

/// One page of the webhooks of `tenant`, newest first.
pub async fn list(conn: &mut PgConnection, tenant: TenantId, page: Page) -> Result<Vec<WebhookRecord>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "select w.id, w.name, w.url, w.events, w.dialect, w.project, w.status, w.status_reason, w.secret,
             w.old_secret_until, w.timeout_ms, w.retry_max_attempts, w.retry_first_ms, w.retry_factor,
             w.retry_max_ms, w.max_in_flight, w.rate_limit, w.filter, w.header_names, w.headers, w.created_at,
             w.updated_at,
             last.started_at as last_at, last.status as last_status, last.error as last_error
         from (select * from webhooks
               where tenant_id = $1 and id < $2 and deleted_at is null and ($3::text is null or dialect = $3)
               order by id desc offset $4 limit $5) w
         left join lateral (
             select a.started_at, a.status, a.error from (
                 select d.id, d.attempts from deliveries d where d.webhook_id = w.id order by d.id desc limit 200) d
             join attempts a on a.delivery_id = d.id and a.number = d.attempts
             order by d.id desc limit 1) last on true
         order by w.id desc",
    )
    .bind(tenant.uuid())
    .bind(page.before)
    .bind(page.dialect.map(Dialect::as_str))
    .bind(page.offset)
    .bind(page.limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(WebhookRecord::try_from).collect()
}

/// How many webhooks of this dialect a tenant has.
pub async fn count(conn: &mut PgConnection, tenant: TenantId, dialect: Dialect) -> Result<i64, Error> {
    let counted = sqlx::query_scalar(
        "select count(*) from webhooks where tenant_id = $1 and dialect = $2 and deleted_at is null",
    );
    Ok(counted.bind(tenant.uuid()).bind(dialect.as_str()).fetch_one(conn).await?)
}

/// Locks a webhook that is about to be changed; answers whether there is one.
pub async fn lock(conn: &mut PgConnection, tenant: TenantId, id: WebhookId) -> Result<bool, Error> {
    let locked: Option<Uuid> = sqlx::query_scalar(
        "select id from webhooks where tenant_id = $1 and id = $2 and deleted_at is null for update",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .fetch_optional(conn)
    .await?;
    Ok(locked.is_some())
}

/// Writes what the owner of a locked webhook decides; a changed status loses its reason.
pub async fn update(
    conn: &mut PgConnection,
    id: WebhookId,
    fields: &WebhookFields,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "update webhooks set name = $2, url = $3, events = $4, dialect = $5, project = $6, status = $7,
             status_reason = case when status = $7 then status_reason end, timeout_ms = $8,
             retry_max_attempts = $9, retry_first_ms = $10, retry_factor = $11, retry_max_ms = $12,
             max_in_flight = $13, updated_at = $14, rate_limit = $15, filter = $16, header_names = $17, headers = $18
         where id = $1",
    )
    .bind(id.uuid())
    .bind(&fields.name)
    .bind(&fields.url)
    .bind(&fields.events)
    .bind(fields.dialect.as_str())
    .bind(&fields.project)
    .bind(fields.status.as_str())
    .bind(fields.timeout_ms)
    .bind(i32::from(fields.retry.max_attempts()))
    .bind(i64::try_from(fields.retry.first_ms()).unwrap_or(i64::MAX))
    .bind(i32::from(fields.retry.factor()))
    .bind(i64::try_from(fields.retry.max_ms()).unwrap_or(i64::MAX))
    .bind(fields.max_in_flight)
    .bind(now)
    .bind(fields.rate_limit)
    .bind(&fields.filter)
    .bind(&fields.header_names)
    .bind(&fields.headers)
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts a new sealed secret in place; the one before signs as well until `old_until`.
///
/// While an overlap lasts, only a rotation without one is made: it ends that overlap too.
pub async fn rotate_secret(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: WebhookId,
    secret: &[u8],
    old_until: Timestamp,
    now: Timestamp,
) -> Result<Rotation, Error> {
    let found: Option<(bool, Option<Timestamp>)> = sqlx::query_as(
        "with known as materialized (
             select id, old_secret_until, $4::timestamptz <= $5::timestamptz or coalesce(old_secret_until <= $5, true)
                 as is_free
             from webhooks where tenant_id = $1 and id = $2 and deleted_at is null for update
         ), rotated as (
             update webhooks r set secret = $3, updated_at = $5,
                 old_secret = case when $4 > $5 then r.secret end,
                 old_secret_until = case when $4 > $5 then $4 end
             from known where r.id = known.id and known.is_free
         )
         select is_free, old_secret_until from known",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .bind(secret)
    .bind(old_until)
    .bind(now)
    .fetch_optional(conn)
    .await?;
    Ok(Rotation::of(found))
}

/// Disables an active or paused webhook on the hub's own account; answers whether it did.
///
/// The caller bumps the tenant's version in the same transaction.
pub async fn break_active(conn: &mut PgConnection, id: WebhookId, reason: &str, now: Timestamp) -> Result<bool, Error> {
    let broken = sqlx::query(
        "update webhooks set status = 'broken', status_reason = $2, updated_at = $3
         where id = $1 and status in ('active', 'paused') and deleted_at is null",
    )
    .bind(id.uuid())
    .bind(reason)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(broken.rows_affected() == 1)
}

/// Deletes a locked webhook; its row stays for the log.
///
/// What it is owed is called off later: what is held by the scheduler, what is pending by the worker that claims it.
pub async fn delete(conn: &mut PgConnection, id: WebhookId, now: Timestamp) -> Result<(), Error> {
    sqlx::query("update webhooks set deleted_at = $2, updated_at = $2 where id = $1")
        .bind(id.uuid())
        .bind(now)
        .execute(conn)
        .await?;
    Ok(())
}
