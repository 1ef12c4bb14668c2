//! `POST /api/v1/events` and `/events/batch`: any producer publishes what happened.

use actix_web::{HttpRequest, HttpResponse, post, web};
use busbar_domain::Timestamp;
use busbar_domain::event::{EventType, Label, NewEvent, Once};
use busbar_domain::id::EventId;
use busbar_domain::json;
use busbar_domain::operational;
use busbar_domain::trace::TraceContext;
use busbar_runtime::{FieldError, Problem};
use busbar_storage::accept::Receipt;
use chrono::{DateTime, TimeDelta};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::authorized::Producer;
use crate::body;
use crate::door::{Door, problem_of};
use crate::metric;

/// The most events of one batch.
const MOST: usize = 1000;
/// How many times the size of a single event a batch may have.
const BATCH_FACTOR: usize = 16;
/// How long an `Idempotency-Key` is remembered.
const KEY_LASTS: TimeDelta = TimeDelta::hours(24);

/// An event as a producer sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent<'b> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    data: &'b RawValue,
    #[serde(borrow, default)]
    project_id: Option<&'b RawValue>,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    ordering_key: Option<String>,
    #[serde(default)]
    occurred_at: Option<String>,
}

/// An event to publish.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct EventBody {
    /// What happened: letters, digits, `_ - . :`, at most 120.
    #[schema(rename = "type", example = "workorder.created")]
    kind: String,
    /// Any JSON; sent to every subscriber as it is.
    data: serde_json::Value,
    /// The project it belongs to, a string or an integer.
    project_id: Option<String>,
    /// What it happened to, so that it can be found.
    subject: Option<String>,
    /// Events with the same key reach each webhook in the order in which they were accepted; at most 255 characters.
    ordering_key: Option<String>,
    /// When it happened, RFC 3339; now if it is missing.
    occurred_at: Option<String>,
}

/// The answer to one event.
#[derive(Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// The event's id; on a repeat under the same `Idempotency-Key`, the first one's.
    event_id: Uuid,
}

/// Publishes one event; the answer comes once it is durable.
///
/// With `Idempotency-Key`, a repeat within 24 hours answers the first id with `Idempotency-Replayed: true`.
#[utoipa::path(
    operation_id = "publish_event",
    tag = "events",
    request_body = EventBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat recognisable for 24 hours.")),
    responses(
        (status = 202, description = "Durable.", body = Accepted),
        (status = 400, description = "Unreadable, or an unknown field.", body = Problem),
        (status = 401, description = "No valid key.", body = Problem),
        (status = 403, description = "The key lacks the scope `publish`.", body = Problem),
        (status = 409, description = "The same key was used with another body.", body = Problem),
        (status = 413, description = "Too large.", body = Problem),
        (status = 422, description = "An invalid field.", body = Problem),
        (status = 503, description = "Not durable now; try again after `Retry-After`.", body = Problem),
    ),
    security(("api_key" = []))
)]
#[post("/api/v1/events")]
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
    let key = idempotency_key(&request)?;
    let mut event = read_event(&body, producer, step.context(), now)?;
    event.once = key.map(|key| once(key, &body, now));
    let mut receipts = door.accept(producer.tenant, vec![event]).await.map_err(problem_of)?;
    metrics::counter!(metric::ACCEPTED, "route" => "events").increment(1);
    match receipts.pop() {
        Some((id, Receipt::Accepted { .. })) => Ok(HttpResponse::Accepted().json(Accepted { event_id: id.uuid() })),
        Some((_, Receipt::Repeat { first })) => Ok(HttpResponse::Accepted()
            .insert_header(("Idempotency-Replayed", "true"))
            .json(Accepted { event_id: first.uuid() })),
        Some((_, Receipt::Conflict { .. })) => Err(reused_key()),
        None => Err(Problem::internal()),
    }
}

/// The answer to one event of a batch: its id, or why it was not taken.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Item {
    /// Durable.
    Accepted {
        /// The event's id.
        event_id: Uuid,
    },
    /// Not taken; the others of the batch are not affected.
    Refused {
        /// Why.
        error: Problem,
    },
}

/// The answers to a batch, in its order.
#[derive(Serialize, ToSchema)]
pub(crate) struct Items {
    events: Vec<Item>,
}

/// Publishes up to 1,000 events: `{"events":[...]}` or a bare array of what `POST /events` takes.
///
/// Each is taken or refused by itself; those taken become durable together.
#[utoipa::path(
    operation_id = "publish_events",
    tag = "events",
    request_body = Vec<EventBody>,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat recognisable for 24 hours.")),
    responses(
        (status = 202, description = "Each event's id or error, in order.", body = Items),
        (status = 400, description = "Unreadable.", body = Problem),
        (status = 401, description = "No valid key.", body = Problem),
        (status = 403, description = "The key lacks the scope `publish`.", body = Problem),
        (status = 413, description = "Too large.", body = Problem),
        (status = 422, description = "More than 1,000 events, or none.", body = Problem),
        (status = 503, description = "Not durable now; try again after `Retry-After`.", body = Problem),
    ),
    security(("api_key" = []))
)]
#[post("/api/v1/events/batch")]
pub(crate) async fn publish_batch(
    request: HttpRequest,
    door: web::Data<Door>,
    producer: Producer,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let step = door.begin(&request);
    body::expect_json(&request)?;
    let limits = door.limits();
    let body = body::read(&request, payload, limits.body * BATCH_FACTOR, limits.body_timeout).await?;
    let (now, trace, key) = (door.now(), step.context(), idempotency_key(&request)?);
    let mut events = Vec::new();
    let mut refused = Vec::new();
    for (at, text) in read_batch(&body)?.into_iter().enumerate() {
        match read_event(text.get().as_bytes(), producer, trace, now) {
            Ok(mut event) => {
                event.once = key.map(|key| once(&format!("{key}#{at}"), text.get().as_bytes(), now));
                refused.push(None);
                events.push(event);
            }
            Err(problem) => refused.push(Some(problem)),
        }
    }
    let receipts =
        if events.is_empty() { Vec::new() } else { door.accept(producer.tenant, events).await.map_err(problem_of)? };
    metrics::counter!(metric::ACCEPTED, "route" => "batch").increment(receipts.len() as u64);
    let mut receipts = receipts.into_iter();
    let events = refused.into_iter().map(|problem| match problem {
        Some(error) => Item::Refused { error },
        None => match receipts.next() {
            Some((id, Receipt::Accepted { .. })) => Item::Accepted { event_id: id.uuid() },
            Some((_, Receipt::Repeat { first })) => Item::Accepted { event_id: first.uuid() },
            Some((_, Receipt::Conflict { .. })) => Item::Refused { error: reused_key() },
            None => Item::Refused { error: Problem::internal() },
        },
    });
    Ok(HttpResponse::Accepted().json(Items { events: events.collect() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped<'b> {
    #[serde(borrow)]
    events: Vec<&'b RawValue>,
}

fn read_batch(body: &[u8]) -> Result<Vec<&RawValue>, Problem> {
    let bare = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let parsed = if bare {
        serde_json::from_slice::<Vec<&RawValue>>(body)
    } else {
        serde_json::from_slice::<Wrapped<'_>>(body).map(|wrapped| wrapped.events)
    };
    let events = parsed.map_err(|error| unreadable(&error))?;
    if !(1..=MOST).contains(&events.len()) {
        let detail = format!("A batch has 1 to {MOST} events; this one has {}.", events.len());
        return Err(Problem::unprocessable(vec![FieldError::new("/events", "INVALID_LENGTH", detail)]));
    }
    Ok(events)
}

fn read_event(body: &[u8], producer: Producer, trace: TraceContext, now: Timestamp) -> Result<NewEvent, Problem> {
    let sent: Sent<'_> = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let mut wrong = Vec::new();
    let mut note = |pointer: &str, detail: String| wrong.push(FieldError::new(pointer, "INVALID_VALUE", detail));
    let kind = EventType::parse(&sent.kind).map_err(|error| note("/type", error.to_string())).ok();
    if operational::Kind::is(&sent.kind) {
        note("/type", "is the type of an event that only the hub makes".to_owned());
    }
    let payload = json::compact(sent.data.get().as_bytes()).map_err(|error| note("/data", error.to_string())).ok();
    let mut label = |pointer: &str, text: Option<String>| {
        text.and_then(|text| Label::parse(text).map_err(|error| note(pointer, error.to_string())).ok())
    };
    let subject = label("/subject", sent.subject);
    let ordering_key = label("/ordering_key", sent.ordering_key);
    let project = match sent.project_id.map(project_text) {
        None | Some(Ok(None)) => None,
        Some(Ok(Some(text))) => label("/project_id", Some(text)),
        Some(Err(detail)) => {
            note("/project_id", detail.to_owned());
            None
        }
    };
    let occurred_at = match sent.occurred_at.as_deref().map(DateTime::parse_from_rfc3339) {
        None => now,
        Some(Ok(at)) => at.to_utc(),
        Some(Err(_)) => {
            note("/occurred_at", "is a time of RFC 3339, such as 2026-01-31T08:00:00Z".to_owned());
            now
        }
    };
    match (kind, payload) {
        (Some(kind), Some(payload)) if wrong.is_empty() => Ok(NewEvent {
            id: EventId::new(now),
            tenant: producer.tenant,
            kind,
            subject,
            project,
            ordering_key,
            occurred_at,
            payload: payload.into(),
            trace,
            inbound: None,
            hops: producer.hops,
            once: None,
        }),
        _ => Err(Problem::unprocessable(wrong)),
    }
}

/// A project's id as text: a string, an integer, or nothing.
fn project_text(raw: &RawValue) -> Result<Option<String>, &'static str> {
    match serde_json::from_str(raw.get()) {
        Ok(serde_json::Value::Null) => Ok(None),
        Ok(serde_json::Value::String(text)) => Ok(Some(text)),
        Ok(serde_json::Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(Some(number.to_string())),
        _ => Err("is a string or an integer"),
    }
}

fn unreadable(error: &serde_json::Error) -> Problem {
    use serde_json::error::Category;
    let text = error.to_string();
    match error.classify() {
        Category::Data if text.starts_with("unknown field") => Problem::bad_request("UNKNOWN_FIELD", text),
        Category::Data => Problem::unprocessable(vec![FieldError::new("", "INVALID_TYPE", text)]),
        Category::Syntax | Category::Eof | Category::Io => {
            Problem::bad_request("INVALID_JSON", format!("The body is not valid JSON: {text}."))
        }
    }
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<&str>, Problem> {
    let Some(value) = request.headers().get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().map(|text| text.trim().trim_matches('"'));
    let key = key.filter(|key| (1..=200).contains(&key.len())).ok_or_else(|| {
        let detail = "Idempotency-Key has 1 to 200 visible ASCII characters.";
        Problem::bad_request("INVALID_IDEMPOTENCY_KEY", detail)
    })?;
    Ok(Some(key))
}

fn once(key: &str, body: &[u8], now: Timestamp) -> Once {
    Once { scope: "events", key: key.to_owned(), digest: Some(Sha256::digest(body).into()), until: now + KEY_LASTS }
}

fn reused_key() -> Problem {
    Problem::conflict("IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was used with another body.")
}
