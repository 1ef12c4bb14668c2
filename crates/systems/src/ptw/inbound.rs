//! What a permit application publishes: `{event, permit_id, permit_number, project_id, data, timestamp?}`.
//!
//! Ids and `data` are kept as written; the payload is compact, so that what is signed later is what was stored.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use busbar_domain::Timestamp;
use busbar_domain::event::{EventType, Label, MAX_LABEL_LEN};
use busbar_domain::json;
use bytes::Bytes;
use chrono::DateTime;
use serde_json::value::RawValue;

use crate::members::{Members, text};
use crate::ptw::{EVENTS, documented};
use crate::refusal::{
    Fault, FieldRefusal, INVALID_TYPE, INVALID_VALUE, Refusals, TOO_LONG, UNKNOWN_FIELD, Unreadable, fault,
};

/// The code of an event name that is not among [`EVENTS`].
pub const UNKNOWN_EVENT: &str = "UNKNOWN_EVENT";

/// One thing that happened to one permit.
#[derive(Clone, PartialEq, Eq)]
pub struct PermitEvent {
    pub(super) kind: EventType,
    pub(super) permit_id: Label,
    pub(super) permit_number: Label,
    pub(super) project: Option<Label>,
    pub(super) occurred_at: Timestamp,
    pub(super) payload: Bytes,
}

/// Why a permit event is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermitRefusal {
    /// No field could be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// These fields are wrong.
    #[error("{} of the body's fields are wrong", .0.len())]
    Fields(Vec<FieldRefusal>),
}

impl PermitRefusal {
    /// The reasons one by one; a body that could not be read is one reason with an empty pointer.
    pub fn into_fields(self) -> Vec<FieldRefusal> {
        match self {
            Self::Unreadable(unreadable) => vec![unreadable.into()],
            Self::Fields(fields) => fields,
        }
    }

    /// Whether the generic routes answer 400 (unreadable, or a field that is not known) rather than 422.
    pub fn is_malformed(&self) -> bool {
        match self {
            Self::Unreadable(_) => true,
            Self::Fields(fields) => fields.iter().any(|field| field.code == UNKNOWN_FIELD),
        }
    }
}

impl PermitEvent {
    /// Reads a body that was received at `now`; all that is wrong with it is told at once.
    pub fn parse(body: &[u8], now: Timestamp) -> Result<Self, PermitRefusal> {
        let compact = json::compact(body).map_err(Unreadable::Json)?;
        let mut members = Members::read(&compact)?;
        let mut wrong = Refusals::default();
        let kind = wrong.check("event", members.required("event").and_then(event));
        let permit = wrong.check("permit_id", members.required("permit_id").and_then(identity));
        let number = members.required("permit_number").and_then(|value| Ok((label(text(value)?)?, value)));
        let number = wrong.check("permit_number", number);
        let project = members.optional("project_id").and_then(|value| value.map(identity).transpose());
        let project = wrong.check("project_id", project);
        let data = wrong.check("data", members.optional("data").and_then(object));
        let occurred_at = members.optional("timestamp").and_then(|value| value.map_or(Ok(now), moment));
        let occurred_at = wrong.check("timestamp", occurred_at);
        for (name, _) in members.rest() {
            wrong.note(&[&name], fault(UNKNOWN_FIELD, "This field is not known."));
        }
        match (wrong.is_empty(), kind, permit, number, project, data, occurred_at) {
            (true, Some(kind), Some(permit), Some(number), Some(project), Some(data), Some(occurred_at)) => {
                let written = project.as_ref().map_or("null", |project| project.1.get());
                Ok(Self {
                    payload: payload(permit.1.get(), number.1.get(), written, data),
                    kind,
                    permit_id: permit.0,
                    permit_number: number.0,
                    project: project.map(|project| project.0),
                    occurred_at,
                })
            }
            _ => Err(PermitRefusal::Fields(wrong.into_vec())),
        }
    }

    /// What happened, under its documented name.
    pub const fn kind(&self) -> &EventType {
        &self.kind
    }

    /// The permit's id, as text.
    pub const fn permit_id(&self) -> &Label {
        &self.permit_id
    }

    /// The permit's number.
    pub const fn permit_number(&self) -> &Label {
        &self.permit_number
    }

    /// The project that the permit belongs to.
    pub const fn project(&self) -> Option<&Label> {
        self.project.as_ref()
    }

    /// When it happened: the application's timestamp, or the moment of receipt.
    pub const fn occurred_at(&self) -> Timestamp {
        self.occurred_at
    }

    /// Compact JSON with exactly `permit_id`, `permit_number`, `project_id` and `data`, in this order.
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }
}

/// The data may name people, so it does not print.
impl fmt::Debug for PermitEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PermitEvent")
            .field("kind", &self.kind)
            .field("permit_id", &self.permit_id)
            .field("permit_number", &self.permit_number)
            .field("project", &self.project)
            .field("occurred_at", &self.occurred_at)
            .finish_non_exhaustive()
    }
}

/// The types of [`EVENTS`], made once.
static KINDS: LazyLock<Vec<EventType>> =
    LazyLock::new(|| EVENTS.into_iter().filter_map(|name| EventType::parse(name).ok()).collect());

fn event(value: &RawValue) -> Result<EventType, Fault> {
    let known = documented(&text(value)?).and_then(|name| KINDS.iter().find(|kind| kind.as_str() == name));
    known.cloned().ok_or_else(|| {
        let sentence = format!("This is not a permit event; the known ones are {}.", EVENTS.join(", "));
        (UNKNOWN_EVENT, sentence.into())
    })
}

/// An id: an integer or a text, both kept as written.
fn identity(value: &RawValue) -> Result<(Label, &RawValue), Fault> {
    let json = value.get();
    if json.starts_with('"') {
        return Ok((label(text(value)?)?, value));
    }
    if json.parse::<i64>().is_err() {
        return Err(fault(INVALID_TYPE, "This field must be an integer of at most 64 bits or a string."));
    }
    Ok((label(json.into())?, value))
}

fn label(text: Cow<'_, str>) -> Result<Label, Fault> {
    if text.is_empty() {
        return Err(fault(INVALID_VALUE, "This field may not be empty."));
    }
    if text.len() > MAX_LABEL_LEN {
        return Err((TOO_LONG, format!("This field may have at most {MAX_LABEL_LEN} bytes.").into()));
    }
    Label::parse(text).map_err(|_| fault(INVALID_VALUE, "This field may not hold a NUL character."))
}

/// The text of an object; an empty one if there is none.
fn object(value: Option<&RawValue>) -> Result<&str, Fault> {
    match value.map_or("{}", RawValue::get) {
        object if object.starts_with('{') => Ok(object),
        _ => Err(fault(INVALID_TYPE, "This field must be an object.")),
    }
}

fn moment(value: &RawValue) -> Result<Timestamp, Fault> {
    let at = DateTime::parse_from_rfc3339(&text(value)?).ok();
    at.and_then(|at| DateTime::from_timestamp_micros(at.timestamp_micros()))
        .ok_or(fault(INVALID_VALUE, "This field must be an RFC 3339 time such as 2024-01-15T10:30:00Z."))
}

fn payload(permit: &str, number: &str, project: &str, data: &str) -> Bytes {
    let parts = [
        "{\"permit_id\":",
        permit,
        ",\"permit_number\":",
        number,
        ",\"project_id\":",
        project,
        ",\"data\":",
        data,
        "}",
    ];
    parts.concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use busbar_domain::dialect::Dialect;
    use proptest::prelude::*;

    const SAMPLE: &[u8] = include_bytes!("fixtures/permit_approved.json");

    fn at(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn parse(body: &str) -> Result<PermitEvent, PermitRefusal> {
        PermitEvent::parse(body.as_bytes(), at("2026-01-01T00:00:00Z"))
    }

    fn codes(body: &str) -> Vec<(String, &'static str)> {
        let refusals = parse(body).unwrap_err().into_fields();
        assert!(refusals.iter().all(|refusal| refusal.sentence.ends_with('.')));
        refusals.into_iter().map(|refusal| (refusal.pointer, refusal.code)).collect()
    }

    #[test]
    fn the_sample_leaves_as_it_is_documented() {
        let event = PermitEvent::parse(SAMPLE, at("2026-01-01T00:00:00Z")).unwrap();
        let body = Dialect::Ptw.body(event.kind().as_str(), event.occurred_at(), event.payload());
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"event":"permit_approved","timestamp":"2024-01-15T10:30:00Z","permit_id":123,"permit_number":"PTW-2024-001","project_id":5,"data":{"status":"approved","permit_type":"Hot Work","location":"Building A - Level 3","risk_level":"high","approved_by":"John Doe","comments":"Approved with conditions"}}"#
        );
        assert_eq!(event.project().map(Label::as_str), Some("5"));
        assert!(!format!("{event:?}").contains("John"));
    }

    #[test]
    fn what_is_optional_may_be_missing_or_null() {
        for body in [
            r#"{"event":"permit_active","permit_id":"P/7","permit_number":"N"}"#,
            r#"{"event":"permit_active","permit_id":"P/7","permit_number":"N","project_id":null,"data":null,"timestamp":null}"#,
        ] {
            let event = parse(body).unwrap();
            assert_eq!(event.kind().as_str(), "permit_activated");
            assert_eq!(event.payload(), r#"{"permit_id":"P/7","permit_number":"N","project_id":null,"data":{}}"#);
            assert_eq!(event.occurred_at(), at("2026-01-01T00:00:00Z"));
            assert_eq!(event.project(), None);
        }
    }

    #[test]
    fn ids_and_numbers_are_kept_as_written() {
        let event = parse(
            r#"{ "data": {"n": 1.0, "location": "Geb\u00e4ude"}, "permit_id": "\u0041", "project_id": "north",
                "permit_number": "PTW-\u00e9", "event": "permit_created", "timestamp": "2024-01-15T12:30:00.1234567+02:00" }"#,
        )
        .unwrap();
        assert_eq!(
            event.payload(),
            r#"{"permit_id":"A","permit_number":"PTW-é","project_id":"north","data":{"n":1.0,"location":"Gebäude"}}"#
        );
        assert_eq!(event.permit_number().as_str(), "PTW-é");
        assert_eq!(event.occurred_at(), at("2024-01-15T10:30:00.123456Z"));
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        assert_eq!(
            codes(
                r#"{"event":"webhook_test","permit_id":1.5,"permit_number":"","project_id":[],"data":1,"timestamp":"now","x":1}"#
            ),
            [
                ("/event".to_owned(), UNKNOWN_EVENT),
                ("/permit_id".to_owned(), INVALID_TYPE),
                ("/permit_number".to_owned(), INVALID_VALUE),
                ("/project_id".to_owned(), INVALID_TYPE),
                ("/data".to_owned(), INVALID_TYPE),
                ("/timestamp".to_owned(), INVALID_VALUE),
                ("/x".to_owned(), UNKNOWN_FIELD),
            ]
        );
        assert_eq!(codes("{}").len(), 3);
        assert_eq!(codes("[]"), [(String::new(), "NOT_AN_OBJECT")]);
        assert_eq!(codes("{\"event\":}"), [(String::new(), "INVALID_JSON")]);
        assert_eq!(parse("{\"event\":}").unwrap_err().to_string(), "The body is not valid JSON at byte 9.");
    }

    #[test]
    fn a_known_list_helps_whoever_mistyped() {
        let refusals = parse(r#"{"event":"permit_aproved","permit_id":1,"permit_number":"N"}"#).unwrap_err();
        assert!(!refusals.is_malformed());
        let refusals = refusals.into_fields();
        assert!(EVENTS.iter().all(|name| refusals[0].sentence.contains(name)));
        assert!(
            parse(r#"{"event":"permit_approved","permit_id":1,"permit_number":"N","x":0}"#).unwrap_err().is_malformed()
        );
    }

    #[test]
    fn what_a_column_cannot_hold_is_refused() {
        let long = "x".repeat(256);
        for (field, value, code) in [
            ("permit_id", r#""a\u0000b""#.to_owned(), INVALID_VALUE),
            ("permit_number", r#""a\u0000b""#.to_owned(), INVALID_VALUE),
            ("project_id", r#""\u0000""#.to_owned(), INVALID_VALUE),
            ("permit_number", format!("\"{long}\""), TOO_LONG),
            ("permit_id", "\"\"".to_owned(), INVALID_VALUE),
            ("permit_id", "null".to_owned(), INVALID_TYPE),
            ("permit_id", "true".to_owned(), INVALID_TYPE),
            ("permit_id", "92233720368547758080".to_owned(), INVALID_TYPE),
            ("permit_number", "7".to_owned(), INVALID_TYPE),
        ] {
            let mut body = serde_json::json!({"event": "permit_created", "permit_id": 1, "permit_number": "N"});
            body[field] = serde_json::from_str(&value).unwrap();
            assert_eq!(codes(&body.to_string()), [(format!("/{field}"), code)], "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_one_that_the_dialect_knows(id in any::<i64>(), number in "[^\0]{1,60}", note in any::<String>()) {
            let body = serde_json::json!({
                "event": "permit_created", "permit_id": id, "permit_number": number, "data": {"note": note},
            });
            let event = parse(&body.to_string()).unwrap();
            let out = Dialect::Ptw.body("permit_created", event.occurred_at(), event.payload());
            let out: serde_json::Value = serde_json::from_slice(&out).unwrap();
            for field in ["event", "permit_id", "permit_number", "data"] {
                prop_assert_eq!(&out[field], &body[field]);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            prop_assert!(PermitEvent::parse(&bytes, at("2026-01-01T00:00:00Z")).is_err());
        }
    }
}
