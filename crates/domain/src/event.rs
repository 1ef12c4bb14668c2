//! Events: facts with a type, a compact JSON payload, and what they are found by.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::filter::Facts;
use crate::id::{EventId, InboundId, TenantId};
use crate::trace::TraceContext;

/// The name of a kind of event, such as `permit_approved` or `workorder.created`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(Arc<str>);

/// The longest event type, in bytes.
pub const MAX_TYPE_LEN: usize = 120;

/// Why a text cannot be an event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an event type has 1 to {MAX_TYPE_LEN} characters: letters, digits, '_', '-', '.', ':'; it begins with a letter or digit"
)]
pub struct InvalidEventType;

impl EventType {
    /// The only door for an event type.
    pub fn parse(text: &str) -> Result<Self, InvalidEventType> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':');
        let valid = (1..=MAX_TYPE_LEN).contains(&text.len())
            && text.bytes().all(plain)
            && text.as_bytes()[0].is_ascii_alphanumeric();
        valid.then(|| Self(text.into())).ok_or(InvalidEventType)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A short text bound for a column: a project, a subject, a key. Refused if it holds NUL, which PostgreSQL cannot store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label(String);

/// The longest label, in bytes.
pub const MAX_LABEL_LEN: usize = 255;

/// Why a text cannot be a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has 1 to {MAX_LABEL_LEN} bytes and no NUL")]
pub struct InvalidLabel;

impl Label {
    /// The only door for a label.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidLabel> {
        let text = text.into();
        let valid = (1..=MAX_LABEL_LEN).contains(&text.len()) && !text.contains('\0');
        if valid { Ok(Self(text)) } else { Err(InvalidLabel) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An event that is about to be made durable.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Made before the insert, so that a repeat of the insert changes nothing.
    pub id: EventId,
    /// Whose event it is.
    pub tenant: TenantId,
    /// What happened.
    pub kind: EventType,
    /// What it happened to: a permit number, an order number.
    pub subject: Option<Label>,
    /// The project it belongs to; webhooks may listen to one project only.
    pub project: Option<Label>,
    /// Events with one key reach each webhook in the order in which they were accepted.
    pub ordering_key: Option<Label>,
    /// When it happened, as its producer says.
    pub occurred_at: Timestamp,
    /// Compact JSON, as [`crate::json::compact`] writes it.
    pub payload: Bytes,
    /// Where in which trace it was made.
    pub trace: TraceContext,
    /// The call it came from, if it came from one.
    pub inbound: Option<InboundId>,
    /// How often what led to it has left the hub and come back.
    pub hops: u8,
    /// What makes a repeat of it recognisable.
    pub once: Option<Once>,
}

/// An event that has come back so often goes in a circle and is refused.
pub const MAX_HOPS: u8 = 3;

/// The header that tells a receiver, and the hub itself, how often an event has left the hub.
pub const HOPS_HEADER: &str = "busbar-hops";

/// Reads the value of [`HOPS_HEADER`]; what is no number counts as too often.
pub fn hops_of(header: Option<&[u8]>) -> u8 {
    header.map_or(0, |value| {
        std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(MAX_HOPS)
    })
}

impl NewEvent {
    /// What filters see of it.
    pub fn facts(&self) -> Facts {
        Facts::new(
            self.kind.as_str(),
            self.subject.as_ref().map(Label::as_str),
            self.project.as_ref().map(Label::as_str),
            self.ordering_key.as_ref().map(Label::as_str),
            self.occurred_at,
            &self.payload,
        )
    }
}

/// What makes a repeat recognisable: equal keys in one scope of one tenant are the same thing until `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// Whose keys these are: a door or a route.
    pub scope: &'static str,
    /// The key.
    pub key: String,
    /// A hash of the content, where the same key with other content is a conflict.
    pub digest: Option<[u8; 32]>,
    /// When the key may be used for something else.
    pub until: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_are_plain_names() {
        for good in ["permit_approved", "workorder.created", "erpops.integration.failed", "shopOrder.create.requested"]
        {
            assert_eq!(EventType::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", ".x", "a b", "ä", "a\0", &"x".repeat(121), "a/b", "*"] {
            assert_eq!(EventType::parse(bad), Err(InvalidEventType), "{bad}");
        }
    }

    #[test]
    fn labels_hold_no_nul() {
        assert!(Label::parse("PTW-2024-001").is_ok());
        assert!(Label::parse("a\0b").is_err());
        assert!(Label::parse("").is_err());
        assert!(Label::parse("x".repeat(256)).is_err());
    }
}
