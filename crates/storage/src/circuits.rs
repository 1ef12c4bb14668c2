//! Circuits: a webhook whose receiver keeps failing is called by probes only, one at a time over all processes.
//!
//! A row is an open circuit. It is written by the process that opens it and removed by the first probe that succeeds.

use std::time::Duration;

use busbar_domain::Timestamp;
use busbar_domain::id::{TenantId, WebhookId};
use chrono::TimeDelta;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// Opens a webhook's circuit, or notes that its probe has failed (`probed`); answers when the next probe may be taken.
///
/// The pause is `first`, doubled by each failed probe, up to `longest`. One that another process has opened already
/// stays as it is.
pub async fn open(
    conn: &mut PgConnection,
    (tenant, webhook): (TenantId, WebhookId),
    failing_since: Timestamp,
    (error, probed): (&str, bool),
    (first, longest): (Duration, Duration),
    now: Timestamp,
) -> Result<Timestamp, Error> {
    let opened = sqlx::query_scalar(
        "insert into circuits as c (webhook_id, tenant_id, failing_since, opened_at, probe_at, last_error)
         values ($1, $2, $3, $4, $4 + $6 * interval '1 millisecond', $5)
         on conflict (webhook_id) do update set last_error = $5,
             probes = c.probes + case when $8 then 1 else 0 end,
             probe_at = case when not $8 then greatest(c.probe_at, excluded.probe_at)
                 else $4 + least($6 * power(2, least(c.probes + 1, 20)), $7) * interval '1 millisecond' end
         returning probe_at",
    )
    .bind(webhook.uuid())
    .bind(tenant.uuid())
    .bind(failing_since)
    .bind(now)
    .bind(error)
    .bind(milliseconds(first))
    .bind(milliseconds(longest))
    .bind(probed)
    .fetch_one(conn);
    Ok(opened.await?)
}

/// Whether a probe may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It is this process's, until the given time.
    Granted,
    /// Not before the given time.
    NotYet(Timestamp),
    /// The circuit is closed.
    Closed,
}

/// Asks for the next probe of a webhook, which then lasts until `until`.
pub async fn take_probe(
    conn: &mut PgConnection,
    webhook: WebhookId,
    now: Timestamp,
    until: Timestamp,
) -> Result<Probe, Error> {
    let row: Option<(bool, Timestamp)> = sqlx::query_as(
        "with taken as (
             update circuits set probe_at = $3 where webhook_id = $1 and probe_at <= $2 returning probe_at
         )
         select exists (select from taken), probe_at from circuits where webhook_id = $1",
    )
    .bind(webhook.uuid())
    .bind(now)
    .bind(until)
    .fetch_optional(conn)
    .await?;
    Ok(match row {
        None => Probe::Closed,
        Some((true, _)) => Probe::Granted,
        Some((false, probe_at)) => Probe::NotYet(probe_at),
    })
}

/// An open circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenCircuit {
    /// Whose it is.
    pub tenant: TenantId,
    /// Of which webhook.
    pub webhook: WebhookId,
    /// When it was opened.
    pub opened_at: Timestamp,
}

/// Those of `webhooks` whose circuit is open.
pub async fn find(conn: &mut PgConnection, webhooks: &[WebhookId]) -> Result<Vec<OpenCircuit>, Error> {
    let ids: Vec<Uuid> = webhooks.iter().map(|webhook| webhook.uuid()).collect();
    let rows: Vec<(Uuid, Uuid, Timestamp)> =
        sqlx::query_as("select tenant_id, webhook_id, opened_at from circuits where webhook_id = any($1)")
            .bind(ids)
            .fetch_all(conn)
            .await?;
    let open = |(tenant, webhook, opened_at): (Uuid, Uuid, Timestamp)| OpenCircuit {
        tenant: tenant.into(),
        webhook: webhook.into(),
        opened_at,
    };
    Ok(rows.into_iter().map(open).collect())
}

/// Closes a webhook's circuit; answers since when it had failed, to the one caller that closed it.
pub async fn close(conn: &mut PgConnection, webhook: WebhookId) -> Result<Option<Timestamp>, Error> {
    let closed = sqlx::query_scalar("delete from circuits where webhook_id = $1 returning failing_since");
    Ok(closed.bind(webhook.uuid()).fetch_optional(conn).await?)
}

/// How long after its last probe a circuit is believed to be open still.
const BELIEVED: TimeDelta = TimeDelta::hours(1);

/// Webhooks that have failed since before `before` and whose last probe is not long ago, locked, with their tenants.
pub async fn lock_failing(
    conn: &mut PgConnection,
    before: Timestamp,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<(TenantId, WebhookId)>, Error> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select tenant_id, webhook_id from circuits where failing_since <= $1 and probe_at > $2
         order by failing_since limit $3 for update skip locked",
    )
    .bind(before)
    .bind(now - BELIEVED)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|(tenant, webhook)| (tenant.into(), webhook.into())).collect())
}

/// Forgets circuits that nobody has probed for long: their process ended, or nothing is owed. Answers how many.
pub async fn trim(conn: &mut PgConnection, now: Timestamp, limit: i64) -> Result<u64, Error> {
    let trimmed = sqlx::query(
        "delete from circuits where ctid = any(array(
             select ctid from circuits where probe_at <= $1 limit $2 for update skip locked))",
    )
    .bind(now - BELIEVED)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(trimmed.rows_affected())
}

/// How many circuits are open.
pub async fn count(conn: &mut PgConnection) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select count(*) from circuits").fetch_one(conn).await?)
}

fn milliseconds(of: Duration) -> f64 {
    of.as_secs_f64() * 1000.0
}
