//! `/dead-letters`: what the hub has given up, one by one or by cause, until somebody resubmits or discards it.
//!
//! The platform's operator, naming no tenant, sees the wake-ups that nobody could read.

pub(crate) mod disposal;

use actix_web::{HttpResponse, get, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use busbar_runtime::{FieldError, Problem};
use busbar_storage::dead_letters::{self, Cause, Filter, Kind, Record, Status};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::caller::{Party, scope};
use crate::desk::{At, Desk};
use crate::error::ApiError;
use crate::fields::Faults;
use crate::paging::{List, Paging};

/// Which letters are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LetterQuery {
    /// `open` (by default), `resubmitted` or `discarded`.
    status: Option<String>,
    /// `delivery`, `inbound` or `wakeup`.
    kind: Option<String>,
    /// Deliveries to this webhook only.
    webhook: Option<Uuid>,
    /// Calls of this connector only.
    connector: Option<Uuid>,
    /// Of this cause only.
    fingerprint: Option<String>,
    /// `fingerprint`: the open letters by cause, the most frequent first, at most 200 causes on a single page.
    group: Option<String>,
    /// 1 to 200, by default 50.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A dead letter.
#[derive(Serialize, ToSchema)]
struct LetterView {
    /// The delivery's or call's id; one of its own for a wake-up.
    id: Uuid,
    /// `delivery`, `inbound` or `wakeup`.
    kind: String,
    /// The event's type, the call's system, or the queue of the broker.
    label: String,
    /// Of a delivery: to whom.
    webhook_id: Option<Uuid>,
    /// Of a call: which connector was called.
    connector_id: Option<Uuid>,
    /// Of a delivery: what was owed, as long as it is kept.
    event_id: Option<Uuid>,
    /// Why it was given up.
    reason: String,
    /// The stable word for what went wrong last.
    error_class: Option<String>,
    /// The last response's status.
    status: Option<i16>,
    /// What went wrong last.
    error: Option<String>,
    /// Equal for letters of the same cause.
    fingerprint: String,
    /// When it was given up.
    died_at: DateTime<Utc>,
    /// `open`, `resubmitted` or `discarded`.
    disposition: String,
    /// When it was resubmitted or discarded.
    disposed_at: Option<DateTime<Utc>>,
    /// The id of the API key that did it; the nil id for the operator's key of the settings.
    disposed_by: Option<Uuid>,
    /// Why it was discarded.
    note: Option<String>,
    /// The delivery or call that a resubmission made.
    successor_id: Option<Uuid>,
}

/// Open letters of one cause.
#[derive(Serialize, ToSchema)]
struct CauseView {
    /// What they have in common.
    fingerprint: String,
    /// How many there are.
    count: i64,
    /// `delivery`, `inbound` or `wakeup`.
    kind: String,
    /// Of the newest: the event's type, the call's system, or the queue of the broker.
    label: String,
    /// Of deliveries: to whom.
    webhook_id: Option<Uuid>,
    /// Of calls: which connector was called.
    connector_id: Option<Uuid>,
    /// Why they were given up.
    reason: String,
    /// The stable word for what went wrong last.
    error_class: Option<String>,
    /// The last response's status.
    status: Option<i16>,
    /// What went wrong last with the newest.
    error: Option<String>,
    /// When the first of them was given up.
    first_died_at: DateTime<Utc>,
    /// When the last of them was given up.
    last_died_at: DateTime<Utc>,
    /// Up to five of them, the newest first.
    sample_ids: Vec<Uuid>,
}

/// Letters one by one, or by cause.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Listed {
    /// One by one.
    Letters(List<LetterView>),
    /// By cause.
    Causes(List<CauseView>),
}

/// A dead letter with what it is about.
#[derive(Serialize, ToSchema)]
struct LetterDetail {
    #[serde(flatten)]
    letter: LetterView,
    /// The body that a resubmission would send or process, or the start of the message that nobody could read; null
    /// where it is no text or is kept no longer.
    payload: Option<String>,
    /// The same in base64, where it is no text.
    payload_base64: Option<String>,
}

impl From<Record> for LetterView {
    fn from(record: Record) -> Self {
        let (webhook_id, connector_id) = sides(&record.kind, record.source_id);
        Self {
            id: record.id,
            webhook_id,
            connector_id,
            kind: record.kind,
            label: record.label,
            event_id: record.event_id,
            reason: record.reason,
            error_class: record.error_class,
            status: record.status,
            error: record.error,
            fingerprint: record.fingerprint,
            died_at: record.died_at,
            disposition: record.disposition.unwrap_or_else(|| Status::Open.as_str().to_owned()),
            disposed_at: record.disposed_at,
            disposed_by: record.disposed_by,
            note: record.note,
            successor_id: record.successor_id,
        }
    }
}

impl From<Cause> for CauseView {
    fn from(cause: Cause) -> Self {
        let (webhook_id, connector_id) = sides(&cause.kind, cause.source_id);
        Self {
            fingerprint: cause.fingerprint,
            count: cause.count,
            kind: cause.kind,
            label: cause.label,
            webhook_id,
            connector_id,
            reason: cause.reason,
            error_class: cause.error_class,
            status: cause.status,
            error: cause.error,
            first_died_at: cause.first_died_at,
            last_died_at: cause.last_died_at,
            sample_ids: cause.sample_ids,
        }
    }
}

/// The webhook or the connector, whichever the source is.
fn sides(kind: &str, source: Option<Uuid>) -> (Option<Uuid>, Option<Uuid>) {
    match Kind::parse(kind) {
        Some(Kind::Delivery) => (source, None),
        Some(Kind::Inbound) => (None, source),
        Some(Kind::Wakeup) | None => (None, None),
    }
}

/// What a query asks for.
struct Wanted {
    status: Status,
    kind: Option<Kind>,
    source: Option<Uuid>,
    by_cause: bool,
}

impl LetterQuery {
    fn wanted(&self) -> Result<Wanted, Vec<FieldError>> {
        let mut faults = Faults::default();
        let status = self.status.as_deref().map_or(Some(Status::Open), Status::parse);
        if status.is_none() {
            faults.add("/status", "UNKNOWN_STATUS", "A status is one of open, resubmitted, discarded.");
        }
        let kind = self.kind.as_deref().map(Kind::parse);
        if kind == Some(None) {
            faults.add("/kind", "UNKNOWN_KIND", "A kind is one of delivery, inbound, wakeup.");
        }
        if self.webhook.is_some() && self.connector.is_some() {
            faults.add("/connector", "INVALID_FIELD", "A letter has a webhook or a connector, never both.");
        }
        let by_cause = self.group.is_some();
        if self.group.as_deref().is_some_and(|group| group != "fingerprint") {
            faults.add("/group", "UNKNOWN_GROUP", "Letters are grouped by fingerprint.");
        }
        if by_cause && status.is_some_and(|status| status != Status::Open) {
            faults.add("/status", "INVALID_FIELD", "Only open letters are grouped.");
        }
        let source = self.webhook.or(self.connector);
        faults.finish(status.map(|status| Wanted { status, kind: kind.flatten(), source, by_cause }))
    }
}

/// The dead letters, newest first, or by cause.
///
/// The platform's operator who names no tenant gets the wake-ups that nobody could read.
#[utoipa::path(tag = "dead letters", params(LetterQuery), responses(
    (status = 200, body = Listed),
    (status = 422, body = Problem, description = "A parameter is invalid"),
))]
#[get("/dead-letters")]
pub(crate) async fn list_dead_letters(
    desk: At,
    caller: Party<scope::Read>,
    query: web::Query<LetterQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let Wanted { status, kind, source, by_cause } = query.wanted()?;
    if by_cause {
        let causes = desk.read(async |conn| dead_letters::groups(conn, caller.whose, kind, source).await).await?;
        return Ok(HttpResponse::Ok().json(Listed::Causes(List::new(causes, None, CauseView::from))));
    }
    let fingerprint = query.fingerprint.as_deref();
    let filter = Filter { status, kind, source, fingerprint, before: paging.before, limit: paging.fetch() };
    let found = desk.read(async |conn| dead_letters::list(conn, caller.whose, &filter).await).await?;
    let page = paging.page(found, |letter| letter.id, LetterView::from);
    Ok(HttpResponse::Ok().json(Listed::Letters(page)))
}

/// One dead letter with the body that a resubmission would send or process.
#[utoipa::path(tag = "dead letters", responses(
    (status = 200, body = LetterDetail),
    (status = 404, body = Problem),
))]
#[get("/dead-letters/{id}")]
pub(crate) async fn get_dead_letter(
    desk: At,
    caller: Party<scope::Read>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let found = desk.read(async |conn| dead_letters::find(conn, caller.whose, *id).await).await?;
    let letter = found.ok_or_else(ApiError::not_found)?;
    Ok(HttpResponse::Ok().json(detail(&desk, letter).await?))
}

async fn detail(desk: &Desk, letter: Record) -> Result<LetterDetail, ApiError> {
    let payload = match Kind::parse(&letter.kind) {
        Some(kind) => desk.read(async |conn| dead_letters::payload(conn, letter.id, kind).await).await?,
        None => None,
    };
    let (payload, payload_base64) = match payload.map(String::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text), None),
        Some(Err(error)) => (None, Some(STANDARD.encode(error.as_bytes()))),
    };
    Ok(LetterDetail { letter: letter.into(), payload, payload_base64 })
}
