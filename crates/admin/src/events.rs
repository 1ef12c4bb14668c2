//! `/events`: facts as the hub took them, and what each of them owes.

use actix_web::{HttpResponse, get, web};
use busbar_domain::event::{EventType, Label};
use busbar_domain::id::EventId;
use busbar_runtime::Problem;
use busbar_storage::event_log::{self, EventDetail, EventRecord, Filter, Owed};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::desk::At;
use crate::error::ApiError;
use crate::fields::Faults;
use crate::paging::{List, Paging};

/// The most deliveries that one event shows.
const MAX_OWED: i64 = 1000;

/// Which events are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventQuery {
    /// Of this type only.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
    /// With this subject only.
    subject: Option<String>,
    /// 1 to 200, by default 50.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// An event.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventView {
    /// Its id.
    id: Uuid,
    /// What happened.
    #[serde(rename = "type")]
    kind: String,
    /// What it happened to.
    subject: Option<String>,
    /// The project it belongs to.
    project: Option<String>,
    /// The producer's ordering key: each webhook gets its deliveries in the order of their acceptance.
    ordering_key: Option<String>,
    /// When it happened, as its producer says.
    occurred_at: DateTime<Utc>,
    /// When the hub took it.
    accepted_at: DateTime<Utc>,
    /// `accepted`, or `spreading` while a wide fan-out is being written.
    state: String,
}

/// An event with its payload and what it owes.
#[derive(Serialize, ToSchema)]
struct EventDetailView {
    #[serde(flatten)]
    event: EventView,
    /// The call it came from.
    inbound_id: Option<Uuid>,
    /// The trace in which it was made.
    trace_id: Option<String>,
    /// How often what led to it has left the hub and come back.
    hops: i16,
    /// The payload.
    #[schema(value_type = Object)]
    data: Option<Box<RawValue>>,
    /// The deliveries that it owes, at most 1,000 of them, and at most 1,000 replays of these.
    deliveries: Vec<OwedView>,
}

/// One delivery that an event owes.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwedView {
    /// The delivery.
    id: Uuid,
    /// To whom.
    webhook_id: Uuid,
    /// Its state.
    status: String,
    /// The delivery that it repeats.
    replay_of: Option<Uuid>,
}

impl From<&Owed> for OwedView {
    fn from(owed: &Owed) -> Self {
        Self {
            id: owed.id.uuid(),
            webhook_id: owed.webhook.uuid(),
            status: owed.state.clone(),
            replay_of: owed.replay_of.map(Uuid::from),
        }
    }
}

impl From<EventRecord> for EventView {
    fn from(record: EventRecord) -> Self {
        Self {
            id: record.id,
            kind: record.kind,
            subject: record.subject,
            project: record.project,
            ordering_key: record.ordering_key,
            occurred_at: record.occurred_at,
            accepted_at: record.accepted_at,
            state: record.state,
        }
    }
}

impl EventDetailView {
    fn new(detail: EventDetail, owed: &[Owed]) -> Self {
        let text = String::from_utf8(detail.payload).ok();
        Self {
            event: detail.event.into(),
            inbound_id: detail.inbound.map(Uuid::from),
            trace_id: detail.trace.map(|trace| trace.trace_id()),
            hops: detail.hops,
            data: text.and_then(|text| RawValue::from_string(text).ok()),
            deliveries: owed.iter().map(OwedView::from).collect(),
        }
    }
}

/// The tenant's events, newest first.
#[utoipa::path(tag = "events", responses(
    (status = 200, body = List<EventView>),
    (status = 422, body = Problem, description = "A parameter is invalid"),
))]
#[get("/events")]
pub(crate) async fn list_events(
    desk: At,
    caller: Authorized<scope::Read>,
    query: web::Query<EventQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let mut faults = Faults::default();
    if let Some(kind) = &query.kind {
        faults.take("/type", "INVALID_FIELD", EventType::parse(kind));
    }
    if let Some(subject) = &query.subject {
        faults.take("/subject", "INVALID_FIELD", Label::parse(subject.as_str()));
    }
    faults.check()?;
    let filter = Filter {
        kind: query.kind.as_deref(),
        subject: query.subject.as_deref(),
        before: paging.before,
        limit: paging.fetch(),
    };
    let found = desk.read(async |conn| event_log::list(conn, caller.tenant, &filter).await).await?;
    Ok(HttpResponse::Ok().json(paging.page(found, |event| event.id, EventView::from)))
}

/// One event with its payload and what it owes.
#[utoipa::path(tag = "events", responses((status = 200, body = EventDetailView), (status = 404, body = Problem)))]
#[get("/events/{id}")]
pub(crate) async fn get_event(
    desk: At,
    caller: Authorized<scope::Read>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let (tenant, id) = (caller.tenant, EventId::from(*id));
    let found = desk.read(async |conn| event_log::find(conn, tenant, id).await).await?;
    let detail = found.ok_or_else(ApiError::not_found)?;
    let made = [detail.made()];
    let owed = desk.read(async |conn| event_log::owed(conn, tenant, &made, MAX_OWED, MAX_OWED).await).await?;
    Ok(HttpResponse::Ok().json(EventDetailView::new(detail, &owed)))
}
