//! What a handler answers when it cannot do what was asked: problem+json, with the cause in the log only.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use busbar_runtime::{FieldError, Problem};
use busbar_storage::{Error, seal};

/// Why a request to the management API fails.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// The caller can do something about it.
    Refused(Problem),
    /// The database cannot, or a secret cannot be sealed or opened.
    Storage(Error),
}

impl ApiError {
    /// No such object, or another tenant's.
    pub(crate) fn not_found() -> Self {
        Self::Refused(Problem::not_found())
    }

    /// The problem that the caller is told; the cause of one that is ours is logged here.
    pub(crate) fn to_problem(&self) -> Problem {
        match self {
            Self::Refused(problem) => problem.clone(),
            Self::Storage(Error::Seal(seal::Error::NoKey)) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "MASTER_KEY_MISSING",
                "No secret can be stored before the setting secrets.master_key (BUSBAR_SECRETS__MASTER_KEY) is given: \
                 <version>:<base64 of 32 bytes>.",
            ),
            Self::Storage(error) if error.is_transient() => {
                tracing::warn!(%error, "the database cannot answer");
                Problem::unavailable(1)
            }
            Self::Storage(error) => {
                tracing::error!(%error, "a request failed");
                Problem::internal()
            }
        }
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::Storage(error)
    }
}

impl From<seal::Error> for ApiError {
    fn from(error: seal::Error) -> Self {
        Self::Storage(error.into())
    }
}

impl From<Vec<FieldError>> for ApiError {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::Refused(Problem::unprocessable(errors))
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(problem) => problem.fmt(f),
            Self::Storage(_) => f.write_str("the database cannot answer"),
        }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Refused(problem) => problem.status_code(),
            Self::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        self.to_problem().error_response()
    }
}
