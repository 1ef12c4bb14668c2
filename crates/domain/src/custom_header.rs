//! Headers that a webhook's owner wants on every request to it: typed, bounded, and never one that frames the
//! message or signs it. Values are secrets: they do not print.

use std::fmt;

/// One header with its value.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomHeader {
    name: String,
    value: String,
}

/// The most custom headers of one webhook.
pub const MAX_HEADERS: usize = 20;
/// The longest name, in bytes.
pub const MAX_NAME_LEN: usize = 100;
/// The longest value, in bytes.
pub const MAX_VALUE_LEN: usize = 2000;

/// Headers that belong to the connection or to the message's frame (RFC 9110, 7.6.1), and those that the hub sets.
const RESERVED: [&str; 22] = [
    "accept-encoding",
    "alt-used",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Beginnings of names that only the hub may write: signatures, ids, and its own marks.
const RESERVED_BEGINNINGS: [&str; 5] = ["webhook-", "x-webhook-", "x-athens-", "busbar-", "x-forwarded-"];

/// Why a header cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    /// Not a token of RFC 9110, or too long.
    #[error("a header's name has 1 to {MAX_NAME_LEN} letters, digits, or characters of !#$%&'*+-.^_`|~")]
    Name,
    /// A header of the connection, or one that the hub sets.
    #[error("this header belongs to the connection or is set by the hub")]
    Reserved,
    /// Holds a line break, a control character or something beyond ASCII, or is too long.
    #[error(
        "a header's value has at most {MAX_VALUE_LEN} printable ASCII characters and does not begin or end with a space"
    )]
    Value,
}

impl CustomHeader {
    /// The only door for a custom header; the name is kept in lower case.
    pub fn parse(name: &str, value: &str) -> Result<Self, InvalidHeader> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !(1..=MAX_NAME_LEN).contains(&name.len()) || !name.bytes().all(token) {
            return Err(InvalidHeader::Name);
        }
        let name = name.to_ascii_lowercase();
        if RESERVED.contains(&name.as_str()) || RESERVED_BEGINNINGS.iter().any(|begin| name.starts_with(begin)) {
            return Err(InvalidHeader::Reserved);
        }
        let printable = value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if value.len() > MAX_VALUE_LEN || !printable || value.trim() != value {
            return Err(InvalidHeader::Value);
        }
        Ok(Self { name, value: value.to_owned() })
    }

    /// The name, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value: for sealing, and for sending.
    pub fn expose(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for CustomHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ***", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frames_or_signs_a_message_cannot_be_set() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "connection",
            "TE",
            "Upgrade",
            "webhook-id",
            "Webhook-Signature",
            "X-Athens-Signature",
            "x-webhook-timestamp",
            "busbar-hops",
            "traceparent",
        ] {
            assert_eq!(CustomHeader::parse(name, "x"), Err(InvalidHeader::Reserved), "{name}");
        }
        assert_eq!(CustomHeader::parse("Authorization", "Bearer x").unwrap().name(), "authorization");
    }

    #[test]
    fn nothing_can_be_smuggled_in_a_name_or_a_value() {
        for name in ["", "a b", "a:b", "a\r\nb", "a\0", "ä", &"x".repeat(101)] {
            assert_eq!(CustomHeader::parse(name, "x"), Err(InvalidHeader::Name), "{name:?}");
        }
        for value in ["a\r\nx: y", "a\nb", "a\0b", "ä", "a\tb", " a", "a ", &"x".repeat(2001)] {
            assert_eq!(CustomHeader::parse("x-a", value), Err(InvalidHeader::Value), "{value:?}");
        }
        assert!(CustomHeader::parse("x-a", "").is_ok());
    }

    #[test]
    fn a_value_does_not_print() {
        let header = CustomHeader::parse("X-Key", "hunter2").unwrap();
        assert_eq!(format!("{header:?}"), "x-key: ***");
        assert_eq!(header.expose(), "hunter2");
    }
}
