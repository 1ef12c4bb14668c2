//! Peers whose TLS is wrong, each in its own way; `localhost` is the name that they are called by.

use std::time::{Duration, Instant};

use busbar_egress::{Egress, Failure, FailureClass, Limits, Phases, Policy, Surroundings};
use futures_util::future::join_all;
use rcgen::{CertificateParams, date_time_ymd};
use rustls::version::{TLS12, TLS13};

use crate::authority::{Authority, Identity, Peer, self_signed};
use crate::listener::{Listener, Then, egress, eventually, post};

/// A fatal `protocol_version` alert, as TLS 1.1 writes it.
const ALERT: &[u8] = b"\x15\x03\x02\x00\x02\x02\x46";
const FAILED: &str = "The TLS handshake failed.";

async fn refused(egress: &Egress, peer: &Peer) -> Failure {
    let failure = post(egress, &peer.url(), 5_000).await.unwrap_err();
    assert_eq!((failure.class, failure.status), (FailureClass::Tls, None), "{failure:?}");
    assert_eq!(failure.address, Some(peer.addr));
    failure
}

#[tokio::test]
async fn an_authority_of_the_operator_is_trusted_beside_the_systems() {
    let authority = Authority::new();
    let peer = Peer::start(authority.signed("localhost")).await;
    let answer = post(&authority.trusting(Limits::default()), &peer.url(), 5_000).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
    assert!(answer.phases.tls.is_some() && answer.phases.connect.is_some(), "{:?}", answer.phases);

    let failure = refused(&Authority::new().trusting(Limits::default()), &peer).await;
    assert_eq!(failure.detail, "The receiver's certificate comes from an unknown authority.");
    assert!(failure.phases.tls.is_some() && failure.phases.first_byte.is_none(), "{:?}", failure.phases);
    assert_eq!(peer.served(), 1);
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_is_refused() {
    let authority = Authority::new();
    let expired = {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        authority.signed_as(&params)
    };
    let early = {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2200, 1, 1), date_time_ymd(2201, 1, 1));
        authority.signed_as(&params)
    };
    for (certificate, detail) in [
        (expired, "The receiver's certificate has expired."),
        (early, "The receiver's certificate is not valid."),
        (authority.signed("other.test"), "The receiver's certificate is for another name."),
        (authority.signed("localhost.other.test"), "The receiver's certificate is for another name."),
        (self_signed("localhost"), "The receiver's certificate comes from an unknown authority."),
        (Authority::new().signed("localhost"), "The receiver's certificate comes from an unknown authority."),
    ] {
        let peer = Peer::start(certificate).await;
        assert_eq!(refused(&authority.trusting(Limits::default()), &peer).await.detail, detail);
        assert_eq!((peer.accepted(), peer.served()), (1, 0), "{detail}");
    }
}

#[tokio::test]
async fn a_certificate_is_checked_at_each_connection() {
    let authority = Authority::new();
    let peer = Peer::start(authority.signed("localhost")).await;
    let egress = authority.trusting(Limits::default());
    for _ in 0..2 {
        assert_eq!(post(&egress, &peer.url(), 5_000).await.unwrap().status, 200);
    }
    peer.shown.replace(authority.signed("other.test"));
    assert_eq!(refused(&egress, &peer).await.detail, "The receiver's certificate is for another name.");
    peer.shown.replace(authority.signed("localhost"));
    assert_eq!(post(&egress, &peer.url(), 5_000).await.unwrap().status, 200);
    assert_eq!((peer.accepted(), peer.served()), (4, 3));
}

#[tokio::test]
async fn a_peer_that_wants_a_client_certificate_is_a_tls_failure() {
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let peer = Peer::start(authority.demanding(authority.signed("localhost"), version)).await;
        refused(&authority.trusting(Limits::default()), &peer).await;
        assert_eq!(peer.served(), 0);
    }
}

#[tokio::test]
async fn what_is_not_tls_that_we_speak_is_a_tls_failure_and_nothing_is_said_in_the_clear() {
    // The head of a ServerHello of TLS 1.1: record, handshake, version, random, session, cipher, compression.
    let hello = [&b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02"[..], &[7; 32], b"\x00\x00\x2f\x00"].concat();
    for bytes in [ALERT, hello.leak(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", &[0xff; 64], &[0; 6]] {
        let listener = Listener::start(Then::SayBytes(bytes)).await;
        let url = format!("https://{}/secret-path", listener.addr);
        let failure = post(&egress(), &url, 5_000).await.unwrap_err();
        assert_eq!((failure.class, failure.detail.as_str()), (FailureClass::Tls, FAILED), "{bytes:?}");
        eventually("the connection being closed", async || listener.closed() == 1).await;
        assert_eq!(listener.accepted(), 1);
        assert!(!listener.seen().contains("POST") && !listener.seen().contains("secret-path"));
    }
}

#[tokio::test]
async fn a_handshake_that_stalls_ends_at_the_deadline() {
    let listener = Listener::start(Then::Say("")).await;
    let started = Instant::now();
    let failure = post(&egress(), &format!("https://{}/", listener.addr), 400).await.unwrap_err();

    assert_eq!((failure.class, failure.address), (FailureClass::Timeout, Some(listener.addr)));
    assert_eq!(failure.detail, "No complete answer came within 400 ms.");
    assert!(failure.phases.connect.is_some() && failure.phases.tls.unwrap() > Duration::from_millis(300));
    assert!(started.elapsed() < Duration::from_millis(500), "it took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_peer_that_closes_in_mid_handshake_is_a_tls_failure() {
    let listener = Listener::start(Then::SayAndClose("")).await;
    let failure = post(&egress(), &format!("https://{}/", listener.addr), 5_000).await.unwrap_err();
    assert_eq!((failure.class, failure.detail.as_str()), (FailureClass::Tls, FAILED));
}

#[tokio::test]
async fn http_2_is_spoken_where_the_peer_offers_it() {
    let authority = Authority::new();
    let peer = Peer::start(Identity::from(authority.signed("localhost")).with_http_2()).await;
    let egress = authority.trusting(Limits::default());
    let first = post(&egress, &peer.url(), 5_000).await.unwrap();
    assert_eq!((first.status, &first.body[..], first.address), (200, &b"two"[..], Some(peer.addr)));

    let url = peer.url();
    for answer in join_all((0..10).map(|_| post(&egress, &url, 5_000))).await {
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.address, answer.phases.tls), (200, Some(peer.addr), None));
    }
    assert_eq!((peer.accepted(), peer.served()), (1, 11));
}

#[tokio::test]
async fn a_shared_connection_that_ran_out_of_time_is_given_up() {
    let authority = Authority::new();
    let peer = Peer::start(Identity::from(authority.signed("localhost")).with_http_2()).await;
    let egress = authority.trusting(Limits::default());
    post(&egress, &peer.url(), 5_000).await.unwrap();
    let failure = post(&egress, &format!("{}never", peer.url()), 200).await.unwrap_err();
    assert_eq!((failure.class, failure.address), (FailureClass::Timeout, Some(peer.addr)));
    assert_eq!(failure.phases, Phases::default(), "the connection was open already");
    post(&egress, &peer.url(), 5_000).await.unwrap();
    assert_eq!((peer.accepted(), peer.served()), (2, 3));
}

#[tokio::test]
async fn a_shared_connection_that_is_old_is_given_up() {
    let authority = Authority::new();
    let peer = Peer::start(Identity::from(authority.signed("localhost")).with_http_2()).await;
    let egress = authority.trusting(Limits { connection_age: Duration::ZERO, ..Limits::default() });
    for _ in 0..3 {
        post(&egress, &peer.url(), 5_000).await.unwrap();
    }
    assert_eq!((peer.accepted(), peer.served()), (3, 3));
}

#[test]
fn authorities_that_cannot_be_read_stop_the_start() {
    let file = std::env::temp_dir().join(format!("busbar-no-authority-{}.pem", std::process::id()));
    let build = || {
        let surroundings = Surroundings { ca_file: Some(file.clone()), ..Surroundings::default() };
        Egress::with_surroundings(Policy::default(), Limits::default(), &surroundings).err().unwrap()
    };
    let source = |error: &busbar_egress::Error| std::error::Error::source(error).unwrap().to_string();
    assert_eq!(source(&build()), format!("the authorities in {} cannot be read", file.display()));
    std::fs::write(&file, "no certificate here\n").unwrap();
    let error = build();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(source(&error), format!("{} holds no certificate", file.display()));
}
