//! Dialects: how an outgoing body is shaped and signed, and how a signature is checked.
//!
//! A body is a function of the stored event alone, so every attempt and replay sends the same bytes.
//! What is signed is what is sent; nothing is serialised again afterwards.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::SecondsFormat;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::json::push_string;
use crate::secret::{Key, Secret};

/// How a body is shaped and signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Standard Webhooks 1.0.
    Standard,
    /// The permit system's: its body shape, and `X-Athens-Signature` over the body as sent.
    Ptw,
}

impl Dialect {
    /// Every dialect that stands.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Ptw];

    /// The dialect's name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Ptw => "ptw",
        }
    }

    /// Reads a dialect's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == name)
    }

    /// The body that is owed for an event.
    ///
    /// `standard` is `{"type","timestamp","data"}`, with the payload as `data`. `ptw` is
    /// `{"event","timestamp","permit_id","permit_number","project_id","data"}`: an event from the permit door has
    /// these members in its payload already; for any other event they are null and its payload is `data`.
    pub fn body(self, kind: &str, occurred_at: Timestamp, payload: &[u8]) -> Vec<u8> {
        let mut body = Vec::with_capacity(payload.len() + kind.len() + 96);
        let name: &[u8] = match self {
            Self::Standard => b"{\"type\":",
            Self::Ptw => b"{\"event\":",
        };
        body.extend_from_slice(name);
        push_string(&mut body, kind);
        body.extend_from_slice(b",\"timestamp\":\"");
        body.extend_from_slice(wire_time(occurred_at).as_bytes());
        body.push(b'"');
        match self {
            Self::Ptw if PermitMembers::are_in(payload) => {
                body.push(b',');
                body.extend_from_slice(&payload[1..]);
                return body;
            }
            Self::Ptw => body.extend_from_slice(b",\"permit_id\":null,\"permit_number\":null,\"project_id\":null"),
            Self::Standard => {}
        }
        body.extend_from_slice(b",\"data\":");
        body.extend_from_slice(payload);
        body.push(b'}');
        body
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

/// Signs what one webhook gets, with its keys made ready once.
#[derive(Clone, Debug)]
pub struct Signer {
    dialect: Dialect,
    webhook_keys: Vec<Key>,
    text_keys: Vec<Key>,
}

/// One header of an outgoing request.
pub type Header = (&'static str, String);

impl Signer {
    /// A signer with `old` beside `current` while a rotation's overlap lasts.
    pub fn new(dialect: Dialect, current: &Secret, old: Option<&Secret>) -> Self {
        let secrets = || std::iter::once(current).chain(old);
        Self {
            dialect,
            webhook_keys: secrets().map(Secret::webhook_key).collect(),
            text_keys: match dialect {
                Dialect::Standard => Vec::new(),
                Dialect::Ptw => secrets().map(Secret::text_key).collect(),
            },
        }
    }

    /// The headers that sign `body` as message `id`, sent at `now`.
    ///
    /// Standard Webhooks 1.0: `webhook-id` is the same on every attempt, `webhook-timestamp` is this attempt's.
    /// During an overlap `webhook-signature` carries both signatures; a header with room for one only is signed
    /// with the old secret, and its `-Next` twin with the new one.
    pub fn headers(&self, id: Uuid, kind: &str, now: Timestamp, body: &[u8]) -> Vec<Header> {
        let id = id.to_string();
        let timestamp = now.timestamp().to_string();
        let mut signature = String::with_capacity(48 * self.webhook_keys.len());
        for key in &self.webhook_keys {
            if !signature.is_empty() {
                signature.push(' ');
            }
            signature.push_str("v1,");
            let code = key.sign(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
            STANDARD.encode_string(code, &mut signature);
        }
        let mut headers = Vec::with_capacity(7);
        if self.dialect == Dialect::Ptw {
            let hex_of = |key: &Key| format!("sha256={}", hex::encode(key.sign(&[body])));
            match self.text_keys.as_slice() {
                [current, old] => {
                    headers.push(("x-athens-signature", hex_of(old)));
                    headers.push(("x-athens-signature-next", hex_of(current)));
                }
                keys => headers.extend(keys.iter().map(|key| ("x-athens-signature", hex_of(key)))),
            }
            headers.push(("x-athens-event", kind.to_owned()));
            headers.push(("x-athens-delivery", id.clone()));
        }
        headers.push(("webhook-id", id));
        headers.push(("webhook-timestamp", timestamp));
        headers.push(("webhook-signature", signature));
        headers
    }
}

/// Why a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignature {
    /// A header that the scheme needs is missing.
    #[error("a signature header is missing")]
    Missing,
    /// The timestamp is no number, or more than five minutes away.
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
    let sent: i64 = timestamp.parse().map_err(|_| InvalidSignature::Timestamp)?;
    let away = now.timestamp().checked_sub(sent).and_then(i64::checked_abs);
    if away.is_none_or(|away| away > TOLERANCE_SECONDS) {
        return Err(InvalidSignature::Timestamp);
    }
    let key = secret.webhook_key();
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let right = signatures
        .split(' ')
        .take(MAX_SIGNATURES)
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .filter_map(|code| STANDARD.decode(code).ok())
        .any(|code| key.verifies(&parts, &code));
    if right { Ok(()) } else { Err(InvalidSignature::Mismatch) }
}

/// Checks a header `sha256=<hex>` over `body`, in constant time; the digits may be upper case.
pub fn verify_hex(key: &Key, header: &str, body: &[u8]) -> Result<(), InvalidSignature> {
    let code = header.strip_prefix("sha256=").ok_or(InvalidSignature::Mismatch)?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(code, &mut bytes).map_err(|_| InvalidSignature::Mismatch)?;
    if key.verifies(&[body], &bytes) { Ok(()) } else { Err(InvalidSignature::Mismatch) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, TimeDelta};

    fn at(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    const PERMIT: &str = r#"{"permit_id":123,"permit_number":"PTW-2024-001","project_id":5,"data":{"status":"approved","location":"Gebäude Ä - 3. Stock"}}"#;

    #[test]
    fn a_permit_event_has_the_seeds_body() {
        let body = Dialect::Ptw.body("permit_approved", at("2024-01-15T10:30:00Z"), PERMIT.as_bytes());
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"event":"permit_approved","timestamp":"2024-01-15T10:30:00Z","permit_id":123,"permit_number":"PTW-2024-001","project_id":5,"data":{"status":"approved","location":"Gebäude Ä - 3. Stock"}}"#
        );
    }

    #[test]
    fn any_other_event_to_a_permit_webhook_is_data() {
        let body = Dialect::Ptw.body("permit_approved", at("2024-01-15T10:30:00.250Z"), b"{\"permit_id\":1}");
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"event":"permit_approved","timestamp":"2024-01-15T10:30:00.250Z","permit_id":null,"permit_number":null,"project_id":null,"data":{"permit_id":1}}"#
        );
    }

    #[test]
    fn the_standard_body_holds_the_payload_as_data() {
        let body = Dialect::Standard.body("workorder.created", at("2024-01-15T10:30:00Z"), b"[1.0]");
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"type":"workorder.created","timestamp":"2024-01-15T10:30:00Z","data":[1.0]}"#
        );
    }

    fn header<'h>(headers: &'h [Header], name: &str) -> &'h str {
        headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str()).unwrap()
    }

    #[test]
    fn the_vector_of_standard_webhooks_holds() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let sent = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        verify_standard(
            &secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            "v1a,x v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            br#"{"test": 2432232314}"#,
            sent + TimeDelta::seconds(300),
        )
        .unwrap();
    }

    #[test]
    fn our_own_signature_verifies_and_a_changed_byte_does_not() {
        let secret = Secret::generate();
        let now = at("2026-01-01T00:00:00Z");
        let headers = Signer::new(Dialect::Standard, &secret, None).headers(Uuid::nil(), "a", now, b"body");
        let check = |body: &[u8], now: Timestamp, signature: &str| {
            verify_standard(
                &secret,
                header(&headers, "webhook-id"),
                header(&headers, "webhook-timestamp"),
                signature,
                body,
                now,
            )
        };
        let signature = header(&headers, "webhook-signature");
        assert_eq!(check(b"body", now, signature), Ok(()));
        assert_eq!(check(b"bodY", now, signature), Err(InvalidSignature::Mismatch));
        for late in [301, -301] {
            assert_eq!(check(b"body", now + TimeDelta::seconds(late), signature), Err(InvalidSignature::Timestamp));
        }
        for bad in ["v1,", "v1", "v2,AAAA", "v1,g0hM9SsE", &"v1,AAAA ".repeat(1000)] {
            assert_eq!(check(b"body", now, bad), Err(InvalidSignature::Mismatch), "{bad}");
        }
        assert_eq!(check(b"body", now, ""), Err(InvalidSignature::Missing));
    }

    #[test]
    fn both_secrets_sign_during_an_overlap() {
        let (old, new) = (Secret::parse("old secret").unwrap(), Secret::parse("new secret").unwrap());
        let now = at("2026-01-01T00:00:00Z");
        let headers = Signer::new(Dialect::Ptw, &new, Some(&old)).headers(Uuid::nil(), "permit_expired", now, b"body");
        for secret in [&old, &new] {
            let id = header(&headers, "webhook-id");
            let timestamp = header(&headers, "webhook-timestamp");
            verify_standard(secret, id, timestamp, header(&headers, "webhook-signature"), b"body", now).unwrap();
        }
        verify_hex(&old.text_key(), header(&headers, "x-athens-signature"), b"body").unwrap();
        verify_hex(&new.text_key(), header(&headers, "x-athens-signature-next"), b"body").unwrap();
        assert_eq!(header(&headers, "x-athens-delivery"), header(&headers, "webhook-id"));
    }

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
}
