//! Errors of the HTTP APIs as RFC 9457 `application/problem+json`.
//! `code` is the stable word that clients match; a 500 says nothing of its cause.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::{Serialize, Serializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

mod extractors;

pub use extractors::{configure, json, path, query, unmatched};

/// The content type of every problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// One error, ready to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable word for the error, `UPPER_SNAKE`; `type` is made of it.
    pub code: &'static str,
    /// The error in a few words, the same for every occurrence.
    pub title: &'static str,
    /// This occurrence, for a person.
    pub detail: String,
    /// The fields at fault.
    pub errors: Vec<FieldError>,
    /// When to try again; seconds, sent as `Retry-After`.
    pub retry_after: Option<u32>,
    /// The trace in which it happened.
    pub trace_id: Option<String>,
}

/// One invalid field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where it is in the body, as JSON pointer (RFC 6901); empty for the whole body.
    pub pointer: String,
    /// The stable word for what is wrong, `UPPER_SNAKE`.
    pub code: &'static str,
    /// What is wrong, for a person.
    pub detail: String,
}

impl FieldError {
    /// The field at `pointer` is wrong.
    pub fn new(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into() }
    }
}

impl Problem {
    /// A problem of any status; the others are built on it.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            code,
            title: status.canonical_reason().unwrap_or("Error"),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            trace_id: None,
        }
    }

    /// 400: the request cannot be read.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401: no credential, or a bad one; which of the two is not told.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "A valid API key or access token is required.")
    }

    /// 403: the credential is good, but not for this.
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 404: no such object, or another tenant's.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "There is nothing at this address.")
    }

    /// 405: the address is known, the method is not.
    pub fn method_not_allowed() -> Self {
        let detail = "This address does not answer this method.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail)
    }

    /// 409: the request contradicts what is there.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 413: the body is longer than `limit` bytes.
    pub fn payload_too_large(limit: usize) -> Self {
        let detail = format!("The body may have at most {limit} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", detail)
    }

    /// 415: the body is not JSON by its content type.
    pub fn unsupported_media_type() -> Self {
        let detail = "The body must be sent as application/json.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", detail)
    }

    /// 422: the body was read, but fields in it are invalid.
    pub fn unprocessable(errors: Vec<FieldError>) -> Self {
        let detail = "Fields of the request are invalid; see errors.";
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_FIELD", detail) }
    }

    /// 429: too many requests; `retry_after` in seconds.
    pub fn too_many(code: &'static str, detail: impl Into<String>, retry_after: u32) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail) }
    }

    /// 503: the hub cannot take it now; `retry_after` in seconds.
    pub fn unavailable(retry_after: u32) -> Self {
        let detail = "The hub cannot take this request now; try again.";
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", detail) }
    }

    /// 500: the cause is in the log, not in the answer.
    pub fn internal() -> Self {
        let detail = "Something went wrong on our side; it has been logged.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", detail)
    }

    /// The same problem with the trace in which it happened.
    #[must_use]
    pub fn traced(self, trace_id: impl Into<String>) -> Self {
        Self { trace_id: Some(trace_id.into()), ..self }
    }

    /// The URI that names this kind of problem.
    pub fn type_uri(&self) -> String {
        format!("https://busbar.dev/problems/{}", self.code.to_ascii_lowercase().replace('_', "-"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type(CONTENT_TYPE);
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds));
        }
        if self.status_code() == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        response.json(self)
    }
}

/// The body, whose shape is also the schema of a problem.
#[derive(Serialize, ToSchema)]
struct Body<'a> {
    /// A URI that names this kind of problem.
    #[serde(rename = "type")]
    uri: String,
    /// The error in a few words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// This occurrence, for a person.
    detail: &'a str,
    /// The stable word for the error, `UPPER_SNAKE`.
    code: &'a str,
    /// The fields at fault.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// The trace in which it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let body = Body {
            uri: self.type_uri(),
            title: self.title,
            status: self.status,
            detail: &self.detail,
            code: self.code,
            errors: &self.errors,
            trace_id: self.trace_id.as_deref(),
        };
        body.serialize(serializer)
    }
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        Body::schema()
    }
}

impl ToSchema for Problem {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Problem")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Body::schemas(schemas);
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;

    async fn answer(problem: Problem) -> (HttpResponse, Value) {
        let response = problem.error_response();
        let body = to_bytes(problem.error_response().into_body()).await.unwrap();
        (response, serde_json::from_slice(&body).unwrap())
    }

    #[actix_web::test]
    async fn a_problem_has_the_shape_of_rfc_9457() {
        let errors = vec![FieldError::new("/data/title", "REQUIRED", "A title is required.")];
        let (response, body) = answer(Problem::unprocessable(errors).traced("0af7651916cd43dd8448eb211c80319c")).await;
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers().get("content-type").unwrap(), CONTENT_TYPE);
        let expected = json!({
            "type": "https://busbar.dev/problems/invalid-field",
            "title": "Unprocessable Entity",
            "status": 422,
            "detail": "Fields of the request are invalid; see errors.",
            "code": "INVALID_FIELD",
            "errors": [{"pointer": "/data/title", "code": "REQUIRED", "detail": "A title is required."}],
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
        });
        assert_eq!(body, expected);
    }

    #[actix_web::test]
    async fn waiting_is_told_in_seconds_and_absent_members_are_left_out() {
        let (response, body) = answer(Problem::too_many("RATE_LIMITED", "Slower, please.", 30)).await;
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers().get("retry-after").unwrap(), "30");
        assert!(body.get("errors").is_none() && body.get("trace_id").is_none() && body.get("retry_after").is_none());
        assert_eq!(answer(Problem::unauthorized()).await.0.headers().get("www-authenticate").unwrap(), "Bearer");
    }

    #[test]
    fn the_schema_names_every_member() {
        let schema = serde_json::to_value(Problem::schema()).unwrap();
        let members: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        for member in ["type", "title", "status", "detail", "code", "errors", "trace_id"] {
            assert!(members.contains(&member), "{schema}");
        }
        let mut others = Vec::new();
        Problem::schemas(&mut others);
        assert_eq!(others.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["FieldError"]);
    }
}
