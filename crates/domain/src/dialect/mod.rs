//! Dialects: how an outgoing body is shaped and signed, and how a signature is checked.
//!
//! A body is a function of the stored event alone, so every attempt and replay sends the same bytes.
//! What is signed is what is sent; nothing is serialised again afterwards.

mod sign;
mod verify;

#[cfg(test)]
mod hostile;

use chrono::SecondsFormat;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::json::push_string;

pub use sign::{Header, Signer};
pub use verify::{InvalidSignature, TOLERANCE_SECONDS, verify_exact, verify_hex, verify_standard, verify_workpro};

/// How a body is shaped and signed; the headers of `standard` go with every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Standard Webhooks 1.0.
    Standard,
    /// The permit system's: its body shape, and `X-Athens-Signature` over the body as sent.
    Ptw,
    /// `WorkPro`'s: no time in the body, and `X-Webhook-Signature` over this attempt's time and the body.
    Workpro,
    /// That of the production app that Exact is linked with: `X-Webhook-Signature` over the body as sent.
    Exact,
}

impl Dialect {
    /// Every dialect that stands.
    pub const ALL: [Self; 4] = [Self::Standard, Self::Ptw, Self::Workpro, Self::Exact];

    /// The dialect's name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Ptw => "ptw",
            Self::Workpro => "workpro",
            Self::Exact => "exact",
        }
    }

    /// Reads a dialect's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == name)
    }

    /// The body that is owed for an event.
    ///
    /// `standard` is `{"type","timestamp","data"}`, with the payload as `data`; `exact` has `event` for `type`, and
    /// `workpro` is `{"event","data"}`. `ptw` is
    /// `{"event","timestamp","permit_id","permit_number","project_id","data"}`: an event from the permit door has
    /// these members in its payload already; for any other event they are null and its payload is `data`.
    pub fn body(self, kind: &str, occurred_at: Timestamp, payload: &[u8]) -> Vec<u8> {
        let mut body = Vec::with_capacity(payload.len() + kind.len() + 96);
        let name: &[u8] = match self {
            Self::Standard => b"{\"type\":",
            Self::Ptw | Self::Workpro | Self::Exact => b"{\"event\":",
        };
        body.extend_from_slice(name);
        push_string(&mut body, kind);
        if let Some(time) = self.body_time(occurred_at) {
            body.extend_from_slice(b",\"timestamp\":\"");
            body.extend_from_slice(time.as_bytes());
            body.push(b'"');
        }
        match self {
            Self::Ptw if PermitMembers::are_in(payload) => {
                body.push(b',');
                body.extend_from_slice(&payload[1..]);
                return body;
            }
            Self::Ptw => body.extend_from_slice(b",\"permit_id\":null,\"permit_number\":null,\"project_id\":null"),
            Self::Standard | Self::Workpro | Self::Exact => {}
        }
        body.extend_from_slice(b",\"data\":");
        body.extend_from_slice(payload);
        body.push(b'}');
        body
    }

    /// The event's time as this dialect writes it into the body, if it does.
    fn body_time(self, occurred_at: Timestamp) -> Option<String> {
        match self {
            Self::Standard | Self::Ptw => Some(wire_time(occurred_at)),
            Self::Workpro => None,
            Self::Exact => Some(wire_millis(occurred_at)),
        }
    }
}

/// The members that the permit door puts into a payload, in this order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape counts")]
struct PermitMembers<'p> {
    #[serde(borrow)]
    permit_id: &'p RawValue,
    #[serde(borrow)]
    permit_number: &'p RawValue,
    #[serde(borrow)]
    project_id: &'p RawValue,
    #[serde(borrow)]
    data: &'p RawValue,
}

impl PermitMembers<'_> {
    fn are_in(payload: &[u8]) -> bool {
        payload.starts_with(b"{\"permit_id\":") && serde_json::from_slice::<PermitMembers<'_>>(payload).is_ok()
    }
}

/// RFC 3339 in UTC with `Z`, with milliseconds only where there are some.
pub fn wire_time(at: Timestamp) -> String {
    let format = if at.timestamp_subsec_millis() == 0 { SecondsFormat::Secs } else { SecondsFormat::Millis };
    at.to_rfc3339_opts(format, true)
}

/// RFC 3339 in UTC with `Z` and always three digits of milliseconds, as `Date.toISOString` writes it.
pub fn wire_millis(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn body(dialect: Dialect, kind: &str, at: &str, payload: &str) -> String {
        let at = DateTime::parse_from_rfc3339(at).unwrap().to_utc();
        String::from_utf8(dialect.body(kind, at, payload.as_bytes())).unwrap()
    }

    #[test]
    fn every_dialect_is_found_by_its_name() {
        for dialect in Dialect::ALL {
            assert_eq!(Dialect::parse(dialect.as_str()), Some(dialect));
        }
        assert_eq!(Dialect::parse("Standard"), None);
    }

    #[test]
    fn a_permit_event_has_the_seeds_body() {
        let permit = r#"{"permit_id":123,"permit_number":"PTW-2024-001","project_id":5,"data":{"status":"approved","location":"Gebäude Ä - 3. Stock"}}"#;
        assert_eq!(
            body(Dialect::Ptw, "permit_approved", "2024-01-15T10:30:00Z", permit),
            r#"{"event":"permit_approved","timestamp":"2024-01-15T10:30:00Z","permit_id":123,"permit_number":"PTW-2024-001","project_id":5,"data":{"status":"approved","location":"Gebäude Ä - 3. Stock"}}"#
        );
    }

    #[test]
    fn any_other_event_to_a_permit_webhook_is_data() {
        assert_eq!(
            body(Dialect::Ptw, "permit_approved", "2024-01-15T10:30:00.250Z", "{\"permit_id\":1}"),
            r#"{"event":"permit_approved","timestamp":"2024-01-15T10:30:00.250Z","permit_id":null,"permit_number":null,"project_id":null,"data":{"permit_id":1}}"#
        );
    }

    #[test]
    fn the_standard_body_holds_the_payload_as_data() {
        assert_eq!(
            body(Dialect::Standard, "workorder.created", "2024-01-15T10:30:00Z", "[1.0]"),
            r#"{"type":"workorder.created","timestamp":"2024-01-15T10:30:00Z","data":[1.0]}"#
        );
    }

    #[test]
    fn the_body_of_workpro_has_no_time() {
        assert_eq!(
            body(Dialect::Workpro, "WO.created", "2026-01-01T00:00:00Z", r#"{"id":1}"#),
            r#"{"event":"WO.created","data":{"id":1}}"#
        );
    }

    #[test]
    fn the_body_of_exact_tells_the_time_to_the_millisecond() {
        assert_eq!(
            body(Dialect::Exact, "shopOrder.create.requested", "2024-01-10T14:30:00Z", r#"{"batch_size":10}"#),
            r#"{"event":"shopOrder.create.requested","timestamp":"2024-01-10T14:30:00.000Z","data":{"batch_size":10}}"#
        );
    }
}
