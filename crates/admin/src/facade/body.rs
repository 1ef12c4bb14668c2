//! What the permit system's clients send: read field by field, so that each one gets its own error.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest, web};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::facade::error::FacadeError;
use crate::fields::{Faults, Given, Project};
use crate::webhooks::Wish;

/// The longest URL, in characters.
const MAX_URL: usize = 500;

/// Fields that are shown but not written; sending them back changes nothing.
const READ_ONLY: [&str; 7] =
    ["id", "created_at", "updated_at", "last_sent_at", "last_status_code", "last_error", "secret_masked"];

/// A permit webhook as its owner writes it.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "only the schema counts; the body is read field by field")]
pub(crate) struct PermitWebhookBody {
    /// Its name, for people; 1 to 200 characters.
    name: String,
    /// Where it listens; at most 500 characters.
    url: String,
    /// The secret that signs; at most 255 bytes. Required to make one, optional afterwards.
    secret: Option<String>,
    /// Whether it gets anything; by default true.
    enabled: Option<bool>,
    /// What it hears: some of the twelve permit events.
    events: Option<Vec<String>>,
    /// The one project that it hears; null for all of them.
    project: Option<Project>,
}

/// Which fields must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Required {
    /// None.
    Nothing,
    /// Name and URL.
    NameAndUrl,
    /// Name, URL and secret.
    NameUrlAndSecret,
}

impl Required {
    const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Nothing => &[],
            Self::NameAndUrl => &["name", "url"],
            Self::NameUrlAndSecret => &["name", "url", "secret"],
        }
    }
}

/// A body that is a JSON object.
pub(crate) struct Body(Map<String, Value>);

impl FromRequest for Body {
    type Error = FacadeError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, FacadeError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = web::Bytes::from_request(request, payload);
        Box::pin(async move {
            let bytes = reading.await.map_err(|error| {
                let status = error.as_response_error().status_code();
                FacadeError::Detail(status, "The request body cannot be read.".to_owned())
            })?;
            serde_json::from_slice(&bytes)
                .map(Self)
                .map_err(|error| FacadeError::Detail(StatusCode::BAD_REQUEST, format!("JSON parse error - {error}")))
        })
    }
}

impl Body {
    /// What the body wants; what is wrong with its fields is noted.
    pub(crate) fn wish(&self, required: Required, faults: &mut Faults) -> Wish {
        for name in required.fields() {
            if !self.0.contains_key(*name) {
                faults.add(format!("/{name}"), "REQUIRED", "This field is required.");
            }
        }
        let mut wish = Wish::default();
        for (name, value) in &self.0 {
            let pointer = format!("/{name}");
            match name.as_str() {
                "name" => wish.name = text(&pointer, value, faults),
                "url" => wish.url = text(&pointer, value, faults).filter(|url| fits(&pointer, url, faults)),
                "secret" => wish.secret = text(&pointer, value, faults),
                "enabled" => wish.enabled = boolean(&pointer, value, faults),
                "events" => wish.events = texts(&pointer, value, faults),
                "project" => wish.project = project(&pointer, value, faults),
                other if READ_ONLY.contains(&other) => {}
                _ => faults.add(pointer, "UNKNOWN_FIELD", "There is no such field."),
            }
        }
        wish
    }
}

fn fits(pointer: &str, url: &str, faults: &mut Faults) -> bool {
    let fits = url.chars().count() <= MAX_URL;
    if !fits {
        faults.add(pointer, "TOO_LONG", format!("Ensure this field has no more than {MAX_URL} characters."));
    }
    fits
}

fn text(pointer: &str, value: &Value, faults: &mut Faults) -> Option<String> {
    match value {
        Value::String(text) => return Some(text.clone()),
        Value::Null => faults.add(pointer, "NULL", "This field may not be null."),
        _ => faults.add(pointer, "INVALID_FIELD", "Not a valid string."),
    }
    None
}

fn boolean(pointer: &str, value: &Value, faults: &mut Faults) -> Option<bool> {
    let flag = value.as_bool();
    if flag.is_none() {
        faults.add(pointer, "INVALID_FIELD", "Must be a valid boolean.");
    }
    flag
}

fn texts(pointer: &str, value: &Value, faults: &mut Faults) -> Option<Vec<String>> {
    let list: Option<Vec<String>> =
        value.as_array().and_then(|list| list.iter().map(|item| item.as_str().map(str::to_owned)).collect());
    if list.is_none() {
        faults.add(pointer, "INVALID_FIELD", "Expected a list of event names.");
    }
    list
}

fn project(pointer: &str, value: &Value, faults: &mut Faults) -> Given<Project> {
    let project = match value {
        Value::Null => return Given::Null,
        Value::String(text) => Some(Project::Text(text.clone())),
        other => other.as_i64().map(Project::Number),
    };
    project.map_or_else(
        || {
            faults.add(pointer, "INVALID_FIELD", "A valid integer or text is required.");
            Given::Absent
        },
        Given::Value,
    )
}
