//! `/inbound/{id}`: one call with its body and its way through the hub: the events made of it and what they owe.

use actix_web::{HttpResponse, get, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use busbar_domain::id::{InboundId, TenantId};
use busbar_domain::inbound::Answer;
use busbar_runtime::Problem;
use busbar_storage::event_log::{self, EventRecord, Made, Owed};
use busbar_storage::inbound_log::{self, CallDetail};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::InboundView;
use crate::caller::{Authorized, scope};
use crate::desk::{At, Desk};
use crate::error::ApiError;
use crate::events::{EventView, OwedView};

/// The most events of one call that are shown.
const MAX_EVENTS: i64 = 50;
/// The most deliveries of one event that are shown.
const MAX_OWED: i64 = 200;
/// The most deliveries that are shown in all.
const MAX_SHOWN: i64 = 1000;

/// A call with its body and what came of it.
#[derive(Serialize, ToSchema)]
struct InboundDetail {
    #[serde(flatten)]
    call: InboundView,
    /// The trace in which it was received.
    trace_id: Option<String>,
    /// The body as text, at most 64 KiB of it; null where it is no text.
    body: Option<String>,
    /// The body in base64, at most 64 KiB of it, where it is no text.
    body_base64: Option<String>,
    /// How many bytes the whole body has.
    body_length: i32,
    /// The calls that repeat it, the first one first.
    replayed_as: Vec<Uuid>,
    /// What its caller is told, where the processing makes the answer; null until it has.
    answer: Option<AnswerView>,
    /// The events made of it.
    events: Vec<MadeEventView>,
}

/// The answer to a call.
#[derive(Serialize, ToSchema)]
struct AnswerView {
    /// The status of the response.
    status: u16,
    /// The body of the response.
    #[schema(value_type = Object)]
    body: Option<Box<RawValue>>,
}

impl From<Answer> for AnswerView {
    fn from(answer: Answer) -> Self {
        let text = String::from_utf8(answer.body.to_vec()).ok();
        Self { status: answer.status, body: text.and_then(|text| RawValue::from_string(text).ok()) }
    }
}

/// An event that was made of a call.
#[derive(Serialize, ToSchema)]
struct MadeEventView {
    #[serde(flatten)]
    event: EventView,
    /// What it owes, at most 200 deliveries, replays last.
    deliveries: Vec<OwedView>,
}

impl InboundDetail {
    fn new(detail: CallDetail, events: Vec<(EventRecord, Made)>, owed: &[Owed]) -> Self {
        let (body, body_base64) = match text(detail.body) {
            Ok(text) => (Some(text), None),
            Err(bytes) => (None, Some(STANDARD.encode(bytes))),
        };
        let of = |made: Made| owed.iter().filter(move |owed| owed.event == made.id).map(OwedView::from).collect();
        Self {
            call: detail.call.into(),
            trace_id: detail.trace.map(|trace| trace.trace_id()),
            body,
            body_base64,
            body_length: detail.length,
            replayed_as: detail.replayed_as,
            answer: detail.answer.map(AnswerView::from),
            events: events
                .into_iter()
                .map(|(event, made)| MadeEventView { event: event.into(), deliveries: of(made) })
                .collect(),
        }
    }
}

/// Bytes as text, without a last letter that is cut; or the bytes again.
fn text(bytes: Vec<u8>) -> Result<String, Vec<u8>> {
    String::from_utf8(bytes).or_else(|error| {
        let end = error.utf8_error().valid_up_to();
        let is_cut = error.utf8_error().error_len().is_none();
        let mut bytes = error.into_bytes();
        if !is_cut {
            return Err(bytes);
        }
        bytes.truncate(end);
        String::from_utf8(bytes).map_err(std::string::FromUtf8Error::into_bytes)
    })
}

async fn detail(desk: &Desk, tenant: TenantId, id: InboundId) -> Result<InboundDetail, ApiError> {
    let found = desk.read(async |conn| inbound_log::find(conn, tenant, id).await).await?;
    let call = found.ok_or_else(ApiError::not_found)?;
    let events = desk.read(async |conn| event_log::of_call(conn, tenant, id, MAX_EVENTS).await).await?;
    let made: Vec<Made> = events.iter().map(|(_, made)| *made).collect();
    let owed = desk.read(async |conn| event_log::owed(conn, tenant, &made, MAX_OWED, MAX_SHOWN).await).await?;
    Ok(InboundDetail::new(call, events, &owed))
}

/// One call with its body, the events made of it and what these owe.
#[utoipa::path(tag = "inbound", responses((status = 200, body = InboundDetail), (status = 404, body = Problem)))]
#[get("/inbound/{id}")]
pub(crate) async fn get_inbound(
    desk: At,
    caller: Authorized<scope::Read>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(detail(&desk, caller.tenant, InboundId::from(*id)).await?))
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_body_that_is_cut_within_a_letter_is_still_text() {
        let umlaut = "aä".as_bytes().to_vec();
        assert_eq!(text(umlaut[..2].to_vec()), Ok("a".to_owned()));
        assert_eq!(text(umlaut), Ok("aä".to_owned()));
        assert_eq!(text(b"a\xffb".to_vec()), Err(b"a\xffb".to_vec()));
        assert_eq!(text(Vec::new()), Ok(String::new()));
    }
}
