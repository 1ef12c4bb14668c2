//! Signing: the headers that one attempt bears, by dialect.
//!
//! During a rotation's overlap `webhook-signature` carries both signatures. A header with room for one only is
//! signed with the old secret, and its `-next` twin with the new one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::{Dialect, wire_millis};
use crate::clock::Timestamp;
use crate::secret::{Key, Secret};

/// Signs what one webhook gets, with its keys made ready once.
#[derive(Clone, Debug)]
pub struct Signer {
    dialect: Dialect,
    webhook_keys: Vec<Key>,
    text_keys: Vec<Key>,
}

/// One header of an outgoing request.
pub type Header = (&'static str, String);

/// A header with room for one signature, its twin during an overlap, and what stands before the digits.
struct Single {
    name: &'static str,
    next: &'static str,
    prefix: &'static str,
}

const ATHENS: Single = Single { name: "x-athens-signature", next: "x-athens-signature-next", prefix: "sha256=" };
const WEBHOOK: Single = Single { name: "x-webhook-signature", next: "x-webhook-signature-next", prefix: "" };

impl Signer {
    /// A signer with `old` beside `current` while a rotation's overlap lasts.
    pub fn new(dialect: Dialect, current: &Secret, old: Option<&Secret>) -> Self {
        let secrets = || std::iter::once(current).chain(old);
        Self {
            dialect,
            webhook_keys: secrets().map(Secret::webhook_key).collect(),
            text_keys: match dialect {
                Dialect::Standard => Vec::new(),
                Dialect::Ptw | Dialect::Workpro | Dialect::Exact => secrets().map(Secret::text_key).collect(),
            },
        }
    }

    /// The headers that sign `body` as message `id`, of an event of `kind` that occurred at `occurred_at`, sent at `now`.
    ///
    /// Standard Webhooks 1.0: `webhook-id` is the same on every attempt, `webhook-timestamp` is this attempt's, in
    /// seconds. `x-webhook-timestamp` is this attempt's time for `workpro` and the event's, as in the body, for `exact`.
    pub fn headers(&self, id: Uuid, kind: &str, occurred_at: Timestamp, now: Timestamp, body: &[u8]) -> Vec<Header> {
        let id = id.to_string();
        let mut headers = Vec::with_capacity(7);
        match self.dialect {
            Dialect::Standard => {}
            Dialect::Ptw => {
                self.sign_single(&ATHENS, &[body], &mut headers);
                headers.push(("x-athens-event", kind.to_owned()));
                headers.push(("x-athens-delivery", id.clone()));
            }
            Dialect::Workpro => {
                let timestamp = wire_millis(now);
                self.sign_single(&WEBHOOK, &[timestamp.as_bytes(), b".", body], &mut headers);
                headers.push(("x-webhook-timestamp", timestamp));
            }
            Dialect::Exact => {
                self.sign_single(&WEBHOOK, &[body], &mut headers);
                headers.push(("x-webhook-timestamp", wire_millis(occurred_at)));
                headers.push(("x-webhook-event", kind.to_owned()));
            }
        }
        let timestamp = now.timestamp().to_string();
        let signature = self.standard_signature(&id, &timestamp, body);
        headers.push(("webhook-id", id));
        headers.push(("webhook-timestamp", timestamp));
        headers.push(("webhook-signature", signature));
        headers
    }

    /// The value of `webhook-signature`: one signature for each key, the current one's first.
    fn standard_signature(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut signature = String::with_capacity(48 * self.webhook_keys.len());
        for key in &self.webhook_keys {
            if !signature.is_empty() {
                signature.push(' ');
            }
            signature.push_str("v1,");
            let code = key.sign(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
            STANDARD.encode_string(code, &mut signature);
        }
        signature
    }

    fn sign_single(&self, single: &Single, parts: &[&[u8]], headers: &mut Vec<Header>) {
        let hex_of = |key: &Key| format!("{}{}", single.prefix, hex::encode(key.sign(parts)));
        match self.text_keys.as_slice() {
            [current, old] => {
                headers.push((single.name, hex_of(old)));
                headers.push((single.next, hex_of(current)));
            }
            keys => headers.extend(keys.iter().map(|key| (single.name, hex_of(key)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{verify_exact, verify_hex, verify_standard, verify_workpro};
    use super::*;
    use chrono::DateTime;

    const BODY: &[u8] = br#"{"event":"WO.created","data":{"id":1}}"#;
    const STANDARD_HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

    fn at(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn sent(dialect: Dialect, current: &Secret, old: Option<&Secret>) -> Vec<Header> {
        let (occurred_at, now) = (at("2025-12-31T23:00:00.5Z"), at("2026-01-01T00:00:00Z"));
        Signer::new(dialect, current, old).headers(Uuid::nil(), "WO.created", occurred_at, now, BODY)
    }

    fn header<'h>(headers: &'h [Header], name: &str) -> &'h str {
        headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str()).unwrap()
    }

    fn names(headers: &[Header]) -> Vec<&'static str> {
        headers.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn the_vector_of_workpro_holds() {
        let headers = sent(Dialect::Workpro, &Secret::parse("shhh").unwrap(), None);
        assert_eq!(header(&headers, "x-webhook-timestamp"), "2026-01-01T00:00:00.000Z");
        assert_eq!(
            header(&headers, "x-webhook-signature"),
            "bbcf4eee4692284680aa2d1b9fd5c827a7d00e167bedfd53679acb154ecb5b38"
        );
        let own = ["x-webhook-signature", "x-webhook-timestamp"];
        assert_eq!(names(&headers), [own.as_slice(), STANDARD_HEADERS.as_slice()].concat());
    }

    #[test]
    fn exact_signs_the_body_alone_and_tells_the_events_time() {
        let secret = Secret::parse("shhh").unwrap();
        let headers = sent(Dialect::Exact, &secret, None);
        assert_eq!(header(&headers, "x-webhook-timestamp"), "2025-12-31T23:00:00.500Z");
        assert_eq!(header(&headers, "x-webhook-event"), "WO.created");
        assert_eq!(header(&headers, "x-webhook-signature"), hex::encode(secret.text_key().sign(&[BODY])));
        let own = ["x-webhook-signature", "x-webhook-timestamp", "x-webhook-event"];
        assert_eq!(names(&headers), [own.as_slice(), STANDARD_HEADERS.as_slice()].concat());
    }

    #[test]
    fn ptw_puts_the_kind_of_digest_before_its_digits() {
        let headers = sent(Dialect::Ptw, &Secret::generate(), None);
        assert!(header(&headers, "x-athens-signature").starts_with("sha256="));
        assert_eq!(header(&headers, "x-athens-event"), "WO.created");
        assert_eq!(header(&headers, "x-athens-delivery"), header(&headers, "webhook-id"));
        let own = ["x-athens-signature", "x-athens-event", "x-athens-delivery"];
        assert_eq!(names(&headers), [own.as_slice(), STANDARD_HEADERS.as_slice()].concat());
        assert_eq!(names(&sent(Dialect::Standard, &Secret::generate(), None)), STANDARD_HEADERS);
    }

    #[test]
    fn both_secrets_sign_during_an_overlap() {
        let (old, new) = (Secret::generate(), Secret::parse("new secret").unwrap());
        let now = at("2026-01-01T00:00:00Z");
        for dialect in Dialect::ALL {
            let headers = sent(dialect, &new, Some(&old));
            let [id, timestamp, signature] = STANDARD_HEADERS.map(|name| header(&headers, name));
            for secret in [&old, &new] {
                verify_standard(secret, id, timestamp, signature, BODY, now).unwrap();
            }
            for (secret, twin) in [(&old, ""), (&new, "-next")] {
                let key = secret.text_key();
                let single = |name: &str| header(&headers, &format!("{name}{twin}")).to_owned();
                match dialect {
                    Dialect::Standard => Ok(()),
                    Dialect::Ptw => verify_hex(&key, &single("x-athens-signature"), BODY),
                    Dialect::Workpro => {
                        let sent = header(&headers, "x-webhook-timestamp");
                        verify_workpro(&key, sent, &single("x-webhook-signature"), BODY, now)
                    }
                    Dialect::Exact => verify_exact(&key, &single("x-webhook-signature"), BODY),
                }
                .unwrap();
            }
        }
    }
}
