//! A request's body as raw bytes: bounded in size before it is buffered, and in time.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::{HttpRequest, web};
use busbar_runtime::Problem;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

/// Reads a body of at most `limit` bytes within `patience`.
///
/// A compressed body is refused, since signatures are over the bytes as sent and a bomb is small when packed.
pub(crate) async fn read(
    request: &HttpRequest,
    mut payload: web::Payload,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, Problem> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if header(CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        let detail = "The body must be sent without Content-Encoding.";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "CONTENT_ENCODING_NOT_SUPPORTED", detail));
    }
    let announced = header(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Problem::payload_too_large(limit));
    }
    let whole = async {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Problem::bad_request("BODY_BROKEN", "The body ended before its length."))?;
            if first.len() + rest.len() + chunk.len() > limit {
                return Err(Problem::payload_too_large(limit));
            }
            // A body that arrives in one piece, as nearly all do, is not copied.
            if first.is_empty() && rest.is_empty() {
                first = chunk;
            } else {
                rest.reserve(announced.unwrap_or(0).saturating_sub(rest.len()));
                rest.extend_from_slice(&std::mem::take(&mut first));
                rest.extend_from_slice(&chunk);
            }
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    };
    tokio::time::timeout(patience, whole).await.unwrap_or_else(|_| {
        let detail = "The body did not arrive in time.";
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT", detail))
    })
}

/// Refuses a body whose content type says that it is not JSON.
pub(crate) fn expect_json(request: &HttpRequest) -> Result<(), Problem> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json { Ok(()) } else { Err(Problem::unsupported_media_type()) }
}
