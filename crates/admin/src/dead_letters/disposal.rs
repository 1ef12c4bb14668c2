//! `/dead-letters/{id}/resubmit` and `/discard`, for one letter or for all of one cause.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use actix_web::{Error, FromRequest, HttpRequest, HttpResponse, post, web};
use busbar_domain::inbound::System;
use busbar_domain::json;
use busbar_messaging::Queue;
use busbar_runtime::{FieldError, Problem};
use busbar_storage::dead_letters::{self, Act, Group, Kind, Refusal, Successor};
use busbar_storage::due::WAKE_GRACE;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::caller::{Party, scope};
use crate::desk::{At, Desk};
use crate::error::ApiError;

/// The longest reason, in characters.
const LONGEST_REASON: usize = 500;

/// How a letter is tried once more.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Resubmission {
    /// Any JSON but null: exactly this, compact, is sent or processed in place of the body that it had.
    #[schema(value_type = Option<Object>)]
    body: Option<Box<RawValue>>,
}

/// A resubmission as it is asked for: without a body, the letter is tried as it is.
struct Asked(Resubmission);

impl FromRequest for Asked {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let headers = request.headers();
        let says_nothing = headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0");
        if says_nothing && !headers.contains_key(TRANSFER_ENCODING) {
            return Box::pin(async { Ok(Self(Resubmission::default())) });
        }
        let reading = web::Json::<Resubmission>::from_request(request, payload);
        Box::pin(async move { Ok(Self(reading.await?.into_inner())) })
    }
}

/// What a resubmission made.
#[derive(Serialize, ToSchema)]
struct Resubmitted {
    /// The new delivery or call.
    successor_id: Uuid,
}

/// Why a letter is discarded.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Discarding {
    /// 1 to 500 characters, kept with the letter.
    reason: Option<String>,
}

/// Which letters are resubmitted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GroupResubmission {
    /// Their common cause.
    fingerprint: String,
}

/// Which letters are discarded.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GroupDiscarding {
    /// Their common cause.
    fingerprint: String,
    /// 1 to 500 characters, kept with each letter.
    reason: Option<String>,
}

/// What became of letters of one cause.
#[derive(Serialize, ToSchema)]
struct GroupView {
    /// How many were resubmitted or discarded, at most 1,000.
    count: usize,
    /// How many are open still.
    remaining: i64,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let conflict = |code, detail: &str| Self::from(Problem::conflict(code, detail));
        match refusal {
            Refusal::NotFound => Self::not_found(),
            Refusal::AlreadyDisposed => {
                conflict("ALREADY_DISPOSED", "The letter was resubmitted or discarded already.")
            }
            Refusal::NothingToResubmit => conflict(
                "NOTHING_TO_RESUBMIT",
                "There is nothing to send again: the rows that a wake-up named are woken by themselves, and what is \
                 kept no longer cannot be tried. Discard the letter.",
            ),
            Refusal::WebhookDeleted => conflict("WEBHOOK_DELETED", "The webhook was deleted; nothing is sent to it."),
            Refusal::ConnectorDeleted => conflict("CONNECTOR_DELETED", "The connector was deleted."),
        }
    }
}

impl Party<scope::Admin> {
    fn act(&self, desk: &Desk) -> Act {
        let now = desk.now();
        Act { whose: self.whose, actor: self.actor, now, due_at: now + WAKE_GRACE }
    }
}

fn reason(text: Option<&str>) -> Result<&str, ApiError> {
    let fault = |code, detail: &str| ApiError::from(vec![FieldError::new("/reason", code, detail)]);
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| fault("REQUIRED", "A letter is discarded for a reason."))?;
    if text.chars().count() > LONGEST_REASON {
        return Err(fault("TOO_LONG", "A reason has at most 500 characters."));
    }
    if text.contains('\0') {
        return Err(fault("INVALID_FIELD", "A reason is text without NUL."));
    }
    Ok(text)
}

fn compact(body: Option<&RawValue>) -> Result<Option<Vec<u8>>, ApiError> {
    let fault = |error: json::Invalid| vec![FieldError::new("/body", "INVALID_JSON", format!("{error}."))];
    Ok(body.map(|body| json::compact(body.get().as_bytes())).transpose().map_err(fault)?)
}

/// Wakes what resubmissions made.
fn wake(desk: &Desk, successors: &[Successor]) {
    let of = |kind| successors.iter().filter(move |made| made.kind == kind);
    let mut deliveries: Vec<Uuid> = of(Kind::Delivery).map(|made| made.id).collect();
    deliveries.sort_unstable();
    desk.publisher().wake(Queue::Deliveries, &deliveries, None);
    for call in of(Kind::Inbound) {
        if let Some(queue) = System::parse(&call.label).and_then(Queue::inbound) {
            desk.publisher().wake(queue, &[call.id], None);
        }
    }
}

/// Tries once more what a letter is about: a new delivery with the same message id, or a new call.
///
/// A delivery to an ordered webhook is sent outside the order. A body of one's own takes the place of the former one:
/// exactly its compact form is sent and signed anew, or processed.
#[utoipa::path(tag = "dead letters", request_body(content = Resubmission), responses(
    (status = 201, body = Resubmitted),
    (status = 404, body = Problem),
    (status = 409, body = Problem,
        description = "`ALREADY_DISPOSED`, `NOTHING_TO_RESUBMIT`, `WEBHOOK_DELETED` or `CONNECTOR_DELETED`"),
    (status = 422, body = Problem, description = "The body is not JSON that the hub takes"),
))]
#[post("/dead-letters/{id}/resubmit")]
pub(crate) async fn resubmit_dead_letter(
    desk: At,
    caller: Party<scope::Admin>,
    id: web::Path<Uuid>,
    asked: Asked,
) -> Result<HttpResponse, ApiError> {
    let body = compact(asked.0.body.as_deref())?;
    let mut tx = desk.database().begin().await?;
    let made = dead_letters::resubmit(&mut tx, *id, body.as_deref(), &caller.act(&desk)).await??;
    tx.commit().await?;
    let successor_id = made.id;
    wake(&desk, &[made]);
    Ok(HttpResponse::Created().json(Resubmitted { successor_id }))
}

/// Closes a letter for good.
#[utoipa::path(tag = "dead letters", responses(
    (status = 200, body = super::LetterDetail),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`ALREADY_DISPOSED`"),
    (status = 422, body = Problem, description = "The reason is missing or too long"),
))]
#[post("/dead-letters/{id}/discard")]
pub(crate) async fn discard_dead_letter(
    desk: At,
    caller: Party<scope::Admin>,
    id: web::Path<Uuid>,
    body: web::Json<Discarding>,
) -> Result<HttpResponse, ApiError> {
    let reason = reason(body.reason.as_deref())?;
    let mut tx = desk.database().begin().await?;
    dead_letters::discard(&mut tx, *id, reason, &caller.act(&desk)).await??;
    let letter = dead_letters::find(&mut tx, caller.whose, *id).await?.ok_or_else(ApiError::not_found)?;
    tx.commit().await?;
    Ok(HttpResponse::Ok().json(super::detail(&desk, letter).await?))
}

/// Tries once more the oldest open letters of one cause as they are, at most 1,000 in one call.
///
/// Repeat the call until `remaining` is 0; letters of which nothing is left to send answer `NOTHING_TO_RESUBMIT`.
#[utoipa::path(tag = "dead letters", responses(
    (status = 200, body = GroupView),
    (status = 404, body = Problem, description = "No open letter has this cause"),
    (status = 409, body = Problem, description = "`NOTHING_TO_RESUBMIT`, `WEBHOOK_DELETED` or `CONNECTOR_DELETED`"),
))]
#[post("/dead-letters/resubmit")]
pub(crate) async fn resubmit_dead_letters(
    desk: At,
    caller: Party<scope::Admin>,
    body: web::Json<GroupResubmission>,
) -> Result<HttpResponse, ApiError> {
    let mut tx = desk.database().begin().await?;
    let group = dead_letters::resubmit_group(&mut tx, &body.fingerprint, &caller.act(&desk)).await??;
    tx.commit().await?;
    wake(&desk, &group.successors);
    Ok(HttpResponse::Ok().json(GroupView::from(group)))
}

/// Closes the oldest open letters of one cause for good, at most 1,000 in one call.
#[utoipa::path(tag = "dead letters", responses(
    (status = 200, body = GroupView),
    (status = 404, body = Problem, description = "No open letter has this cause"),
    (status = 422, body = Problem, description = "The reason is missing or too long"),
))]
#[post("/dead-letters/discard")]
pub(crate) async fn discard_dead_letters(
    desk: At,
    caller: Party<scope::Admin>,
    body: web::Json<GroupDiscarding>,
) -> Result<HttpResponse, ApiError> {
    let reason = reason(body.reason.as_deref())?;
    let mut tx = desk.database().begin().await?;
    let group = dead_letters::discard_group(&mut tx, &body.fingerprint, reason, &caller.act(&desk)).await??;
    tx.commit().await?;
    Ok(HttpResponse::Ok().json(GroupView::from(group)))
}

impl From<Group> for GroupView {
    fn from(group: Group) -> Self {
        Self { count: group.count, remaining: group.remaining }
    }
}
