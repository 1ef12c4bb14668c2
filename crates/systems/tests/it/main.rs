//! One suite over the whole registry: what must hold for every system.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use busbar_domain::Timestamp;
use busbar_domain::dialect::InvalidSignature;
use busbar_domain::event::NewEvent;
use busbar_domain::id::{ConnectorId, EventId, InboundId, TenantId};
use busbar_domain::json;
use busbar_domain::secret::Secret;
use busbar_domain::trace::TraceContext;
use busbar_systems::FieldRefusal;
use busbar_systems::registry::{Call, EDGES, Edge, ToEvent};
use uuid::Uuid;

/// The connector that the fixtures name.
const CONNECTOR: Uuid = Uuid::from_u128(0x3f0c_9a52_6c1e_4c53_9d2f_0b6a_7c1d_2e4f);

fn fixtures(edge: &Edge) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(edge.system.as_str()).join("fixtures");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{} has no fixtures", edge.system);
    found
}

fn received_at() -> Timestamp {
    Timestamp::from_timestamp(1_776_654_030, 0).unwrap()
}

/// The systems whose calls are events.
fn reporting() -> impl Iterator<Item = (&'static Edge, ToEvent)> {
    EDGES.iter().filter_map(|edge| Some((edge, edge.to_event?)))
}

fn event_of(to_event: ToEvent, body: &[u8]) -> Result<NewEvent, Vec<FieldRefusal>> {
    to_event(&Call {
        tenant: TenantId::from(Uuid::from_u128(1)),
        connector: ConnectorId::from(CONNECTOR),
        inbound: Some(InboundId::from(Uuid::from_u128(2))),
        event: EventId::from(Uuid::from_u128(3)),
        trace: TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap(),
        body,
        received_at: received_at(),
    })
}

#[test]
fn every_fixture_maps() {
    for (edge, to_event) in reporting() {
        for (name, body) in fixtures(edge) {
            let event = event_of(to_event, &body).unwrap_or_else(|refusals| panic!("{name}: {refusals:?}"));
            assert_eq!(json::compact(&event.payload).unwrap(), event.payload, "{name}");
            assert!(event.subject.is_some(), "{name}");
            assert_eq!(event.inbound, Some(InboundId::from(Uuid::from_u128(2))), "{name}");
        }
    }
}

#[test]
fn reading_is_deterministic() {
    for (edge, to_event) in reporting() {
        for (name, body) in fixtures(edge) {
            let printed = || format!("{:?}", event_of(to_event, &body).unwrap());
            assert_eq!(printed(), printed(), "{name}");
        }
    }
}

#[test]
fn a_tampered_body_is_refused() {
    let secret = Secret::parse("a secret of some length").unwrap();
    let key = secret.text_key();
    for (edge, verify) in EDGES.iter().filter_map(|edge| Some((edge, edge.verify?))) {
        for (name, body) in fixtures(edge) {
            let header = format!("sha256={}", hex::encode(key.sign(&[&body])));
            assert_eq!(verify(&key, Some(&header), &body), Ok(()), "{name}");
            for at in 0..body.len() {
                let mut tampered = body.clone();
                tampered[at] ^= 1;
                assert_eq!(verify(&key, Some(&header), &tampered), Err(InvalidSignature::Mismatch), "{name} byte {at}");
            }
            assert!(verify(&key, Some(&header), &body[..body.len() - 1]).is_err(), "{name}");
            assert_eq!(verify(&key, None, &body), Err(InvalidSignature::Missing), "{name}");
            let other = Secret::parse("another secret").unwrap().text_key();
            assert_eq!(verify(&other, Some(&header), &body), Err(InvalidSignature::Mismatch), "{name}");
        }
    }
}

#[test]
fn a_cut_body_is_refused_as_unreadable() {
    for (edge, to_event) in reporting() {
        for (name, body) in fixtures(edge) {
            let text = body.trim_ascii_end();
            for end in 0..text.len() {
                let refusals = event_of(to_event, &text[..end]).unwrap_err();
                assert!(refusals.len() == 1 && refusals[0].is_of_body(), "{name} cut at {end}");
            }
        }
    }
}

#[test]
fn secrets_do_not_print() {
    let secret = Secret::parse("a secret of some length").unwrap();
    for printed in [format!("{secret:?}"), format!("{:?}", secret.text_key()), format!("{EDGES:?}")] {
        assert!(!printed.contains("some length"), "{printed}");
    }
}
