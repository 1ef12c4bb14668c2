//! `/deliveries` and `/webhooks/{id}/deliveries`: what was owed to whom, and what became of it, attempt by attempt.

use actix_web::{HttpResponse, get, web};
use busbar_domain::delivery::STATES;
use busbar_domain::id::{DeliveryId, WebhookId, first_at};
use busbar_runtime::{FieldError, Problem};
use busbar_storage::delivery_log::{self, AttemptRow, DeliveryRecord, Filter};
use busbar_storage::webhooks;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::desk::At;
use crate::error::ApiError;
use crate::paging::{List, Paging};

/// Which deliveries are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveryQuery {
    /// `pending`, `retrying`, `succeeded`, `held`, `dead` or `cancelled`.
    status: Option<String>,
    /// To this webhook only.
    webhook: Option<Uuid>,
    /// Of events of this type only.
    event_type: Option<String>,
    /// Made at this time or later.
    since: Option<DateTime<Utc>>,
    /// Made before this time.
    until: Option<DateTime<Utc>>,
    /// 1 to 200, by default 50.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which deliveries to one webhook are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OwnDeliveryQuery {
    /// `pending`, `retrying`, `succeeded`, `held`, `dead` or `cancelled`.
    status: Option<String>,
    /// 1 to 200, by default 50.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A delivery.
#[derive(Serialize, ToSchema)]
struct DeliveryView {
    /// Its id.
    id: Uuid,
    /// To whom.
    webhook_id: Uuid,
    /// The webhook's name.
    webhook_name: String,
    /// What is owed.
    event_id: Uuid,
    /// The event's type.
    event_type: String,
    /// The `webhook-id` header: the same on every attempt and replay.
    message_id: Uuid,
    /// The delivery that it repeats.
    replay_of: Option<Uuid>,
    /// Whether it is a test ping.
    test: bool,
    /// `pending`, `retrying`, `succeeded`, `held`, `dead` or `cancelled`.
    status: String,
    /// Why it is held, dead or cancelled.
    reason: Option<String>,
    /// Attempts made so far.
    attempt_count: i32,
    /// The last response's status.
    response_code: Option<i16>,
    /// What went wrong last.
    error: Option<String>,
    /// When it is tried next, if it will be.
    next_attempt_at: Option<DateTime<Utc>>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
}

/// A delivery with its attempts.
#[derive(Serialize, ToSchema)]
struct DeliveryDetail {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// The attempts, the first one first.
    attempts: Vec<AttemptView>,
}

/// One attempt.
#[derive(Serialize, ToSchema)]
struct AttemptView {
    /// Counted from 1.
    number: i32,
    /// When it began.
    started_at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    duration_ms: f64,
    /// The response's status, if there was a response.
    status: Option<i16>,
    /// The stable word for what went wrong.
    error_class: Option<String>,
    /// What went wrong, in a sentence.
    error: Option<String>,
    /// The start of the response's body, as text.
    response_body: Option<String>,
}

impl From<DeliveryRecord> for DeliveryView {
    fn from(record: DeliveryRecord) -> Self {
        let created_at = record.created_at();
        let is_due = matches!(record.state.as_str(), "pending" | "retrying");
        Self {
            id: record.id,
            webhook_id: record.webhook_id,
            webhook_name: record.webhook_name,
            event_id: record.event_id,
            event_type: record.event_type,
            message_id: record.message_id,
            replay_of: record.replay_of,
            test: record.test,
            status: record.state,
            reason: record.reason,
            attempt_count: record.attempts,
            response_code: record.last_status,
            error: record.last_error,
            next_attempt_at: is_due.then_some(record.due_at),
            created_at,
            finished_at: record.finished_at,
        }
    }
}

impl From<AttemptRow> for AttemptView {
    fn from(row: AttemptRow) -> Self {
        Self {
            number: row.number,
            started_at: row.started_at,
            duration_ms: f64::from(i32::try_from(row.duration_us).unwrap_or(i32::MAX)) / 1000.0,
            status: row.status,
            error_class: row.error_class,
            error: row.error,
            response_body: row.response_body.map(|body| String::from_utf8_lossy(&body).into_owned()),
        }
    }
}

fn known_status(status: Option<&str>) -> Result<Option<&str>, ApiError> {
    match status {
        Some(word) if !STATES.contains(&word) => {
            let detail = format!("A status is one of {}.", STATES.join(", "));
            Err(vec![FieldError::new("/status", "UNKNOWN_STATUS", detail)].into())
        }
        known => Ok(known),
    }
}

/// The tenant's deliveries, newest first.
#[utoipa::path(tag = "deliveries", responses((status = 200, body = List<DeliveryView>)))]
#[get("/deliveries")]
pub(crate) async fn list_deliveries(
    desk: At,
    caller: Authorized<scope::Read>,
    query: web::Query<DeliveryQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let filter = Filter {
        state: known_status(query.status.as_deref())?,
        webhook: query.webhook.map(WebhookId::from),
        kind: query.event_type.as_deref(),
        from: query.since.map_or(Uuid::nil(), first_at),
        before: query.until.map_or(paging.before, |until| first_at(until).min(paging.before)),
        limit: paging.fetch(),
    };
    let found = desk.read(async |conn| delivery_log::list(conn, caller.tenant, &filter).await).await?;
    Ok(HttpResponse::Ok().json(paging.page(found, |delivery| delivery.id, DeliveryView::from)))
}

/// The deliveries to one webhook, newest first.
#[utoipa::path(tag = "webhooks", responses((status = 200, body = List<DeliveryView>), (status = 404, body = Problem)))]
#[get("/webhooks/{id}/deliveries")]
pub(crate) async fn list_webhook_deliveries(
    desk: At,
    caller: Authorized<scope::Read>,
    id: web::Path<Uuid>,
    query: web::Query<OwnDeliveryQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let (tenant, id) = (caller.tenant, WebhookId::from(*id));
    let filter = Filter {
        state: known_status(query.status.as_deref())?,
        webhook: Some(id),
        kind: None,
        from: Uuid::nil(),
        before: paging.before,
        limit: paging.fetch(),
    };
    let webhook = desk.read(async |conn| webhooks::find(conn, tenant, id, None).await).await?;
    webhook.ok_or_else(ApiError::not_found)?;
    let found = desk.read(async |conn| delivery_log::list(conn, tenant, &filter).await).await?;
    Ok(HttpResponse::Ok().json(paging.page(found, |delivery| delivery.id, DeliveryView::from)))
}

/// One delivery with its attempts.
#[utoipa::path(tag = "deliveries", responses((status = 200, body = DeliveryDetail), (status = 404, body = Problem)))]
#[get("/deliveries/{id}")]
pub(crate) async fn get_delivery(
    desk: At,
    caller: Authorized<scope::Read>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let id = DeliveryId::from(*id);
    let found = desk.read(async |conn| delivery_log::find(conn, caller.tenant, id).await).await?;
    let delivery = found.ok_or_else(ApiError::not_found)?.into();
    let attempts = desk.read(async |conn| delivery_log::attempts(conn, id).await).await?;
    let attempts = attempts.into_iter().map(AttemptView::from).collect();
    Ok(HttpResponse::Ok().json(DeliveryDetail { delivery, attempts }))
}
