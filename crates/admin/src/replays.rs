//! `/replays`: jobs that owe deliveries once more, at a pace, which can be paused, resumed and cancelled.

use actix_web::{HttpResponse, get, post, web};
use busbar_domain::Timestamp;
use busbar_domain::event::EventType;
use busbar_domain::id::{EventId, TenantId, WebhookId, first_at};
use busbar_runtime::{FieldError, Problem};
use busbar_storage::audit::{self, Entry};
use busbar_storage::replays::{self, Counted, Ended, Filter, InvalidTransition, Job, JobState};
use busbar_storage::webhooks;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::desk::{At, Desk};
use crate::error::ApiError;
use crate::fields::Faults;
use crate::paging::{List, Paging};

/// The most jobs of one tenant that have not ended.
const MOST_UNFINISHED: i64 = 10;
const DEFAULT_RATE: i32 = 100;
const MOST_RATE: i32 = 2_000;

/// A replay to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayToCreate {
    /// Which deliveries are repeated. It names a webhook or a `since` at least.
    filter: ReplayFilter,
    /// Whether they are only counted.
    #[serde(default)]
    dry_run: bool,
    /// The most deliveries made in a second; 1 to 2,000, by default 100.
    #[schema(minimum = 1, maximum = 2000, default = 100)]
    rate_per_second: Option<i32>,
}

/// Which deliveries a replay repeats. Test pings and deliveries that a replay has made are never among them.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayFilter {
    /// How they ended: `dead`, by default, `succeeded` or `cancelled`.
    status: Option<String>,
    /// To this webhook only.
    webhook: Option<Uuid>,
    /// Of events of this type only.
    event_type: Option<String>,
    /// Made at this time or later; to the millisecond.
    since: Option<DateTime<Utc>>,
    /// Made before this time; to the millisecond, by default and at most the moment of the request.
    until: Option<DateTime<Utc>>,
}

/// Which replays are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReplayQuery {
    /// 1 to 200, by default 50.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A replay.
#[derive(Serialize, ToSchema)]
struct ReplayView {
    /// Its id.
    id: Uuid,
    /// `running`, `paused`, `done` or `cancelled`.
    state: &'static str,
    /// Whether it only counts.
    dry_run: bool,
    /// What it repeats.
    filter: ReplayFilter,
    /// The most deliveries made in a second.
    rate_per_second: i32,
    /// How many there were when it was made; null if they could not be counted within ten seconds.
    total: Option<i64>,
    /// Deliveries that it has made.
    made: i64,
    /// Deliveries that it has passed over, since their webhook is deleted or disabled.
    skipped: i64,
    /// How many are left of the total; 0 once it has ended, null if the total is not known.
    remaining: Option<i64>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
    /// How long what is left takes at its pace, in seconds; null unless it runs and its total is known.
    eta_seconds: Option<i64>,
}

impl From<Job> for ReplayView {
    fn from(job: Job) -> Self {
        let left = job.total.map(|total| (total - job.made - job.skipped).max(0));
        let remaining = if job.state.has_ended() { Some(0) } else { left };
        let rate = i64::from(job.rate_per_second.max(1));
        let eta_seconds = left.filter(|_| job.state == JobState::Running).map(|left| (left + rate - 1) / rate);
        let filter = ReplayFilter {
            status: Some(job.filter.ended.as_str().to_owned()),
            webhook: job.filter.webhook.map(WebhookId::uuid),
            event_type: job.filter.kind,
            since: replays::moment_of(job.filter.from),
            until: replays::moment_of(job.filter.before),
        };
        Self {
            id: job.id,
            state: job.state.as_str(),
            dry_run: job.dry_run,
            filter,
            rate_per_second: job.rate_per_second,
            total: job.total,
            made: job.made,
            skipped: job.skipped,
            remaining,
            created_at: job.created_at,
            finished_at: job.finished_at,
            eta_seconds,
        }
    }
}

impl ReplayToCreate {
    /// What is to be repeated at which pace, if all of it makes sense.
    fn read(&self, now: Timestamp) -> Result<(Filter, i32), Vec<FieldError>> {
        let mut faults = Faults::default();
        let ended = ended(&mut faults, self.filter.status.as_deref());
        let kind = self.filter.event_type.as_deref();
        if let Some(kind) = kind {
            faults.take("/filter/event_type", "INVALID_EVENT_TYPE", EventType::parse(kind));
        }
        let rate = self.rate_per_second.unwrap_or(DEFAULT_RATE);
        if !(1..=MOST_RATE).contains(&rate) {
            faults.add("/rate_per_second", "OUT_OF_RANGE", format!("rate_per_second is 1 to {MOST_RATE}."));
        }
        if self.filter.webhook.is_none() && self.filter.since.is_none() {
            faults.add("/filter", "TOO_WIDE", "A replay names a webhook or a time since when.");
        }
        // Nothing newer than the job itself, so that it has an end.
        let until = self.filter.until.unwrap_or(now).min(now);
        if self.filter.since.is_some_and(|since| since >= until) {
            faults.add("/filter/since", "EMPTY_SPAN", "since lies before until, and before now.");
        }
        let filter = ended.map(|ended| Filter {
            ended,
            webhook: self.filter.webhook.map(WebhookId::from),
            kind: kind.map(str::to_owned),
            from: self.filter.since.map_or(Uuid::nil(), first_at),
            before: first_at(until),
        });
        Ok((faults.finish(filter)?, rate))
    }
}

fn ended(faults: &mut Faults, status: Option<&str>) -> Option<Ended> {
    let Some(status) = status else { return Some(Ended::Dead) };
    let known = Ended::parse(status);
    if known.is_none() {
        let names = Ended::ALL.map(Ended::as_str).join(", ");
        let detail = format!("What has ended is repeated; a status is one of {names}.");
        faults.add("/filter/status", "UNKNOWN_STATUS", detail);
    }
    known
}

/// Makes a replay: what the filter selects is owed once more, under the same `webhook-id`, behind live traffic.
///
/// It takes what was made before the request. A dry run counts and is done at once.
#[utoipa::path(tag = "replays", responses(
    (status = 201, body = ReplayView),
    (status = 409, body = Problem, description = "`TOO_MANY_REPLAYS`: ten of the tenant have not ended"),
    (status = 422, body = Problem, description = "A field is invalid"),
    (status = 429, body = Problem, description = "`COUNT_UNDER_WAY`: another request of the tenant is counting"),
))]
#[post("/replays")]
pub(crate) async fn create_replay(
    desk: At,
    caller: Authorized<scope::Admin>,
    body: web::Json<ReplayToCreate>,
) -> Result<HttpResponse, ApiError> {
    let now = desk.now();
    let (filter, rate_per_second) = body.read(now)?;
    check_webhook(&desk, caller.tenant, filter.webhook).await?;
    if !body.dry_run {
        check_room(desk.read(async |conn| replays::unfinished(conn, caller.tenant).await).await?)?;
    }
    let total = match replays::count(desk.database(), caller.tenant, &filter).await? {
        Counted::Total(total) => Some(total),
        Counted::TooMany => None,
        Counted::UnderWay => {
            let detail = "Another request counts what it would replay; try again.";
            return Err(Problem::too_many("COUNT_UNDER_WAY", detail, 1).into());
        }
    };
    let job = Job {
        id: EventId::new(now).uuid(),
        tenant: caller.tenant,
        state: if body.dry_run { JobState::Done } else { JobState::Running },
        dry_run: body.dry_run,
        rate_per_second,
        position: filter.from,
        filter,
        total,
        made: 0,
        skipped: 0,
        paced_at: now,
        created_by: caller.actor,
        created_at: now,
        updated_at: now,
        finished_at: body.dry_run.then_some(now),
    };
    save(&desk, &job).await?;
    Ok(HttpResponse::Created().json(ReplayView::from(job)))
}

/// A webhook of another tenant is as unknown as one that does not exist.
async fn check_webhook(desk: &Desk, tenant: TenantId, webhook: Option<WebhookId>) -> Result<(), ApiError> {
    let Some(webhook) = webhook else { return Ok(()) };
    let found = desk.read(async |conn| webhooks::find(conn, tenant, webhook, None).await).await?;
    if found.is_none() {
        let fault = FieldError::new("/filter/webhook", "UNKNOWN_WEBHOOK", "There is no such webhook.");
        return Err(vec![fault].into());
    }
    Ok(())
}

fn check_room(unfinished: i64) -> Result<(), Problem> {
    if unfinished < MOST_UNFINISHED {
        return Ok(());
    }
    let detail = format!("{MOST_UNFINISHED} replays have not ended; wait for one, or cancel it.");
    Err(Problem::conflict("TOO_MANY_REPLAYS", detail))
}

async fn save(desk: &Desk, job: &Job) -> Result<(), ApiError> {
    let mut tx = desk.database().begin().await?;
    if !job.state.has_ended() {
        check_room(replays::lock_unfinished(&mut tx, job.tenant).await?)?;
    }
    replays::insert(&mut tx, job).await?;
    let detail = format!(
        "status {}, total {}, rate {}, dry run {}",
        job.filter.ended.as_str(),
        job.total.map_or_else(|| "not known".to_owned(), |total| total.to_string()),
        job.rate_per_second,
        job.dry_run,
    );
    let entry = Entry {
        tenant: Some(job.tenant),
        actor: job.created_by,
        action: "replay.created",
        object: job.id,
        detail: Some(&detail),
    };
    audit::record(&mut tx, &entry, job.created_at).await?;
    Ok(tx.commit().await?)
}

/// The tenant's replays, newest first.
#[utoipa::path(tag = "replays", responses((status = 200, body = List<ReplayView>)))]
#[get("/replays")]
pub(crate) async fn list_replays(
    desk: At,
    caller: Authorized<scope::Read>,
    query: web::Query<ReplayQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let found = desk.read(async |conn| replays::list(conn, caller.tenant, paging.before, paging.fetch()).await).await?;
    Ok(HttpResponse::Ok().json(paging.page(found, |job| job.id, ReplayView::from)))
}

/// One replay with its progress.
#[utoipa::path(tag = "replays", responses((status = 200, body = ReplayView), (status = 404, body = Problem)))]
#[get("/replays/{id}")]
pub(crate) async fn get_replay(
    desk: At,
    caller: Authorized<scope::Read>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let found = desk.read(async |conn| replays::find(conn, caller.tenant, *id).await).await?;
    Ok(HttpResponse::Ok().json(ReplayView::from(found.ok_or_else(ApiError::not_found)?)))
}

/// Stops a replay for a while. Nothing more is made once this is answered; what is pending still goes out.
#[utoipa::path(tag = "replays", responses(
    (status = 200, body = ReplayView),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`REPLAY_PAUSED` or `REPLAY_ENDED`"),
))]
#[post("/replays/{id}/pause")]
pub(crate) async fn pause_replay(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let paused = change(&desk, &caller, *id, JobState::paused, "replay.paused").await?;
    Ok(HttpResponse::Ok().json(ReplayView::from(paused)))
}

/// Lets a paused replay go on where it stopped.
#[utoipa::path(tag = "replays", responses(
    (status = 200, body = ReplayView),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`REPLAY_RUNNING` or `REPLAY_ENDED`"),
))]
#[post("/replays/{id}/resume")]
pub(crate) async fn resume_replay(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let resumed = change(&desk, &caller, *id, JobState::resumed, "replay.resumed").await?;
    Ok(HttpResponse::Ok().json(ReplayView::from(resumed)))
}

/// Ends a replay early. Nothing more is made once this is answered; what is pending still goes out.
#[utoipa::path(tag = "replays", responses(
    (status = 200, body = ReplayView),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`REPLAY_ENDED`"),
))]
#[post("/replays/{id}/cancel")]
pub(crate) async fn cancel_replay(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let cancelled = change(&desk, &caller, *id, JobState::cancelled, "replay.cancelled").await?;
    Ok(HttpResponse::Ok().json(ReplayView::from(cancelled)))
}

/// Takes a job through a transition, which no step can run beside.
async fn change(
    desk: &Desk,
    caller: &Authorized<scope::Admin>,
    id: Uuid,
    transition: fn(JobState) -> Result<JobState, InvalidTransition>,
    action: &str,
) -> Result<Job, ApiError> {
    let (tenant, now) = (caller.tenant, desk.now());
    let mut tx = desk.database().begin().await?;
    let job = replays::lock(&mut tx, tenant, id).await?.ok_or_else(ApiError::not_found)?;
    let next = transition(job.state).map_err(refusal)?;
    let changed = replays::mark(&mut tx, job, next, now).await?;
    let entry = Entry { tenant: Some(tenant), actor: caller.actor, action, object: id, detail: None };
    audit::record(&mut tx, &entry, now).await?;
    tx.commit().await?;
    Ok(changed)
}

fn refusal(refused: InvalidTransition) -> Problem {
    let code = match refused.from {
        JobState::Running => "REPLAY_RUNNING",
        JobState::Paused => "REPLAY_PAUSED",
        JobState::Done | JobState::Cancelled => "REPLAY_ENDED",
    };
    Problem::conflict(code, format!("{refused}."))
}
