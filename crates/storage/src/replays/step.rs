//! One step of a job: the next of its deliveries are owed once more, and the job's row says how far it has come.
//!
//! Both are one transaction under the lock of that row, so each original has one child, whoever crashes when.

use busbar_domain::Timestamp;
use busbar_domain::id::{DeliveryId, WebhookId};
use chrono::TimeDelta;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{Job, Row};
use crate::Error;
use crate::due::WAKE_GRACE;

/// The most rows that one step looks at.
const LOOKED_AT: i64 = 5_000;
/// A step makes a tenth of a second's worth at most: twice what comes together from one to the next.
const FULL_STEPS_PER_SECOND: i64 = 10;
/// Whatever its pace, a job may have so many deliveries pending.
const LEAST_PENDING: i64 = 50;
/// The longest time without a step that is made up for.
const LONGEST_PAUSE: TimeDelta = TimeDelta::seconds(1);

/// What one step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Deliveries to be woken.
    pub made: Vec<Uuid>,
    /// Deliveries that were passed over.
    pub skipped: usize,
    /// Whether the job has come to its end.
    pub done: bool,
}

/// The jobs that run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Those whose pace gives at least one delivery by now, the one that has waited longest first.
    pub ready: Vec<Uuid>,
    /// How many run, ready or not.
    pub count: u32,
}

/// Looks at running jobs, at most `limit` of them.
pub async fn running(conn: &mut PgConnection, now: Timestamp, limit: i64) -> Result<Running, Error> {
    let rows: Vec<(Uuid, bool)> = sqlx::query_as(
        "select id, paced_at + interval '1 second' / rate_per_second <= $1 from replays where state = 'running'
         order by paced_at limit $2",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    Ok(Running { ready: rows.into_iter().filter_map(|(id, ready)| ready.then_some(id)).collect(), count })
}

/// Takes one step of a running job; nothing, if somebody else is at it or it runs no more.
pub async fn step(conn: &mut PgConnection, id: Uuid, now: Timestamp) -> Result<Option<Step>, Error> {
    let mut tx = conn.begin().await?;
    let row: Option<Row> =
        sqlx::query_as("select * from replays where id = $1 and state = 'running' for update skip locked")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
    let Some(job) = row.map(Job::try_from).transpose()? else { return Ok(None) };
    let earned = earned(&job, now);
    if earned == 0 {
        return Ok(Some(Step::default()));
    }
    let allowed = earned.min(most_pending(&job) - pending(&mut tx, &job).await?);
    if allowed <= 0 {
        // What may not be made now is not made up for later.
        advance(&mut tx, &job, &Progress { paced_at: now, ..Progress::none(&job) }, now).await?;
        tx.commit().await?;
        return Ok(Some(Step::default()));
    }
    let found = find_next(&mut tx, &job, allowed).await?;
    let made = make(&mut tx, &job, &found.ids, now).await?;
    let progress = Progress {
        position: found.position,
        paced_at: paced(&job, found.ids.len(), now),
        made: made.len(),
        skipped: found.ids.len() - made.len(),
        done: found.is_last,
    };
    advance(&mut tx, &job, &progress, now).await?;
    tx.commit().await?;
    Ok(Some(Step { made, skipped: progress.skipped, done: progress.done }))
}

/// How many deliveries the pace has given since the last step, as far as one step makes them.
fn earned(job: &Job, now: Timestamp) -> i64 {
    let rate = i64::from(job.rate_per_second);
    let since = (now - job.paced_at).clamp(TimeDelta::zero(), LONGEST_PAUSE);
    let earned = since.num_microseconds().unwrap_or(0) * rate / 1_000_000;
    earned.min((rate / FULL_STEPS_PER_SECOND).max(1))
}

/// Up to when the pace has been used once `taken` deliveries are dealt with.
fn paced(job: &Job, taken: usize, now: Timestamp) -> Timestamp {
    let used = i64::try_from(taken).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    job.paced_at.max(now - LONGEST_PAUSE) + TimeDelta::microseconds(used / i64::from(job.rate_per_second.max(1)))
}

/// How many deliveries of a job may be pending: a second's worth.
fn most_pending(job: &Job) -> i64 {
    i64::from(job.rate_per_second).max(LEAST_PENDING)
}

async fn pending(conn: &mut PgConnection, job: &Job) -> Result<i64, Error> {
    let counted = sqlx::query_scalar(
        "select count(*) from (
             select from deliveries where replay_id = $1 and state = 'pending' limit $2) pending",
    )
    .bind(job.id)
    .bind(most_pending(job))
    .fetch_one(conn);
    Ok(counted.await?)
}

/// The next deliveries that a job repeats, as far as one step looks.
struct Found {
    ids: Vec<Uuid>,
    position: Uuid,
    is_last: bool,
}

/// Looks a short way ahead first, which is enough where most of what lies there is wanted.
async fn find_next(conn: &mut PgConnection, job: &Job, allowed: i64) -> Result<Found, Error> {
    let allowed = usize::try_from(allowed).unwrap_or(0);
    let mut found = Found { ids: Vec::new(), position: job.position, is_last: false };
    let mut ahead = i64::try_from(allowed).unwrap_or(0) * 2;
    let mut left = LOOKED_AT;
    sqlx::query("select set_config('enable_sort', 'off', true), set_config('enable_incremental_sort', 'off', true)")
        .execute(&mut *conn)
        .await?;
    while left > 0 && found.ids.len() < allowed && !found.is_last {
        let wanted = allowed - found.ids.len();
        ahead = ahead.min(left);
        let (looked_at, last, ids): (i64, Option<Uuid>, Vec<Uuid>) = sqlx::query_as(NEXT)
            .bind(job.tenant.uuid())
            .bind(found.position)
            .bind(job.filter.before)
            .bind(job.filter.ended.as_str())
            .bind(job.filter.webhook.map(WebhookId::uuid))
            .bind(&job.filter.kind)
            .bind(ahead)
            .bind(i64::try_from(wanted).unwrap_or(i64::MAX))
            .fetch_one(&mut *conn)
            .await?;
        let is_full = ids.len() == wanted;
        found.is_last = looked_at < ahead && !is_full;
        found.position = ids.last().copied().filter(|_| is_full).or(last).unwrap_or(found.position);
        found.ids.extend(ids);
        left -= ahead;
        ahead = left;
    }
    Ok(found)
}

// One branch runs. While sorting is off, its order comes from the one index that has it, whatever the planner believes
// about the tables: with the place to start from by the comparison of rows, and without the partitions that the ids
// alone leave out.
const NEXT: &str = "
with looked_at as materialized (
    (select d.id, d.webhook_id, d.event_id, d.replay_id is null and not d.test as original from deliveries d
     where $4 <> 'succeeded' and d.state in ('dead', 'cancelled') and d.id > $2 and d.id < $3
         and (d.tenant_id, d.state, d.id) > ($1, $4, $2) and (d.tenant_id, d.state, d.id) < ($1, $4, $3)
     order by d.tenant_id, d.state, d.id limit $7)
    union all
    (select d.id, d.webhook_id, d.event_id,
         d.replay_id is null and not d.test and d.state = 'succeeded' and d.tenant_id = $1
     from deliveries d
     where $4 = 'succeeded' and $5::uuid is not null and d.id > $2 and d.id < $3
         and (d.webhook_id, d.id) > ($5, $2) and (d.webhook_id, d.id) < ($5, $3)
     order by d.webhook_id, d.id limit $7)
    union all
    (select d.id, d.webhook_id, d.event_id, d.replay_id is null and not d.test and d.state = 'succeeded'
     from deliveries d
     where $4 = 'succeeded' and $5::uuid is null and d.id > $2 and d.id < $3
         and (d.tenant_id, d.id) > ($1, $2) and (d.tenant_id, d.id) < ($1, $3)
     order by d.tenant_id, d.id limit $7)
), wanted as materialized (
    select l.id from looked_at l left join lateral (
        select e.type from events e where $6::text is not null and e.id = l.event_id limit 1) e on true
    where l.original and ($5::uuid is null or l.webhook_id = $5) and ($6::text is null or e.type = $6)
    order by l.id limit $8
)
select (select count(*) from looked_at), (select id from looked_at order by id desc limit 1),
    array(select id from wanted order by id)";

/// Owes `originals` once more, in their order, where their webhook takes anything; answers the new ids.
async fn make(conn: &mut PgConnection, job: &Job, originals: &[Uuid], now: Timestamp) -> Result<Vec<Uuid>, Error> {
    let (Some(first), Some(last)) = (originals.first(), originals.last()) else { return Ok(Vec::new()) };
    let moments = (0..).map(|nth| now + TimeDelta::microseconds(nth));
    let ids: Vec<Uuid> = originals.iter().zip(moments).map(|(_, at)| DeliveryId::new(at).uuid()).collect();
    let made = sqlx::query_scalar(
        "insert into deliveries (id, tenant_id, event_id, webhook_id, message_id, replay_of, replay_id, rank, state,
             due_at, body)
         select n.id, d.tenant_id, d.event_id, d.webhook_id, d.message_id, d.id, $6, 2, 'pending', $5, d.body
         from unnest($3::uuid[], $4::uuid[]) as n (original, id)
             join deliveries d on d.id = n.original and d.id between $1 and $2
             join webhooks w on w.id = d.webhook_id and w.deleted_at is null and w.status <> 'disabled'
         where exists (select from events e where e.id = d.event_id)
         returning id",
    )
    .bind(first)
    .bind(last)
    .bind(originals)
    .bind(ids)
    .bind(now + WAKE_GRACE)
    .bind(job.id)
    .fetch_all(conn);
    Ok(made.await?)
}

/// How far a job has come with a step.
struct Progress {
    position: Uuid,
    paced_at: Timestamp,
    made: usize,
    skipped: usize,
    done: bool,
}

impl Progress {
    /// No further than before.
    const fn none(job: &Job) -> Self {
        Self { position: job.position, paced_at: job.paced_at, made: 0, skipped: 0, done: false }
    }
}

async fn advance(conn: &mut PgConnection, job: &Job, progress: &Progress, now: Timestamp) -> Result<(), Error> {
    sqlx::query(
        "update replays set position = $2, paced_at = $3, made = made + $4, skipped = skipped + $5, updated_at = $6,
             state = case when $7 then 'done' else state end, finished_at = case when $7 then $6 end
         where id = $1 and state = 'running'",
    )
    .bind(job.id)
    .bind(progress.position)
    .bind(progress.paced_at)
    .bind(i64::try_from(progress.made).unwrap_or(i64::MAX))
    .bind(i64::try_from(progress.skipped).unwrap_or(i64::MAX))
    .bind(now)
    .bind(progress.done)
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replays::{Ended, Filter, JobState};
    use busbar_domain::Clock;
    use busbar_domain::id::TenantId;

    fn job(rate: i32, paced_at: Timestamp) -> Job {
        let filter = Filter { ended: Ended::Dead, webhook: None, kind: None, from: Uuid::nil(), before: Uuid::max() };
        Job {
            id: Uuid::nil(),
            tenant: TenantId::new(paced_at),
            state: JobState::Running,
            dry_run: false,
            rate_per_second: rate,
            filter,
            total: None,
            made: 0,
            skipped: 0,
            position: Uuid::nil(),
            paced_at,
            created_by: Uuid::nil(),
            created_at: paced_at,
            updated_at: paced_at,
            finished_at: None,
        }
    }

    #[test]
    fn a_job_keeps_its_pace_however_its_steps_fall() {
        let start = Clock::system().now();
        for (rate, pause) in [(1, 50), (7, 50), (100, 50), (1000, 50), (1000, 3), (2000, 50), (2000, 90)] {
            let (mut paced_at, mut made) = (start, 0);
            for round in 1..=(10_000 / pause) {
                let now = start + TimeDelta::milliseconds(round * pause);
                let earned = earned(&job(rate, paced_at), now);
                assert!(earned <= i64::from(rate).div_euclid(10).max(1), "{earned} in one step at {rate}/s");
                paced_at = paced(&job(rate, paced_at), usize::try_from(earned).unwrap(), now);
                made += earned;
            }
            let most = 10 * i64::from(rate);
            assert!(
                (most - i64::from(rate) / 10 - 1..=most).contains(&made),
                "{made} in 10 s at {rate}/s every {pause}"
            );
        }
    }

    #[test]
    fn a_long_pause_is_made_up_for_a_second_at_most() {
        let start = Clock::system().now();
        let now = start + TimeDelta::hours(1);
        assert_eq!(paced(&job(100, start), 10, now), now - TimeDelta::milliseconds(900));
        assert_eq!(earned(&job(100, start), start - TimeDelta::seconds(1)), 0, "another clock was ahead");
        assert_eq!(earned(&job(1, start), start + TimeDelta::milliseconds(999)), 0);
        assert_eq!(earned(&job(1, start), start + TimeDelta::milliseconds(1000)), 1);
    }
}
