//! Fields that several requests share, and how what is wrong with them is collected: all of it at once.

use std::fmt::Display;

use busbar_domain::Timestamp;
use busbar_domain::secret::Secret;
use busbar_runtime::{FieldError, Problem};
use busbar_storage::rotation::Rotation;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::error::ApiError;

/// The longest name, in characters.
const MAX_NAME: usize = 200;
/// The longest overlap of a rotation: thirty days.
const MAX_OVERLAP_SECONDS: u32 = 30 * 24 * 3600;
const DEFAULT_OVERLAP_SECONDS: u32 = 24 * 3600;

/// What is wrong with a request so far.
#[derive(Default)]
pub(crate) struct Faults(Vec<FieldError>);

impl Faults {
    /// Notes a fault.
    pub(crate) fn add(&mut self, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) {
        self.0.push(FieldError::new(pointer, code, detail));
    }

    /// The value, or a note of why there is none.
    pub(crate) fn take<T, E: Display>(&mut self, pointer: &str, code: &'static str, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.add(pointer, code, error.to_string())).ok()
    }

    /// A name for people: 1 to 200 characters, not blank, no control characters.
    pub(crate) fn name(&mut self, pointer: &str, name: Option<&str>) -> Option<String> {
        let Some(name) = name else {
            self.add(pointer, "REQUIRED", "This field is required.");
            return None;
        };
        let length = name.chars().count();
        if name.trim().is_empty() {
            self.add(pointer, "BLANK", "This field may not be blank.");
        } else if length > MAX_NAME {
            self.add(pointer, "TOO_LONG", format!("This field has at most {MAX_NAME} characters."));
        } else if name.chars().any(char::is_control) {
            self.add(pointer, "INVALID_FIELD", "This field may not hold control characters.");
        } else {
            return Some(name.trim().to_owned());
        }
        None
    }

    /// A secret that a person chose, or a new one.
    pub(crate) fn secret(&mut self, pointer: &str, secret: Option<&str>) -> Option<Secret> {
        match secret {
            Some(text) => self.take(pointer, "INVALID_SECRET", Secret::parse(text)),
            None => Some(Secret::generate()),
        }
    }

    /// An error if anything was noted.
    pub(crate) fn check(self) -> Result<(), Vec<FieldError>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }

    /// What the request means: everything was fine, or everything that was not.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<FieldError>> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            Some(_) | None => Err(self.0),
        }
    }
}

/// A text that is looked for; none that is stored holds NUL.
pub(crate) fn sought<'t>(pointer: &str, text: Option<&'t str>) -> Result<Option<&'t str>, ApiError> {
    if text.is_some_and(|text| text.contains('\0')) {
        return Err(vec![FieldError::new(pointer, "INVALID_FIELD", "This parameter has no NUL.")].into());
    }
    Ok(text)
}

/// How long what is replaced goes on beside what replaces it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Overlap {
    /// Seconds, at most thirty days; by default one day. 0 ends the old one at once.
    #[serde(default)]
    #[schema(maximum = 2_592_000, default = 86_400)]
    overlap_seconds: Option<u32>,
}

impl Overlap {
    /// When the overlap ends.
    pub(crate) fn end(&self, now: Timestamp) -> Result<Timestamp, ApiError> {
        let seconds = self.overlap_seconds.unwrap_or(DEFAULT_OVERLAP_SECONDS);
        if seconds > MAX_OVERLAP_SECONDS {
            let detail = format!("overlap_seconds is 0 to {MAX_OVERLAP_SECONDS}");
            return Err(vec![FieldError::new("/overlap_seconds", "OUT_OF_RANGE", detail)].into());
        }
        Ok(now + TimeDelta::seconds(seconds.into()))
    }
}

/// The answer to a rotation: the new secret shows here and nowhere else.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rotated {
    /// The new secret.
    pub(crate) secret: String,
    /// Until when the old one counts as well; null if it ended at once.
    pub(crate) old_secret_until: Option<DateTime<Utc>>,
}

impl Rotated {
    /// What the owner is told of a rotation to `secret` whose overlap ends at `until`.
    pub(crate) fn answer(
        rotation: Rotation,
        secret: &Secret,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Self, ApiError> {
        match rotation {
            Rotation::Done => {
                Ok(Self { secret: secret.expose().to_owned(), old_secret_until: (until > now).then_some(until) })
            }
            Rotation::NotFound => Err(ApiError::not_found()),
            Rotation::Overlapping { until } => {
                let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
                let detail = format!(
                    "The secret before the present one counts until {until}; rotate again after that, or now with \
                     overlap_seconds 0, which ends both."
                );
                Err(Problem::conflict("ROTATION_UNDER_WAY", detail).into())
            }
        }
    }
}

/// A project as its owner writes it: a number stays one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Project {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

impl Project {
    /// As it is stored.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    /// As it is shown.
    pub(crate) fn of(text: String) -> Self {
        match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Self::Number(number),
            Ok(_) | Err(_) => Self::Text(text),
        }
    }
}

/// A member of a body, where null is not the same as nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Given<T> {
    /// Not there: what it stands for stays as it is.
    #[default]
    Absent,
    /// There, and null.
    Null,
    /// There.
    Value(T),
}

impl<T> Given<T> {
    /// A member that is there, whether it is null or not.
    pub(crate) fn of(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::Value)
    }

    /// The same member, null where it is absent.
    #[must_use]
    pub(crate) fn or_null(self) -> Self {
        match self {
            Self::Absent | Self::Null => Self::Null,
            Self::Value(value) => Self::Value(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::deserialize(from).map(Self::of)
    }
}
