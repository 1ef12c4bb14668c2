//! `/deliveries/{id}`: one delivery, attempt by attempt: what was sent, what came back, and how long it took.

use actix_web::{HttpResponse, get, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use busbar_domain::id::{DeliveryId, TenantId};
use busbar_runtime::Problem;
use busbar_storage::delivery_log::{self, AttemptRow};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::deliveries::view::DeliveryView;
use crate::desk::{At, Desk};
use crate::error::ApiError;

/// A delivery with its attempts.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryDetail {
    #[serde(flatten)]
    delivery: DeliveryView,
    /// What the event happened to.
    subject: Option<String>,
    /// The trace in which the event was made.
    trace_id: Option<String>,
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
    /// The address that was called.
    address: Option<String>,
    /// What was sent; secrets are masked.
    request_headers: Vec<HeaderView>,
    /// The response's status, if there was a response.
    status: Option<i16>,
    /// What came back; the start of it.
    response_headers: Vec<HeaderView>,
    /// The start of the response's body, as text.
    response_body: Option<String>,
    /// The same bytes in base64, where they are no text.
    response_body_base64: Option<String>,
    /// How long each phase took.
    timings_ms: TimingsView,
    /// The stable word for what went wrong.
    error_class: Option<String>,
    /// What went wrong, in a sentence.
    error: Option<String>,
}

/// A header.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct HeaderView {
    /// Its name.
    name: String,
    /// Its value, or asterisks in its place.
    value: String,
}

/// How long the phases of an attempt took, in milliseconds; null for those that did not happen.
#[derive(Serialize, ToSchema)]
struct TimingsView {
    /// Resolving the name.
    dns: Option<f64>,
    /// Connecting.
    connect: Option<f64>,
    /// The TLS handshake.
    tls: Option<f64>,
    /// From the start to the first byte of the answer.
    first_byte: Option<f64>,
    /// The whole attempt.
    total: f64,
}

impl From<AttemptRow> for AttemptView {
    fn from(row: AttemptRow) -> Self {
        let total = millis(i32::try_from(row.duration_us).unwrap_or(i32::MAX));
        let body = row.response_body;
        Self {
            number: row.number,
            started_at: row.started_at,
            duration_ms: total,
            address: row.address,
            request_headers: headers(row.request_headers.as_deref()),
            status: row.status,
            response_headers: headers(row.response_headers.as_deref()),
            response_body_base64: body.as_ref().filter(|body| !is_text(body)).map(|body| STANDARD.encode(body)),
            response_body: body.map(|body| String::from_utf8_lossy(&body).into_owned()),
            timings_ms: TimingsView {
                dns: row.dns_us.map(millis),
                connect: row.connect_us.map(millis),
                tls: row.tls_us.map(millis),
                first_byte: row.first_byte_us.map(millis),
                total,
            },
            error_class: row.error_class,
            error: row.error,
        }
    }
}

fn millis(micros: i32) -> f64 {
    f64::from(micros) / 1000.0
}

/// Lines of `name: value`, one by one.
fn headers(lines: Option<&[u8]>) -> Vec<HeaderView> {
    let text = String::from_utf8_lossy(lines.unwrap_or_default());
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| HeaderView { name: name.to_owned(), value: value.trim().to_owned() }).collect()
}

/// Whether bytes are text, of which the last letter may be cut.
fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).err().is_none_or(|error| error.error_len().is_none())
}

/// The delivery with its attempts.
pub(super) async fn detail(desk: &Desk, tenant: TenantId, id: DeliveryId) -> Result<DeliveryDetail, ApiError> {
    let found = desk.read(async |conn| delivery_log::find(conn, tenant, id).await).await?;
    let found = found.ok_or_else(ApiError::not_found)?;
    let attempts = desk.read(async |conn| delivery_log::attempts(conn, id).await).await?;
    Ok(DeliveryDetail {
        delivery: found.delivery.into(),
        subject: found.subject,
        trace_id: found.trace.map(|trace| trace.trace_id()),
        attempts: attempts.into_iter().map(AttemptView::from).collect(),
    })
}

/// One delivery with its attempts.
#[utoipa::path(tag = "deliveries", responses((status = 200, body = DeliveryDetail), (status = 404, body = Problem)))]
#[get("/deliveries/{id}")]
pub(crate) async fn get_delivery(
    desk: At,
    caller: Authorized<scope::Read>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(detail(&desk, caller.tenant, DeliveryId::from(*id)).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_headers() {
        let found = headers(Some(b"x-key: ***\r\nwhen: 10:30\nodd: \xff\nno header\n"));
        let pairs: Vec<_> = found.iter().map(|header| (header.name.as_str(), header.value.as_str())).collect();
        assert_eq!(pairs, [("x-key", "***"), ("when", "10:30"), ("odd", "\u{fffd}")]);
        assert!(headers(None).is_empty());
    }

    #[test]
    fn text_may_be_cut_within_its_last_letter() {
        let umlaut = "ä".as_bytes();
        assert!(is_text(b"abc") && is_text(b"") && is_text(&umlaut[..1]));
        assert!(!is_text(b"\xff") && !is_text(&[umlaut[0], b'a']));
    }
}
