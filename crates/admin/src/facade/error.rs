//! Errors in the permit system's shapes: `{"field": ["why"]}` with 400, `{"detail": "..."}` with everything else.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError};
use busbar_domain::id::TenantId;
use busbar_runtime::FieldError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::caller::{Authorized, Denied, Needed};
use crate::error::ApiError;

/// Every answer but those about fields.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reason {
    /// What is wrong, for a person.
    detail: String,
}

/// What is wrong with each field, for a person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(transparent)]
pub(crate) struct FieldErrors(BTreeMap<String, Vec<String>>);

/// Why a request to the facade fails.
#[derive(Debug)]
pub(crate) enum FacadeError {
    /// With a constant text.
    Detail(StatusCode, String),
    /// Fields are invalid.
    Fields(Vec<FieldError>),
    /// As in the generic API.
    Api(ApiError),
}

impl FacadeError {
    /// No such webhook, or another tenant's, or one of another dialect.
    pub(crate) fn not_found() -> Self {
        Self::Detail(StatusCode::NOT_FOUND, "Not found.".to_owned())
    }

    /// No such page.
    pub(crate) fn invalid_page() -> Self {
        Self::Detail(StatusCode::NOT_FOUND, "Invalid page.".to_owned())
    }
}

impl From<ApiError> for FacadeError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused(problem) if problem.status == 404 => Self::not_found(),
            ApiError::Refused(problem) if !problem.errors.is_empty() => Self::Fields(problem.errors),
            other => Self::Api(other),
        }
    }
}

impl From<Denied> for FacadeError {
    fn from(denied: Denied) -> Self {
        let unauthorized = |text: &str| Self::Detail(StatusCode::UNAUTHORIZED, text.to_owned());
        match denied {
            Denied::Absent => unauthorized("Authentication credentials were not provided."),
            Denied::Bad => unauthorized("Incorrect authentication credentials."),
            Denied::Scope => {
                let text = "You do not have permission to perform this action.";
                Self::Detail(StatusCode::FORBIDDEN, text.to_owned())
            }
            Denied::NoSuchTenant => Self::not_found(),
            Denied::TenantRequired | Denied::Unknown => Self::Api(denied.into()),
        }
    }
}

impl fmt::Display for FacadeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detail(_, text) => f.write_str(text),
            Self::Fields(_) => f.write_str("fields are invalid"),
            Self::Api(error) => error.fmt(f),
        }
    }
}

impl ResponseError for FacadeError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Detail(status, _) => *status,
            Self::Fields(_) => StatusCode::BAD_REQUEST,
            Self::Api(error) => error.status_code(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::Detail(status, text) => HttpResponse::build(*status).json(Reason { detail: text.clone() }),
            Self::Fields(errors) => HttpResponse::BadRequest().json(by_field(errors)),
            Self::Api(error) => {
                let problem = error.to_problem();
                let mut response = HttpResponse::build(problem.status_code());
                if let Some(seconds) = problem.retry_after {
                    response.insert_header(("retry-after", seconds));
                }
                response.json(Reason { detail: problem.detail })
            }
        }
    }
}

/// The errors under the names of the fields that their pointers begin with.
fn by_field(errors: &[FieldError]) -> FieldErrors {
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for error in errors {
        let field = error.pointer.split('/').nth(1).filter(|name| !name.is_empty()).unwrap_or("non_field_errors");
        fields.entry(field.to_owned()).or_default().push(error.detail.clone());
    }
    FieldErrors(fields)
}

/// A caller with scope `S`, refused in the permit system's shapes.
pub(crate) struct PermitCaller<S>(Authorized<S>);

impl<S> PermitCaller<S> {
    /// The tenant that the caller acts for.
    pub(crate) fn tenant(&self) -> TenantId {
        self.0.tenant
    }
}

impl<S: Needed> FromRequest for PermitCaller<S> {
    type Error = FacadeError;
    type Future = Ready<Result<Self, FacadeError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Authorized::of(request).map(Self).map_err(FacadeError::from))
    }
}
