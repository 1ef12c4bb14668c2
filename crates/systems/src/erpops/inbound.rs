//! What an ERP reports to `receive-event`, read by the schema of the documentation.
//!
//! Two fields are required; unknown ones are tolerated and stay in the stored call. Text is the original here.

use std::fmt;

use busbar_domain::Timestamp;
use busbar_domain::event::{EventType, Label, MAX_LABEL_LEN, Once};
use busbar_domain::id::ConnectorId;
use busbar_domain::json;
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::members::{Members, text};
use crate::refusal::{Fault, FieldRefusal, INVALID_TYPE, INVALID_VALUE, Refusals, TOO_LONG, Unreadable, fault};

/// The scope of the receiver's keys.
pub const ONCE_SCOPE: &str = "erpops";

/// The code of a body whose connector is not the header's.
pub const CONNECTOR_MISMATCH: &str = "CONNECTOR_MISMATCH";
/// The code of a time without a zone.
pub const MISSING_ZONE: &str = "MISSING_ZONE";
/// The code of a time more than [`MAX_AHEAD`] ahead.
pub const IN_THE_FUTURE: &str = "IN_THE_FUTURE";
/// The code of metadata with more than [`MAX_METADATA`] keys.
pub const TOO_MANY_KEYS: &str = "TOO_MANY_KEYS";

/// How far ahead of us a timestamp may lie.
pub const MAX_AHEAD: TimeDelta = TimeDelta::minutes(5);
/// How old a timestamp may be before the event is called stale.
pub const FRESH_FOR: TimeDelta = TimeDelta::hours(24);
/// How long the same body is the same event.
pub const SAME_BODY_FOR: TimeDelta = TimeDelta::minutes(5);
/// The longest message, in bytes.
pub const MAX_MESSAGE_LEN: usize = 8 * 1024;
/// The most keys of `metadata`.
pub const MAX_METADATA: usize = 50;

/// The event type of a body that names none.
const DEFAULT_TYPE: &str = "integration.event";

/// How bad it is, mildest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// For the record.
    #[default]
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
    /// Something failed that cannot wait.
    Critical,
}

impl Severity {
    /// Every severity.
    pub const ALL: [Self; 4] = [Self::Info, Self::Warn, Self::Error, Self::Critical];

    /// The severity's name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// Reads a severity's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == name)
    }
}

/// One value of `metadata`.
#[derive(Clone, PartialEq, Eq)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A number, as written.
    Number(String),
    /// True or false.
    Flag(bool),
    /// Null.
    Null,
}

/// A value may identify a person, so it does not print.
impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text(***)",
            Self::Number(_) => "Number(***)",
            Self::Flag(_) => "Flag(***)",
            Self::Null => "Null",
        })
    }
}

/// One report of an integration's state.
#[derive(Clone, PartialEq, Eq)]
pub struct IntegrationEvent {
    /// The connector that reports.
    pub connector: ConnectorId,
    /// What happened, as the system names it, such as `integration.failed`.
    pub event_type: EventType,
    /// The same under the hub's name, `erpops.<event_type>`.
    pub kind: EventType,
    /// When it happened, as the ERP says.
    pub occurred_at: Timestamp,
    /// How bad it is.
    pub severity: Severity,
    /// The job or interface that it happened to.
    pub source: Option<Label>,
    /// What happened, in words; the original, not masked.
    pub message: Option<String>,
    /// Further facts in the order in which they were sent; the original, not masked.
    pub metadata: Vec<(String, Scalar)>,
    /// Whether it was more than [`FRESH_FOR`] old when it was received.
    pub stale: bool,
}

/// The texts may name people, so they do not print.
impl fmt::Debug for IntegrationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntegrationEvent")
            .field("connector", &self.connector)
            .field("event_type", &self.event_type)
            .field("occurred_at", &self.occurred_at)
            .field("severity", &self.severity)
            .field("stale", &self.stale)
            .finish_non_exhaustive()
    }
}

impl IntegrationEvent {
    /// Reads a body that was received at `now` under the header of connector `connector_header`.
    ///
    /// All that is wrong with it is told at once; a body that cannot be read is one refusal with an empty pointer.
    pub fn parse(body: &[u8], connector_header: Uuid, now: Timestamp) -> Result<Self, Vec<FieldRefusal>> {
        let unreadable = |unreadable: Unreadable| vec![FieldRefusal::from(unreadable)];
        let compact = json::compact(body).map_err(|invalid| unreadable(invalid.into()))?;
        let mut members = Members::read(&compact).map_err(unreadable)?;
        let mut wrong = Refusals::default();
        let connector = members.required("connector_id").and_then(|value| connector(value, connector_header));
        let connector = wrong.check("connector_id", connector);
        let occurred_at = members.required("timestamp").and_then(|value| moment(&text(value)?, now));
        let occurred_at = wrong.check("timestamp", occurred_at);
        let kinds = wrong.check("event_type", members.optional("event_type").and_then(event_type));
        let severity = wrong.check("severity", members.optional("severity").and_then(severity));
        let source = wrong.check("source", members.optional("source").and_then(source));
        let message = wrong.check("message", members.optional("message").and_then(message));
        let metadata = members.optional("metadata").and_then(|value| metadata(value, &mut wrong));
        let metadata = wrong.check("metadata", metadata);
        match (wrong.is_empty(), connector, occurred_at, kinds, severity, source, message, metadata) {
            (
                true,
                Some(connector),
                Some(occurred_at),
                Some((event_type, kind)),
                Some(severity),
                Some(source),
                Some(message),
                Some(metadata),
            ) => Ok(Self {
                connector,
                event_type,
                kind,
                occurred_at,
                severity,
                source,
                message,
                metadata,
                stale: now - occurred_at > FRESH_FOR,
            }),
            _ => Err(wrong.into_vec()),
        }
    }
}

/// What makes a repeat of `body`, received at `now`, recognisable: the same connector and the same bytes.
pub fn once(connector: ConnectorId, body: &[u8], now: Timestamp) -> Once {
    let key = format!("{connector}:{}", hex::encode(Sha256::digest(body)));
    Once { scope: ONCE_SCOPE, key, digest: None, until: now + SAME_BODY_FOR }
}

fn connector(value: &RawValue, header: Uuid) -> Result<ConnectorId, Fault> {
    let id = Uuid::try_parse(&text(value)?).map_err(|_| fault(INVALID_VALUE, "This field must be a UUID."))?;
    if id == header {
        Ok(id.into())
    } else {
        Err(fault(CONNECTOR_MISMATCH, "This field must equal the X-ERPOps-Connector-Id header."))
    }
}

/// The ISO 8601 shapes beyond RFC 3339 that clients print: short offsets, and no seconds where they are zero.
const ZONED: [&str; 2] = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"];
const ZONELESS: [&str; 3] = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M"];

fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Fault> {
    let zoned = DateTime::parse_from_rfc3339(text)
        .ok()
        .or_else(|| ZONED.iter().find_map(|format| DateTime::parse_from_str(text, format).ok()))
        .and_then(|at| DateTime::from_timestamp_micros(at.timestamp_micros()));
    match zoned {
        Some(at) if at - now > MAX_AHEAD => {
            Err(fault(IN_THE_FUTURE, "This time lies more than 5 minutes in the future."))
        }
        Some(at) => Ok(at),
        None if ZONELESS.iter().any(|format| NaiveDateTime::parse_from_str(text, format).is_ok())
            || NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok() =>
        {
            Err(fault(MISSING_ZONE, "This time has no time zone; end it in Z or in an offset such as +00:00."))
        }
        None => Err(fault(INVALID_VALUE, "This field must be an ISO 8601 time such as 2026-04-20T03:00:00Z.")),
    }
}

/// The type as the system names it, and as the hub does.
fn event_type(value: Option<&RawValue>) -> Result<(EventType, EventType), Fault> {
    let name = value.map_or(Ok(DEFAULT_TYPE.into()), text)?;
    let kinds = EventType::parse(&name).and_then(|own| Ok((own, EventType::parse(&format!("erpops.{name}"))?)));
    kinds.map_err(|_| {
        let sentence = "This field must have 1 to 113 letters, digits, '_', '-', '.' or ':', a letter or digit first.";
        fault(INVALID_VALUE, sentence)
    })
}

fn severity(value: Option<&RawValue>) -> Result<Severity, Fault> {
    let Some(value) = value else { return Ok(Severity::default()) };
    Severity::parse(&text(value)?).ok_or(fault(INVALID_VALUE, "This field must be info, warn, error or critical."))
}

fn source(value: Option<&RawValue>) -> Result<Option<Label>, Fault> {
    let Some(source) = bounded(value, MAX_LABEL_LEN)?.filter(|source| !source.is_empty()) else { return Ok(None) };
    Label::parse(source).map(Some).map_err(|_| fault(INVALID_VALUE, "This field may not hold a NUL character."))
}

fn message(value: Option<&RawValue>) -> Result<Option<String>, Fault> {
    bounded(value, MAX_MESSAGE_LEN)
}

/// A text of at most `longest` bytes, without a NUL, since it is bound for a column.
fn bounded(value: Option<&RawValue>, longest: usize) -> Result<Option<String>, Fault> {
    let Some(value) = value else { return Ok(None) };
    let text = text(value)?;
    if text.len() > longest {
        return Err((TOO_LONG, format!("This field may have at most {longest} bytes.").into()));
    }
    if text.contains('\0') {
        return Err(fault(INVALID_VALUE, "This field may not hold a NUL character."));
    }
    Ok(Some(text.into_owned()))
}

fn metadata(value: Option<&RawValue>, wrong: &mut Refusals) -> Result<Vec<(String, Scalar)>, Fault> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let Ok(members) = Members::read(value.get().as_bytes()) else {
        return Err(fault(INVALID_TYPE, "This field must be an object."));
    };
    let members = members.rest();
    if members.len() > MAX_METADATA {
        return Err((TOO_MANY_KEYS, format!("This field may have at most {MAX_METADATA} keys.").into()));
    }
    let mut facts = Vec::with_capacity(members.len());
    for (name, value) in members {
        match scalar(value) {
            Ok(value) => facts.push((name.into_owned(), value)),
            Err(fault) => wrong.note(&["metadata", &name], fault),
        }
    }
    Ok(facts)
}

fn scalar(value: &RawValue) -> Result<Scalar, Fault> {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'"') => Ok(Scalar::Text(text(value)?.into_owned())),
        Some(b't') => Ok(Scalar::Flag(true)),
        Some(b'f') => Ok(Scalar::Flag(false)),
        Some(b'n') => Ok(Scalar::Null),
        Some(b'{' | b'[') | None => {
            Err(fault(INVALID_TYPE, "This value must be a string, a number, true, false or null."))
        }
        Some(_) => Ok(Scalar::Number(json.to_owned())),
    }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
