//! What a forger might try on the Standard Webhooks verifier, and what the published library makes.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;

use super::{InvalidSignature, TOLERANCE_SECONDS, verify_standard};
use crate::clock::Timestamp;
use crate::secret::Secret;

/// A call as it was signed; the tests change one thing at a time.
#[derive(Clone)]
struct Call {
    secret: &'static str,
    id: String,
    timestamp: String,
    signatures: String,
    body: Vec<u8>,
}

/// The published vector.
fn call() -> Call {
    Call {
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
        timestamp: "1614265330".to_owned(),
        signatures: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned(),
        body: br#"{"test": 2432232314}"#.to_vec(),
    }
}

fn now() -> Timestamp {
    DateTime::from_timestamp(1_614_265_330, 0).unwrap()
}

impl Call {
    /// Signed anew, so that nothing but its form can be wrong with it.
    fn signed(self) -> Self {
        let code = self.code();
        Self { signatures: format!("v1,{}", STANDARD.encode(code)), ..self }
    }

    fn code(&self) -> [u8; 32] {
        let parts = [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", self.body.as_slice()];
        Secret::parse(self.secret).unwrap().webhook_key().sign(&parts)
    }

    fn with_signatures(&self, signatures: impl Into<String>) -> Self {
        Self { signatures: signatures.into(), ..self.clone() }
    }

    fn checked_at(&self, now: Timestamp) -> Result<(), InvalidSignature> {
        let secret = Secret::parse(self.secret).unwrap();
        verify_standard(&secret, &self.id, &self.timestamp, &self.signatures, &self.body, now)
    }

    fn checked(&self) -> Result<(), InvalidSignature> {
        self.checked_at(now())
    }
}

#[test]
fn the_published_vectors_hold() {
    assert_eq!(call().checked(), Ok(()));
    let among_others = format!("v1a,x v1,bm9ldHUK {} v2,AAAA", call().signatures);
    assert_eq!(call().with_signatures(among_others).checked(), Ok(()));
    let another = Call {
        secret: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk".to_owned(),
        timestamp: "1649367553".to_owned(),
        signatures: "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=".to_owned(),
        body: br#"{"email":"test@example.com","username":"test_user"}"#.to_vec(),
    };
    assert_eq!(another.checked_at(DateTime::from_timestamp(1_649_367_553, 0).unwrap()), Ok(()));
}

/// CVE-2024-21491: a comparison that ends with the shorter of the two takes every beginning of a signature.
#[test]
fn a_part_of_the_signature_is_not_the_signature() {
    let (call, code) = (call(), call().code());
    for length in 0..call.signatures.len() {
        let part = call.with_signatures(&call.signatures[..length]);
        let expected = if length == 0 { InvalidSignature::Missing } else { InvalidSignature::Mismatch };
        assert_eq!(part.checked(), Err(expected), "{}", part.signatures);
    }
    for length in (0..32).chain(33..40) {
        let mut bytes = code.to_vec();
        bytes.resize(length, 0);
        let part = call.with_signatures(format!("v1,{}", STANDARD.encode(bytes)));
        assert_eq!(part.checked(), Err(InvalidSignature::Mismatch), "{}", part.signatures);
    }
    let twice = call.with_signatures(format!("v1,{}", STANDARD.encode([code, code].concat())));
    assert_eq!(twice.checked(), Err(InvalidSignature::Mismatch));
}

#[test]
fn base64_has_one_spelling_only() {
    let (call, code) = (call(), call().code());
    let right = STANDARD.encode(code);
    assert!(right.contains('+') && right.contains('/') && right.ends_with("E="), "{right}");
    for odd in [
        STANDARD_NO_PAD.encode(code),
        URL_SAFE.encode(code),
        right.replace("E=", "F="),
        format!("{right}="),
        format!("{right}AAAA"),
        format!("{right}\n"),
        format!("{right}\t"),
        format!("{right},"),
        format!(",{right}"),
        right.to_lowercase(),
        hex::encode(code),
    ] {
        assert_eq!(call.with_signatures(format!("v1,{odd}")).checked(), Err(InvalidSignature::Mismatch), "{odd:?}");
    }
}

#[test]
fn only_the_first_version_counts() {
    let call = call();
    let right = STANDARD.encode(call.code());
    for version in ["v1a", "v2", "v0", "V1", "v", "", "v11", "v1 ", "ｖ1"] {
        let other = call.with_signatures(format!("{version},{right}"));
        assert_eq!(other.checked(), Err(InvalidSignature::Mismatch), "{version}");
    }
    for other in [right.clone(), format!("v1{right}"), format!("v1={right}"), format!("v2,{right} v1a,{right}")] {
        assert_eq!(call.with_signatures(&other).checked(), Err(InvalidSignature::Mismatch), "{other}");
    }
}

#[test]
fn at_most_ten_signatures_are_tried() {
    let call = call();
    let wrong = format!("v1,{} ", STANDARD.encode([7; 32]));
    for (others, expected) in
        [(9, Ok(())), (10, Err(InvalidSignature::Mismatch)), (999, Err(InvalidSignature::Mismatch))]
    {
        let many = call.with_signatures(wrong.repeat(others) + &call.signatures);
        assert_eq!(many.checked(), expected, "{others}");
    }
}

#[test]
fn a_timestamp_is_plain_digits() {
    for timestamp in [
        "+1614265330",
        "-1614265330",
        "1614265330.0",
        "1614265330,0",
        "1.61426533e9",
        "0x6037bab2",
        " 1614265330",
        "1614265330 ",
        "1614 265330",
        "1614265330\n",
        "18446744075323816946",
        "9223372036854775808",
        "9223372036854775807",
        "1614265330000",
        "１６１４２６５３３０",
        "2021-02-25T15:02:10Z",
        "now",
        " ",
    ] {
        let call = Call { timestamp: timestamp.to_owned(), ..call() }.signed();
        assert_eq!(call.checked(), Err(InvalidSignature::Timestamp), "{timestamp:?}");
    }
    let before_the_epoch = Call { timestamp: "-5".to_owned(), ..call() }.signed();
    assert_eq!(before_the_epoch.checked_at(DateTime::UNIX_EPOCH), Err(InvalidSignature::Timestamp));
}

#[test]
fn a_call_is_good_for_five_minutes_both_ways() {
    for away in [0, 1, TOLERANCE_SECONDS] {
        for late in [away, -away] {
            assert_eq!(call().checked_at(now() + TimeDelta::seconds(late)), Ok(()), "{late}");
        }
    }
    for away in [TOLERANCE_SECONDS + 1, 86_400, 1_614_265_330] {
        for late in [away, -away] {
            let checked = call().checked_at(now() + TimeDelta::seconds(late));
            assert_eq!(checked, Err(InvalidSignature::Timestamp), "{late}");
        }
    }
}

#[test]
fn an_id_cannot_be_read_in_two_ways() {
    for id in ["msg.1614265330", ".", "msg_1.", "a b", "a\n", "a\0", "é", "ｍsg"] {
        let call = Call { id: id.to_owned(), ..call() }.signed();
        assert_eq!(call.checked(), Err(InvalidSignature::Id), "{id:?}");
    }
    let moved = Call { id: "msg_1.1614265330".to_owned(), body: b"x".to_vec(), ..call() }.signed();
    let read_otherwise = Call { id: "msg_1".to_owned(), body: b"1614265330.x".to_vec(), ..moved.clone() };
    assert_eq!(moved.code(), read_otherwise.code());
    assert_eq!((moved.checked(), read_otherwise.checked()), (Err(InvalidSignature::Id), Ok(())));
}

#[test]
fn nothing_is_signed_by_an_absent_header() {
    for call in [
        Call { id: String::new(), ..call() }.signed(),
        Call { timestamp: String::new(), ..call() }.signed(),
        call().with_signatures(""),
    ] {
        assert_eq!(call.checked(), Err(InvalidSignature::Missing));
    }
}

#[test]
fn letters_beyond_ascii_in_a_signature_are_refused() {
    for signatures in ["v1,ü", "v1,א", "ｖ１,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "\u{feff}", "🔥 🔥"]
    {
        assert_eq!(call().with_signatures(signatures).checked(), Err(InvalidSignature::Mismatch), "{signatures}");
    }
}

proptest! {
    #[test]
    fn a_random_signature_never_passes(code in any::<[u8; 32]>(), text in "\\PC{0,100}") {
        let coded = format!("v1,{}", STANDARD.encode(code));
        for signatures in [coded, format!("v1,{text}"), text] {
            prop_assert!(call().with_signatures(signatures).checked().is_err());
        }
    }

    #[test]
    fn one_flipped_byte_anywhere_is_refused(
        part in 0..4_usize, at in any::<prop::sample::Index>(), mask in 1..0x80_u8, late in -300..=300_i64,
    ) {
        let mut call = call();
        let flipped = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at.index(text.len())] ^= mask;
            String::from_utf8(bytes).unwrap()
        };
        match part {
            0 => call.id = flipped(&call.id),
            1 => call.timestamp = flipped(&call.timestamp),
            2 => call.signatures = flipped(&call.signatures),
            _ => { let at = at.index(call.body.len()); call.body[at] ^= mask; }
        }
        prop_assert!(call.checked_at(now() + TimeDelta::seconds(late)).is_err());
    }

    #[test]
    fn what_the_published_library_signs_is_accepted(
        id in "[!-\\-/-~]{1,64}", sent in 0..4_102_444_800_i64, late in -300..=300_i64, body in "\\PC{0,200}",
    ) {
        let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let theirs = standardwebhooks::Webhook::new(secret).unwrap();
        let signatures = theirs.sign(&id, sent, body.as_bytes()).unwrap();
        let call = Call { secret, id, timestamp: sent.to_string(), signatures, body: body.into_bytes() };
        let now = DateTime::from_timestamp(sent + late, 0).unwrap();
        prop_assert_eq!(call.checked_at(now), Ok(()));
        prop_assert_eq!(call.clone().signed().signatures, call.signatures);
    }
}
