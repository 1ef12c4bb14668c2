//! Replay jobs: deliveries that have ended and are owed once more, at a pace, in the order of their ids.
//!
//! A job takes what was made before it and nothing that a job has made, so it never meets its own children.

mod count;
mod step;

use busbar_domain::Timestamp;
use busbar_domain::id::{TenantId, WebhookId};
use chrono::DateTime;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

pub use count::{Counted, count};
pub use step::{Running, Step, running, step};

/// The state of a job; see `docs/states.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It makes deliveries.
    Running,
    /// Its owner has stopped it for a while.
    Paused,
    /// It has come to its end.
    Done,
    /// Its owner has ended it.
    Cancelled,
}

/// A transition that is not drawn in `docs/states.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a replay that is {} cannot be {to}", from.as_str())]
pub struct InvalidTransition {
    /// The state that it is in.
    pub from: JobState,
    to: &'static str,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Done, Self::Cancelled];

    /// The state's name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// Stops for a while.
    pub const fn paused(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Running => Ok(Self::Paused),
            Self::Paused | Self::Done | Self::Cancelled => Err(InvalidTransition { from: self, to: "paused" }),
        }
    }

    /// Goes on.
    pub const fn resumed(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Paused => Ok(Self::Running),
            Self::Running | Self::Done | Self::Cancelled => Err(InvalidTransition { from: self, to: "resumed" }),
        }
    }

    /// Ends early.
    pub const fn cancelled(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Running | Self::Paused => Ok(Self::Cancelled),
            Self::Done | Self::Cancelled => Err(InvalidTransition { from: self, to: "cancelled" }),
        }
    }

    /// Whether nothing more comes of it.
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Running | Self::Paused => false,
            Self::Done | Self::Cancelled => true,
        }
    }
}

/// Which deliveries are repeated by how they ended; what is still open is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Those that were given up.
    Dead,
    /// Those that were answered 2xx.
    Succeeded,
    /// Those that were called off.
    Cancelled,
}

impl Ended {
    /// Every way to end.
    pub const ALL: [Self; 3] = [Self::Dead, Self::Succeeded, Self::Cancelled];

    /// The state's name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Succeeded => "succeeded",
            Self::Cancelled => "cancelled",
        }
    }

    /// The way to end with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ended| ended.as_str() == name)
    }
}

/// Which deliveries of a tenant a job repeats; test pings and what a job has made are never among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// How they ended.
    pub ended: Ended,
    /// To this webhook only.
    pub webhook: Option<WebhookId>,
    /// Of events of this type only.
    pub kind: Option<String>,
    /// With ids from this one on; the nil id for all.
    pub from: Uuid,
    /// With ids below this one.
    pub before: Uuid,
}

/// A job that repeats deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: Uuid,
    /// Whose deliveries it repeats.
    pub tenant: TenantId,
    /// Its state.
    pub state: JobState,
    /// Whether it only counts.
    pub dry_run: bool,
    /// The most deliveries that it makes in a second.
    pub rate_per_second: i32,
    /// What it repeats.
    pub filter: Filter,
    /// How many there were when it was made; none if they could not be counted in time.
    pub total: Option<i64>,
    /// Deliveries that it has made.
    pub made: i64,
    /// Deliveries that it has passed over, since their webhook takes nothing any more.
    pub skipped: i64,
    /// The last delivery that it has dealt with.
    pub position: Uuid,
    /// Up to when its pace has been used.
    pub paced_at: Timestamp,
    /// The key that made it; the nil id for the operator's key of the settings.
    pub created_by: Uuid,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last came on or was changed.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// The moment of a bound of ids, to the millisecond; none for one that holds everything.
pub fn moment_of(bound: Uuid) -> Option<Timestamp> {
    if bound.is_nil() {
        return None;
    }
    DateTime::from_timestamp_millis(i64::try_from(bound.as_u128() >> 80).ok()?)
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    state: String,
    dry_run: bool,
    rate_per_second: i32,
    status: Option<String>,
    webhook_id: Option<Uuid>,
    event_type: Option<String>,
    from_id: Uuid,
    before_id: Uuid,
    total: Option<i64>,
    made: i64,
    skipped: i64,
    position: Uuid,
    paced_at: Timestamp,
    created_by: Uuid,
    created_at: Timestamp,
    updated_at: Timestamp,
    finished_at: Option<Timestamp>,
}

impl TryFrom<Row> for Job {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let broken = |what| Error::Inconsistent { table: "replays", row: row.id.to_string(), what };
        let state = JobState::ALL.into_iter().find(|state| state.as_str() == row.state);
        let filter = Filter {
            ended: row.status.as_deref().and_then(Ended::parse).ok_or_else(|| broken("status"))?,
            webhook: row.webhook_id.map(WebhookId::from),
            kind: row.event_type,
            from: row.from_id,
            before: row.before_id,
        };
        Ok(Self {
            id: row.id,
            tenant: row.tenant_id.into(),
            state: state.ok_or_else(|| broken("state"))?,
            dry_run: row.dry_run,
            rate_per_second: row.rate_per_second,
            filter,
            total: row.total,
            made: row.made,
            skipped: row.skipped,
            position: row.position,
            paced_at: row.paced_at,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
            finished_at: row.finished_at,
        })
    }
}

/// Counts the tenant's jobs that have not ended; nobody else makes one for it until the transaction ends.
pub async fn lock_unfinished(conn: &mut PgConnection, tenant: TenantId) -> Result<i64, Error> {
    sqlx::query("select from tenants where id = $1 for no key update").bind(tenant.uuid()).execute(&mut *conn).await?;
    unfinished(conn, tenant).await
}

/// Counts the tenant's jobs that have not ended.
pub async fn unfinished(conn: &mut PgConnection, tenant: TenantId) -> Result<i64, Error> {
    let counted =
        sqlx::query_scalar("select count(*) from replays where tenant_id = $1 and state in ('running', 'paused')")
            .bind(tenant.uuid())
            .fetch_one(conn);
    Ok(counted.await?)
}

/// Makes a job.
pub async fn insert(conn: &mut PgConnection, job: &Job) -> Result<(), Error> {
    sqlx::query(
        "insert into replays (id, tenant_id, state, dry_run, rate_per_second, status, webhook_id, event_type, from_id,
             before_id, total, position, paced_at, created_by, created_at, updated_at, finished_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, $16)",
    )
    .bind(job.id)
    .bind(job.tenant.uuid())
    .bind(job.state.as_str())
    .bind(job.dry_run)
    .bind(job.rate_per_second)
    .bind(job.filter.ended.as_str())
    .bind(job.filter.webhook.map(WebhookId::uuid))
    .bind(&job.filter.kind)
    .bind(job.filter.from)
    .bind(job.filter.before)
    .bind(job.total)
    .bind(job.position)
    .bind(job.paced_at)
    .bind(job.created_by)
    .bind(job.created_at)
    .bind(job.finished_at)
    .execute(conn)
    .await?;
    Ok(())
}

/// The job with this id.
pub async fn find(conn: &mut PgConnection, tenant: TenantId, id: Uuid) -> Result<Option<Job>, Error> {
    let found: Option<Row> = sqlx::query_as("select * from replays where id = $2 and tenant_id = $1")
        .bind(tenant.uuid())
        .bind(id)
        .fetch_optional(conn)
        .await?;
    found.map(Job::try_from).transpose()
}

/// The same, locked, so that no step is taken and nothing changes until the transaction ends.
pub async fn lock(conn: &mut PgConnection, tenant: TenantId, id: Uuid) -> Result<Option<Job>, Error> {
    let found: Option<Row> = sqlx::query_as("select * from replays where id = $2 and tenant_id = $1 for update")
        .bind(tenant.uuid())
        .bind(id)
        .fetch_optional(conn)
        .await?;
    found.map(Job::try_from).transpose()
}

/// The tenant's jobs, newest first.
pub async fn list(conn: &mut PgConnection, tenant: TenantId, before: Uuid, limit: i64) -> Result<Vec<Job>, Error> {
    let rows: Vec<Row> =
        sqlx::query_as("select * from replays where tenant_id = $1 and id < $2 order by id desc limit $3")
            .bind(tenant.uuid())
            .bind(before)
            .bind(limit)
            .fetch_all(conn)
            .await?;
    rows.into_iter().map(Job::try_from).collect()
}

/// Gives a locked job its next state; answers the job as it is then. A pace begins anew.
pub async fn mark(conn: &mut PgConnection, job: Job, next: JobState, now: Timestamp) -> Result<Job, Error> {
    let finished_at = next.has_ended().then_some(now);
    sqlx::query(
        "update replays set state = $3, paced_at = $4, updated_at = $4, finished_at = $5 where id = $1 and state = $2",
    )
    .bind(job.id)
    .bind(job.state.as_str())
    .bind(next.as_str())
    .bind(now)
    .bind(finished_at)
    .execute(conn)
    .await?;
    Ok(Job { state: next, paced_at: now, updated_at: now, finished_at, ..job })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_goes_only_where_the_diagram_says() {
        use JobState::{Cancelled, Done, Paused, Running};
        let after = |transition: fn(JobState) -> Result<JobState, InvalidTransition>| {
            JobState::ALL.map(|state| transition(state).ok())
        };
        assert_eq!(after(JobState::paused), [Some(Paused), None, None, None]);
        assert_eq!(after(JobState::resumed), [None, Some(Running), None, None]);
        assert_eq!(after(JobState::cancelled), [Some(Cancelled), Some(Cancelled), None, None]);
        assert_eq!(JobState::ALL.map(JobState::has_ended), [false, false, true, true]);
        assert_eq!(Done.paused().unwrap_err().to_string(), "a replay that is done cannot be paused");
    }
}
