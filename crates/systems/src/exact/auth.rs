//! How calls prove where they come from: a shared secret in a header, or Exact Online's code inside the body.
//!
//! Both are checked in constant time over the bytes as they were received.

use std::borrow::Cow;

use busbar_domain::secret::{Key, Secret};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The header that bears the connector's secret.
pub const SECRET_HEADER: &str = "x-webhook-secret";

/// Why the header's secret is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// The header is missing or empty.
    #[error("the header X-Webhook-Secret is missing")]
    Missing,
    /// It is none of the connector's.
    #[error("the header X-Webhook-Secret holds another secret")]
    Mismatch,
}

/// Checks the header against the connector's secrets, of which there are two while one replaces the other.
///
/// Each is compared by its code under one key, so that time tells neither where two differ nor how long one is.
pub fn verify_secret(stored: &[&Secret], header: Option<&[u8]>) -> Result<(), InvalidSecret> {
    let sent = header.filter(|sent| !sent.is_empty()).ok_or(InvalidSecret::Missing)?;
    let key = Key::new(SECRET_HEADER.as_bytes());
    let code = key.sign(&[sent]);
    let found = stored.iter().fold(false, |found, secret| key.verifies(&[secret.expose().as_bytes()], &code) | found);
    if found { Ok(()) } else { Err(InvalidSecret::Mismatch) }
}

/// Why a notification of Exact Online is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNotification {
    /// Not `{"Content":{…},"HashCode":"…"}`, each of them once.
    #[error("the body is not a JSON object with Content and HashCode")]
    Unreadable,
    /// It has no code.
    #[error("the body has no HashCode")]
    Missing,
    /// The code is not that of the content.
    #[error("the HashCode does not match the Content")]
    Mismatch,
}

#[derive(Deserialize)]
struct Signed<'b> {
    #[serde(borrow, rename = "Content")]
    content: &'b RawValue,
    #[serde(borrow, rename = "HashCode", default)]
    hash_code: Option<Cow<'b, str>>,
}

/// Checks `HashCode` and returns the content that it vouches for.
///
/// The code is the HMAC-SHA256, in hex, of the content exactly as it stands in the body, from its first to its last
/// byte, without the white space around it. Exact writes upper case; lower case is taken as well. What else is in the
/// body is not vouched for and not looked at.
pub fn signed_content<'b>(key: &Key, body: &'b [u8]) -> Result<&'b RawValue, InvalidNotification> {
    let signed: Signed<'b> = serde_json::from_slice(body).map_err(|_| InvalidNotification::Unreadable)?;
    let digits = signed.hash_code.filter(|digits| !digits.is_empty()).ok_or(InvalidNotification::Missing)?;
    let mut code = [0; 32];
    let is_code = hex::decode_to_slice(&*digits, &mut code).is_ok();
    let matches = is_code && key.verifies(&[signed.content.get().as_bytes()], &code);
    if matches { Ok(signed.content) } else { Err(InvalidNotification::Mismatch) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEMS_UPDATE: &str = include_str!("fixtures/items_update.json");

    fn check(body: &str) -> Result<&RawValue, InvalidNotification> {
        signed_content(&Key::new(b"testsecret"), body.as_bytes())
    }

    #[test]
    fn a_secret_is_one_of_the_connectors() {
        let (current, old) = (Secret::generate(), Secret::parse("chosen by hand").unwrap());
        let stored = [&current, &old];
        assert_eq!(verify_secret(&stored, Some(current.expose().as_bytes())), Ok(()));
        assert_eq!(verify_secret(&stored, Some(b"chosen by hand")), Ok(()));
        for wrong in [b"chosen by hand ".as_slice(), b"Chosen by hand", b"chosen by han", b"\xff"] {
            assert_eq!(verify_secret(&stored, Some(wrong)), Err(InvalidSecret::Mismatch));
        }
        for missing in [None, Some(b"".as_slice())] {
            assert_eq!(verify_secret(&stored, missing), Err(InvalidSecret::Missing));
        }
        assert_eq!(verify_secret(&[], Some(b"x")), Err(InvalidSecret::Mismatch));
    }

    #[test]
    fn the_vector_of_2018_holds() {
        let content = check(ITEMS_UPDATE).unwrap().get();
        let (_, rest) = ITEMS_UPDATE.split_once("{\"Content\":").unwrap();
        assert_eq!(content, rest.split_once(",\"HashCode\":").unwrap().0);
        let (before, code) = ITEMS_UPDATE.rsplit_once(":\"").unwrap();
        assert!(check(&format!("{before}:\"{}", code.to_lowercase())).is_ok());
        let wrong = signed_content(&Key::new(b"Testsecret"), ITEMS_UPDATE.as_bytes());
        assert_eq!(wrong.map(RawValue::get), Err(InvalidNotification::Mismatch));
    }

    #[test]
    fn one_changed_byte_is_refused() {
        let slashes = ITEMS_UPDATE.replace('/', "\\/");
        let spaced = ITEMS_UPDATE.replace(",\"Division\"", ", \"Division\"");
        let zeroes = ITEMS_UPDATE.replace("50.07", "50.070");
        for body in [slashes, spaced, zeroes, ITEMS_UPDATE.replace("F844", "F845"), ITEMS_UPDATE.replace("F844", "")] {
            assert_eq!(check(&body).map(RawValue::get), Err(InvalidNotification::Mismatch), "{body}");
        }
    }

    #[test]
    fn white_space_around_the_content_is_not_signed() {
        let spaced = ITEMS_UPDATE
            .replacen("\"Content\":", " \"Content\" :\n ", 1)
            .replace(",\"HashCode\":", " , \"HashCode\" : ");
        assert_eq!(check(&spaced).unwrap().get(), check(ITEMS_UPDATE).unwrap().get());
        let key = Key::new(b"testsecret");
        let code = hex::encode_upper(key.sign(&[br#"{ "Topic" : "\u0041" }"#]));
        let inner = format!(r#"{{"HashCode":"{code}","Content":{{ "Topic" : "\u0041" }},"Other":1}}"#);
        assert_eq!(check(&inner).unwrap().get(), r#"{ "Topic" : "\u0041" }"#);
    }

    #[test]
    fn what_is_no_notification_is_told_so() {
        for (body, reason) in [
            ("", InvalidNotification::Unreadable),
            ("[]", InvalidNotification::Unreadable),
            ("{}", InvalidNotification::Unreadable),
            (r#"{"HashCode":"00"}"#, InvalidNotification::Unreadable),
            (r#"{"Content":{},"Content":{},"HashCode":"00"}"#, InvalidNotification::Unreadable),
            (r#"{"Content":{},"HashCode":"00","HashCode":"00"}"#, InvalidNotification::Unreadable),
            (r#"{"Content":{},"HashCode":7}"#, InvalidNotification::Unreadable),
            (r#"{"Content":{},"HashCode":"00"} x"#, InvalidNotification::Unreadable),
            (r#"{"Content":{}}"#, InvalidNotification::Missing),
            (r#"{"Content":{},"HashCode":null}"#, InvalidNotification::Missing),
            (r#"{"Content":{},"HashCode":""}"#, InvalidNotification::Missing),
            (r#"{"Content":{},"HashCode":"00"}"#, InvalidNotification::Mismatch),
        ] {
            assert_eq!(check(body).map(RawValue::get), Err(reason), "{body}");
        }
    }
}
