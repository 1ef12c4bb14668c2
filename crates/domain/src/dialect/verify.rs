//! Checking signatures: strict about form, and in constant time over raw bytes of the right length.
//!
//! What is signed must have one reading only: a timestamp is digits or one fixed form, an id holds no full stop.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;

use super::wire_millis;
use crate::clock::Timestamp;
use crate::secret::{Key, Secret};

/// Why a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignature {
    /// A header that the scheme needs is missing.
    #[error("a signature header is missing")]
    Missing,
    /// The message id could be read in two ways once it is signed.
    #[error("the message id is not visible ASCII without a full stop")]
    Id,
    /// The timestamp is not in the form that the scheme writes, or more than five minutes away.
    #[error("the timestamp is not within five minutes of the present")]
    Timestamp,
    /// No signature in the header is the right one.
    #[error("no signature matches the body")]
    Mismatch,
}

/// How far a signed timestamp may lie from the present, in seconds, both ways (Standard Webhooks 1.0).
pub const TOLERANCE_SECONDS: i64 = 300;

/// The most signatures of one header that are tried.
const MAX_SIGNATURES: usize = 10;

/// Checks `webhook-id`, `webhook-timestamp` and `webhook-signature` over `body`, in constant time per signature.
///
/// Of a header with many signatures only the first ten are looked at; versions other than `v1` are skipped.
pub fn verify_standard(
    secret: &Secret,
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<(), InvalidSignature> {
    if id.is_empty() || timestamp.is_empty() || signatures.is_empty() {
        return Err(InvalidSignature::Missing);
    }
    if !id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.') {
        return Err(InvalidSignature::Id);
    }
    let sent = seconds(timestamp).ok_or(InvalidSignature::Timestamp)?;
    in_time(sent, now)?;
    let key = secret.webhook_key();
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let mut codes = signatures.split(' ').take(MAX_SIGNATURES).filter_map(base64_code);
    if codes.any(|code| key.verifies(&parts, &code)) { Ok(()) } else { Err(InvalidSignature::Mismatch) }
}

/// Checks a header `sha256=<hex>` over `body`, in constant time; the digits may be upper case.
pub fn verify_hex(key: &Key, header: &str, body: &[u8]) -> Result<(), InvalidSignature> {
    matches(key, header.strip_prefix("sha256="), &[body])
}

/// Checks `X-Webhook-Timestamp` and `X-Webhook-Signature` of `workpro`: bare hex over `<timestamp>.<body>`.
///
/// The timestamp is the attempt's, as `Date.toISOString` writes it, and may be five minutes away.
pub fn verify_workpro(
    key: &Key,
    timestamp: &str,
    signature: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<(), InvalidSignature> {
    if timestamp.is_empty() || signature.is_empty() {
        return Err(InvalidSignature::Missing);
    }
    let sent = DateTime::parse_from_rfc3339(timestamp).map_err(|_| InvalidSignature::Timestamp)?.to_utc();
    if wire_millis(sent) != timestamp {
        return Err(InvalidSignature::Timestamp);
    }
    in_time(sent.timestamp(), now)?;
    matches(key, Some(signature), &[timestamp.as_bytes(), b".", body])
}

/// Checks `X-Webhook-Signature` of `exact`: bare hex over `body`. Its time is the event's, so it may be of any age.
pub fn verify_exact(key: &Key, signature: &str, body: &[u8]) -> Result<(), InvalidSignature> {
    if signature.is_empty() {
        return Err(InvalidSignature::Missing);
    }
    matches(key, Some(signature), &[body])
}

/// Seconds since 1970 in plain digits: no sign, no fraction, no space.
fn seconds(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn in_time(sent: i64, now: Timestamp) -> Result<(), InvalidSignature> {
    let away = now.timestamp().checked_sub(sent).and_then(i64::checked_abs);
    if away.is_some_and(|away| away <= TOLERANCE_SECONDS) { Ok(()) } else { Err(InvalidSignature::Timestamp) }
}

/// The bytes behind `v1,`, if they are as many as HMAC-SHA256 makes, in canonical base64.
fn base64_code(signature: &str) -> Option<[u8; 32]> {
    STANDARD.decode(signature.strip_prefix("v1,")?).ok()?.try_into().ok()
}

fn matches(key: &Key, digits: Option<&str>, parts: &[&[u8]]) -> Result<(), InvalidSignature> {
    let mut code = [0; 32];
    let is_code = digits.is_some_and(|digits| hex::decode_to_slice(digits, &mut code).is_ok());
    if is_code && key.verifies(parts, &code) { Ok(()) } else { Err(InvalidSignature::Mismatch) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn a_hex_signature_needs_its_prefix_and_its_length() {
        let key = Key::new(b"YOUR_SECRET");
        let code = hex::encode(key.sign(&[b"body"]));
        assert_eq!(verify_hex(&key, &format!("sha256={code}"), b"body"), Ok(()));
        assert_eq!(verify_hex(&key, &format!("sha256={}", code.to_uppercase()), b"body"), Ok(()));
        for bad in [code.clone(), format!("sha256={}", &code[..62]), format!("sha256={code}00"), "sha256=".to_owned()] {
            assert_eq!(verify_hex(&key, &bad, b"body"), Err(InvalidSignature::Mismatch), "{bad}");
        }
    }

    #[test]
    fn the_vector_of_workpro_holds_for_five_minutes() {
        let (key, sent) = (Key::new(b"shhh"), "2026-01-01T00:00:00.000Z");
        let body = br#"{"event":"WO.created","data":{"id":1}}"#;
        let code = "bbcf4eee4692284680aa2d1b9fd5c827a7d00e167bedfd53679acb154ecb5b38";
        let check = |late: i64| {
            let now = DateTime::parse_from_rfc3339(sent).unwrap().to_utc() + TimeDelta::seconds(late);
            verify_workpro(&key, sent, code, body, now)
        };
        for late in [0, 300, -300] {
            assert_eq!(check(late), Ok(()), "{late}");
        }
        for late in [301, -301] {
            assert_eq!(check(late), Err(InvalidSignature::Timestamp), "{late}");
        }
    }

    #[test]
    fn a_time_of_workpro_has_one_form_only() {
        let key = Key::new(b"shhh");
        let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
        let check =
            |sent: &str| verify_workpro(&key, sent, &hex::encode(key.sign(&[sent.as_bytes(), b".body"])), b"body", now);
        assert_eq!(check("2026-01-01T00:00:00.000Z"), Ok(()));
        for bad in [
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.0000Z",
            "2026-01-01T00:00:00.000+00:00",
            "2026-01-01t00:00:00.000z",
            "2026-01-01 00:00:00.000Z",
            " 2026-01-01T00:00:00.000Z",
            "1767225600",
            "now",
        ] {
            assert_eq!(check(bad), Err(InvalidSignature::Timestamp), "{bad}");
        }
        assert_eq!(check(""), Err(InvalidSignature::Missing));
    }

    #[test]
    fn the_two_schemes_of_one_header_are_not_taken_for_each_other() {
        let (key, sent) = (Key::new(b"shhh"), "2026-01-01T00:00:00.000Z");
        let now = DateTime::parse_from_rfc3339(sent).unwrap().to_utc();
        let of_body = hex::encode(key.sign(&[b"body"]));
        let of_both = hex::encode(key.sign(&[sent.as_bytes(), b".body"]));
        assert_eq!(verify_exact(&key, &of_body, b"body"), Ok(()));
        assert_eq!(verify_workpro(&key, sent, &of_both, b"body", now), Ok(()));
        assert_eq!(verify_exact(&key, &of_both, b"body"), Err(InvalidSignature::Mismatch));
        assert_eq!(verify_workpro(&key, sent, &of_body, b"body", now), Err(InvalidSignature::Mismatch));
        assert_eq!(verify_exact(&key, &format!("sha256={of_body}"), b"body"), Err(InvalidSignature::Mismatch));
        assert_eq!(verify_exact(&key, "", b"body"), Err(InvalidSignature::Missing));
        assert_eq!(verify_workpro(&key, sent, "", b"body", now), Err(InvalidSignature::Missing));
    }
}
