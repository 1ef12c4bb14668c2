//! Tables for the schema of `receive-event`.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const CONNECTOR: Uuid = Uuid::from_u128(0x3f0c_9a52_6c1e_4c53_9d2f_0b6a_7c1d_2e4f);

fn at(text: &str) -> Timestamp {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn now() -> Timestamp {
    at("2026-04-20T03:00:30Z")
}

fn body() -> Value {
    json!({"connector_id": CONNECTOR.to_string(), "timestamp": "2026-04-20T03:00:00Z"})
}

fn with(field: &str, value: Value) -> Value {
    let mut body = body();
    body[field] = value;
    body
}

fn parse(body: &Value) -> Result<IntegrationEvent, Vec<FieldRefusal>> {
    IntegrationEvent::parse(body.to_string().as_bytes(), CONNECTOR, now())
}

fn refused(body: &Value) -> Vec<(String, &'static str)> {
    let refusals = parse(body).unwrap_err();
    assert!(refusals.iter().all(|refusal| refusal.sentence.ends_with('.')));
    refusals.into_iter().map(|refusal| (refusal.pointer, refusal.code)).collect()
}

#[test]
fn the_documented_samples_are_read() {
    for (sample, micros) in [
        (include_bytes!("fixtures/curl.json").as_slice(), 0),
        (include_bytes!("fixtures/node.json").as_slice(), 123_000),
        (include_bytes!("fixtures/python.json").as_slice(), 123_456),
    ] {
        let event = IntegrationEvent::parse(sample, CONNECTOR, now()).unwrap();
        assert_eq!(event.occurred_at, at("2026-04-20T03:00:00Z") + TimeDelta::microseconds(micros));
        assert_eq!(event.kind.as_str(), "erpops.integration.failed");
        assert_eq!(event.severity, Severity::Error);
        assert_eq!(event.source.as_ref().map(Label::as_str), Some("PSFT_PAYROLL_BATCH"));
        assert_eq!(event.message.as_deref(), Some("Exit code 1 at record 18441"));
        assert!(!event.stale);
        assert!(!format!("{event:?}").contains("18441"));
    }
}

#[test]
fn two_fields_are_enough() {
    let event = parse(&body()).unwrap();
    assert_eq!(event.event_type.as_str(), "integration.event");
    assert_eq!(event.severity, Severity::Info);
    assert_eq!((event.source, event.message, event.metadata), (None, None, vec![]));
    let nulls = json!({
        "connector_id": CONNECTOR.to_string(), "timestamp": "2026-04-20T03:00:00Z", "event_type": null,
        "severity": null, "source": "", "message": null, "metadata": null, "anything": {"else": [1]},
    });
    assert_eq!(parse(&nulls).unwrap(), parse(&body()).unwrap());
}

#[test]
fn times_need_a_zone_and_may_not_lie_ahead() {
    for good in [
        "2026-04-20T03:00:00Z",
        "2026-04-20T03:00:00.000Z",
        "2026-04-20T03:00:00.000000+00:00",
        "2026-04-20T05:00:00+02:00",
        "2026-04-20T05:00:00+0200",
        "2026-04-20T05:00:00+02",
        "2026-04-20T03:00Z",
        "2026-04-20 03:00:00Z",
    ] {
        let event = parse(&with("timestamp", good.into())).unwrap();
        assert_eq!(event.occurred_at, at("2026-04-20T03:00:00Z"), "{good}");
    }
    for (bad, code) in [
        ("2026-04-20T03:00:00", MISSING_ZONE),
        ("2026-04-20T03:00:00.123456", MISSING_ZONE),
        ("2026-04-20 03:00:00", MISSING_ZONE),
        ("2026-04-20", MISSING_ZONE),
        ("2026-04-20T03:05:31Z", IN_THE_FUTURE),
        ("9999-12-31T23:59:59Z", IN_THE_FUTURE),
        ("2026-02-30T03:00:00Z", INVALID_VALUE),
        ("yesterday", INVALID_VALUE),
        ("", INVALID_VALUE),
    ] {
        assert_eq!(refused(&with("timestamp", bad.into())), [("/timestamp".to_owned(), code)], "{bad}");
    }
    assert!(parse(&with("timestamp", "2026-04-20T03:05:30Z".into())).is_ok());
    assert_eq!(refused(&with("timestamp", json!(1_776_654_000))), [("/timestamp".to_owned(), INVALID_TYPE)]);
}

#[test]
fn what_is_older_than_a_day_is_stale_and_taken() {
    assert!(!parse(&with("timestamp", "2026-04-19T03:00:30Z".into())).unwrap().stale);
    assert!(parse(&with("timestamp", "2026-04-19T03:00:29Z".into())).unwrap().stale);
    assert!(parse(&with("timestamp", "1999-01-01T00:00:00Z".into())).unwrap().stale);
}

#[test]
fn everything_wrong_is_told_at_once() {
    let metadata = json!({"a": [1], "b": {"c": 1}, "d": 1});
    let wrong = json!({
        "connector_id": Uuid::nil().to_string(), "event_type": "a b", "severity": "fatal", "source": "a\0",
        "message": "x".repeat(MAX_MESSAGE_LEN + 1), "metadata": metadata,
    });
    assert_eq!(
        refused(&wrong),
        [
            ("/connector_id".to_owned(), CONNECTOR_MISMATCH),
            ("/timestamp".to_owned(), "REQUIRED"),
            ("/event_type".to_owned(), INVALID_VALUE),
            ("/severity".to_owned(), INVALID_VALUE),
            ("/source".to_owned(), INVALID_VALUE),
            ("/message".to_owned(), TOO_LONG),
            ("/metadata/a".to_owned(), INVALID_TYPE),
            ("/metadata/b".to_owned(), INVALID_TYPE),
        ]
    );
}

#[test]
fn single_fields_are_refused_with_their_reason() {
    let many: Value = (0..=MAX_METADATA).map(|n| (n.to_string(), json!(n))).collect::<serde_json::Map<_, _>>().into();
    for (field, value, code) in [
        ("connector_id", json!("YOUR_ID"), INVALID_VALUE),
        ("connector_id", Value::Null, INVALID_TYPE),
        ("event_type", json!("x".repeat(114)), INVALID_VALUE),
        ("event_type", json!(""), INVALID_VALUE),
        ("event_type", json!(1), INVALID_TYPE),
        ("severity", json!("ERROR"), INVALID_VALUE),
        ("source", json!("x".repeat(256)), TOO_LONG),
        ("message", json!("a\0b"), INVALID_VALUE),
        ("message", json!(["a"]), INVALID_TYPE),
        ("metadata", json!([]), INVALID_TYPE),
        ("metadata", many, TOO_MANY_KEYS),
    ] {
        assert_eq!(refused(&with(field, value.clone())), [(format!("/{field}"), code)], "{value}");
    }
    assert!(parse(&with("message", json!("x".repeat(MAX_MESSAGE_LEN)))).is_ok());
    assert!(parse(&with("event_type", json!("somebody.elses:type-1"))).is_ok());
}

#[test]
fn a_body_that_is_no_object_is_one_refusal() {
    for (body, code) in [
        ("", "INVALID_JSON"),
        ("{", "INVALID_JSON"),
        ("[]", "NOT_AN_OBJECT"),
        ("\"text\"", "NOT_AN_OBJECT"),
        ("null", "NOT_AN_OBJECT"),
    ] {
        let refusals = IntegrationEvent::parse(body.as_bytes(), CONNECTOR, now()).unwrap_err();
        assert_eq!((refusals.len(), refusals[0].code, refusals[0].is_of_body()), (1, code, true), "{body}");
    }
}

#[test]
fn metadata_keeps_numbers_as_written() {
    let text = body().to_string().replacen(
        '}',
        r#","metadata":{"ratio":1.50,"big":12345678901234567890123,"ok":true,"none":null,"job":"é"}}"#,
        1,
    );
    let event = IntegrationEvent::parse(text.as_bytes(), CONNECTOR, now()).unwrap();
    let values: Vec<_> = event.metadata.into_iter().map(|(_, value)| value).collect();
    assert_eq!(
        values,
        [
            Scalar::Number("1.50".to_owned()),
            Scalar::Number("12345678901234567890123".to_owned()),
            Scalar::Flag(true),
            Scalar::Null,
            Scalar::Text("é".to_owned()),
        ]
    );
}

#[test]
fn the_same_bytes_are_the_same_event_for_five_minutes() {
    let connector = ConnectorId::from(CONNECTOR);
    let first = once(connector, b"body", now());
    assert_eq!(first.key, once(connector, b"body", now()).key);
    assert_eq!(first.until, now() + TimeDelta::minutes(5));
    assert_ne!(first.key, once(connector, b"bodY", now()).key);
    assert_ne!(first.key, once(ConnectorId::from(Uuid::nil()), b"body", now()).key);
    assert_eq!((first.key.len(), first.scope), (36 + 1 + 64, "erpops"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), text in any::<String>()) {
        prop_assert!(IntegrationEvent::parse(&bytes, CONNECTOR, now()).is_err());
        for field in ["timestamp", "event_type", "severity", "source", "message"] {
            let _ = parse(&with(field, text.clone().into()));
        }
    }
}
