//! Receivers that mean harm: each takes the deadline at most, and memory within the cap.

use std::time::Duration;

use busbar_egress::{Answer, Failure, FailureClass};
use tokio::task::JoinSet;

use crate::listener::{Listener, Then, egress, post};

/// How late the end of an attempt may be.
const SLACK: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
/// What [`egress`] keeps of a body.
const CAP: usize = 1_000;
/// A thousand zeros, compressed with gzip.
const BOMB: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 29\r\n\r\n\
    \x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\x63\x60\x18\x05\xa3\x60\x14\x0c\x77\x00\x00\xf9\xa3\x02\x5e\xe8\x03\x00\x00";

async fn within(then: Then, deadline: u64) -> Result<Answer, Failure> {
    let listener = Listener::start(then).await;
    let outcome = post(&egress(), &listener.url(), deadline).await;
    let elapsed = outcome.as_ref().map_or_else(|failure| failure.elapsed, |answer| answer.elapsed);
    assert!(elapsed < Duration::from_millis(deadline) + SLACK, "it took {elapsed:?} of {deadline} ms");
    if let Ok(answer) = &outcome {
        assert!(answer.body.len() <= CAP, "{} bytes were kept", answer.body.len());
    }
    assert_eq!(listener.accepted(), 1);
    outcome
}

#[tokio::test]
async fn who_says_too_little_too_slowly_is_cut_off_at_the_deadline() {
    for (then, status) in [
        (Then::Say(""), None),
        (Then::Drip("", SECOND), None),
        (Then::Drip("HTTP/1.1 200 OK\r\nX: ", SECOND), None),
        (Then::Drip("HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", SECOND), Some(200)),
        (Then::Drip("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", SECOND), Some(200)),
        (Then::Repeat("", "HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n"), None),
    ] {
        let failure = within(then, 500).await.unwrap_err();
        assert_eq!(failure.status, status, "{failure:?}");
        if failure.class != FailureClass::Protocol {
            assert_eq!((failure.class, failure.elapsed >= Duration::from_millis(500)), (FailureClass::Timeout, true));
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_cut_at_the_cap() {
    for then in [
        Then::Flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Then::Repeat("HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n", "0123456789abcdef"),
        Then::Repeat("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "0123456789abcdef"),
    ] {
        let answer = within(then, 5_000).await.unwrap();
        assert_eq!((answer.status, answer.body.len(), answer.truncated), (200, CAP, true));
        assert!(answer.elapsed < SECOND, "it took {:?}", answer.elapsed);
    }
}

#[tokio::test]
async fn headers_without_end_are_no_answer() {
    for line in ["x", "X: y\r\n"] {
        let failure = within(Then::Repeat("HTTP/1.1 200 OK\r\nX: ", line), 5_000).await.unwrap_err();
        assert_eq!((failure.class, failure.status), (FailureClass::Protocol, None), "{line:?}");
    }
}

#[tokio::test]
async fn one_header_line_may_be_long_but_not_of_64_kib() {
    let head = |length: usize| -> &'static str {
        format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "x".repeat(length)).leak()
    };
    let answer = within(Then::Say(head(16 * 1_024)), 5_000).await.unwrap();
    assert_eq!((answer.status, answer.headers["x"].len()), (200, 16 * 1_024));
    let failure = within(Then::Say(head(64 * 1_024)), 5_000).await.unwrap_err();
    assert_eq!((failure.class, failure.status), (FailureClass::Protocol, None));
}

#[tokio::test]
async fn a_hundred_provisional_answers_are_passed_over() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </style>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n".repeat(50);
    let text = format!("{early}HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok");
    let answer = within(Then::Say(text.leak()), 5_000).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (201, &b"ok"[..]));
}

#[tokio::test]
async fn a_body_is_kept_as_the_bytes_that_came() {
    let answer = within(Then::SayBytes(BOMB), 5_000).await.unwrap();
    assert_eq!((answer.body.len(), &answer.body[..2]), (29, &b"\x1f\x8b"[..]));
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n\xff\xfe\x00\x1b[31m\xc0";
    let answer = within(Then::SayBytes(bytes), 5_000).await.unwrap();
    assert_eq!(&answer.body[..], b"\xff\xfe\x00\x1b[31m\xc0");
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_no_success() {
    let outcome = within(Then::Say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"), 500).await;
    assert!(outcome.as_ref().map_or(true, |answer| answer.status == 101), "{outcome:?}");
}

#[tokio::test]
async fn many_hostile_receivers_at_once_take_little_memory() {
    let listener = Listener::start(Then::Repeat("HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n", "x")).await;
    let (egress, url) = (egress(), listener.url());
    post(&egress, &url, 5_000).await.unwrap();
    let before = peak_kib();
    let mut calls = JoinSet::new();
    for _ in 0..200 {
        let (egress, url) = (egress.clone(), url.clone());
        calls.spawn(async move { post(&egress, &url, 10_000).await.unwrap().body.len() });
    }
    assert!(calls.join_all().await.iter().all(|length| *length == CAP));
    let grown = peak_kib() - before;
    assert!(grown < 64 * 1_024, "{grown} KiB for 200 answers of 10 GiB");
}

/// The most memory that this process has held, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
