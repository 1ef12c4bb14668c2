//! `POST /api/v1/ptw/events`: a permit application publishes what happened to a permit.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, ResponseError as _, post, web};
use busbar_domain::event::NewEvent;
use busbar_domain::id::EventId;
use busbar_runtime::Problem;
use busbar_storage::accept::Receipt;
use busbar_systems::ptw::{PermitEvent, PermitRefusal};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::authorized::Producer;
use crate::body;
use crate::door::{Door, problem_of};
use crate::metric;

/// A permit event to publish.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct PermitBody {
    /// One of the twelve permit events.
    #[schema(example = "permit_approved")]
    event: String,
    /// The permit's id, an integer or a string.
    #[schema(example = 123)]
    permit_id: u64,
    /// The permit's number.
    #[schema(example = "PTW-2024-001")]
    permit_number: String,
    /// The permit's project, an integer or a string; null for none.
    project_id: Option<u64>,
    /// What subscribers get.
    data: serde_json::Value,
    /// When it happened, RFC 3339; now if it is missing.
    timestamp: Option<String>,
}

/// The answer to a permit event.
#[derive(Serialize, ToSchema)]
pub(crate) struct PermitAccepted {
    /// The event's id; for a duplicate, the first one's.
    event_id: Uuid,
    /// Whether the same event of the same permit was accepted before within this UTC clock hour.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// Accepts one permit event and answers once it is durable.
///
/// A repeat of the same event and permit within one UTC clock hour is answered with the first id.
#[utoipa::path(
    operation_id = "publish_permit_event",
    tag = "ptw",
    request_body = PermitBody,
    responses(
        (status = 202, description = "Durable.", body = PermitAccepted),
        (status = 400, description = "`{\"field\": [\"reason\"]}`, or `{\"detail\": \"reason\"}` if nothing could be read."),
        (status = 401, description = "No valid key.", body = Problem),
        (status = 403, description = "The key lacks the scope `publish`.", body = Problem),
        (status = 413, description = "Too large.", body = Problem),
        (status = 503, description = "Not durable now; try again after `Retry-After`.", body = Problem),
    ),
    security(("api_key" = []))
)]
#[post("/api/v1/ptw/events")]
pub(crate) async fn publish(
    request: HttpRequest,
    door: web::Data<Door>,
    producer: Producer,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let step = door.begin(&request);
    body::expect_json(&request)?;
    let limits = door.limits();
    let body = body::read(&request, payload, limits.body, limits.body_timeout).await?;
    let now = door.now();
    let event = match PermitEvent::parse(&body, now) {
        Ok(event) => NewEvent {
            hops: producer.hops,
            ..event.into_event(EventId::new(now), producer.tenant, step.context(), now)
        },
        Err(refusal) => return Ok(refused(refusal)),
    };
    let mut receipts = door.accept(producer.tenant, vec![event]).await.map_err(problem_of)?;
    metrics::counter!(metric::ACCEPTED, "route" => "ptw").increment(1);
    let (event_id, duplicate) = match receipts.pop() {
        Some((id, Receipt::Accepted { .. })) => (id, false),
        Some((_, Receipt::Repeat { first } | Receipt::Conflict { first })) => (first, true),
        None => return Ok(Problem::internal().error_response()),
    };
    Ok(HttpResponse::Accepted().json(PermitAccepted { event_id: event_id.uuid(), duplicate }))
}

/// 400 in the permit system's shape: reasons by field, or one `detail` if nothing could be read.
fn refused(refusal: PermitRefusal) -> HttpResponse {
    metrics::counter!(metric::REFUSED, "route" => "ptw", "status" => "400").increment(1);
    let mut by_field: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for field in refusal.into_fields() {
        if field.is_of_body() {
            return HttpResponse::BadRequest().json(serde_json::json!({ "detail": field.sentence }));
        }
        by_field.entry(field.field()).or_default().push(field.sentence.into_owned());
    }
    HttpResponse::BadRequest().json(by_field)
}
