//! What comes of a request, over real sockets.

use std::time::{Duration, Instant};

use busbar_egress::{FailureClass, HeaderMap, HeaderName, HeaderValue, Target};

use crate::listener::{Listener, Then, egress, post, post_to};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn one_connection_carries_one_request_after_the_other() {
    let (listener, egress) = (Listener::start(Then::Say(OK)).await, egress());
    let target = Target::parse(&listener.url(), egress.policy()).unwrap();
    for _ in 0..5 {
        let name = HeaderName::from_static("webhook-id");
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_static("msg_1"))]);
        let answer = post_to(&egress, &target, headers, 5_000).await.unwrap();
        assert_eq!((answer.status, &answer.body[..], answer.truncated), (200, &b"ok"[..], false));
        assert_eq!(answer.headers["content-length"], "2");
    }

    assert_eq!(listener.accepted(), 1);
    let seen = listener.seen().to_ascii_lowercase();
    assert!(seen.starts_with("post /hook http/1.1\r\n"));
    assert!(seen.contains("user-agent: busbar/0.1\r\n") && seen.contains("webhook-id: msg_1\r\n"));
    assert!(seen.contains("content-length: 8\r\n") && seen.ends_with("\r\n\r\n{\"id\":1}"));
    assert!(!seen.contains("accept-encoding") && !seen.contains("referer"));
}

#[tokio::test]
async fn a_receiver_that_never_answers_costs_the_deadline() {
    let (listener, egress) = (Listener::start(Then::Say("")).await, egress());
    let started = Instant::now();
    let failure = post(&egress, &listener.url(), 300).await.unwrap_err();

    assert_eq!((failure.class, failure.status), (FailureClass::Timeout, None));
    assert!(failure.elapsed >= Duration::from_millis(300));
    assert!(started.elapsed() < Duration::from_millis(900));
    assert!(listener.seen().contains("{\"id\":1}"), "the request was sent");
}

#[tokio::test]
async fn a_body_that_drips_does_not_extend_the_deadline() {
    let then = Then::Drip(HEAD, Duration::from_millis(100));
    let (listener, egress) = (Listener::start(then).await, egress());
    let started = Instant::now();
    let failure = post(&egress, &listener.url(), 450).await.unwrap_err();

    assert_eq!((failure.class, failure.status), (FailureClass::Timeout, Some(200)));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn headers_that_drip_do_not_extend_the_deadline() {
    let then = Then::Drip("HTTP/1.1 200 OK\r\nX: ", Duration::from_millis(50));
    let (listener, egress) = (Listener::start(then).await, egress());
    let failure = post(&egress, &listener.url(), 300).await.unwrap_err();
    assert_eq!((failure.class, failure.status), (FailureClass::Timeout, None));
}

#[tokio::test]
async fn an_error_status_outlives_its_dripping_body() {
    let head = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 90\r\nContent-Length: 9999\r\n\r\n";
    let then = Then::Drip(head, Duration::from_millis(50));
    let (listener, egress) = (Listener::start(then).await, egress());
    let answer = post(&egress, &listener.url(), 300).await.unwrap();

    assert_eq!((answer.status, answer.truncated), (429, true));
    assert_eq!(answer.retry_after.as_deref(), Some("90"));
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_cap() {
    let (listener, egress) = (Listener::start(Then::Flood(CHUNKED)).await, egress());
    let answer = post(&egress, &listener.url(), 5_000).await.unwrap();

    assert_eq!((answer.status, answer.body.len(), answer.truncated), (200, 1_000, true));
    assert!(answer.elapsed < Duration::from_secs(1));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let sentinel = Listener::start(Then::Say(OK)).await;
    for status in [300, 301, 302, 303, 304, 305, 307, 308, 399] {
        let location = sentinel.url();
        let text = format!(
            "HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nRefresh: 0; url={location}\r\n\
             Alt-Svc: h2=\"{}\"\r\nContent-Length: 0\r\n\r\n",
            sentinel.addr
        );
        let (listener, egress) = (Listener::start(Then::Say(text.leak())).await, egress());
        assert_eq!(post(&egress, &listener.url(), 5_000).await.unwrap().status, status);
        assert_eq!(listener.accepted(), 1);
    }
    assert_eq!(sentinel.accepted(), 0);
}

#[tokio::test]
async fn a_compressed_body_is_kept_as_it_came() {
    let text = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc";
    let (listener, egress) = (Listener::start(Then::Say(text)).await, egress());
    assert_eq!(&post(&egress, &listener.url(), 5_000).await.unwrap().body[..], b"abc");
}

#[tokio::test]
async fn a_broken_connection_is_not_tried_again() {
    for text in ["", "HTTP/1.1 20", "SSH-2.0-OpenSSH_9.9\r\n", "HTTP/1.1 999999 x\r\n\r\n"] {
        let (listener, egress) = (Listener::start(Then::SayAndClose(text)).await, egress());
        let failure = post(&egress, &listener.url(), 5_000).await.unwrap_err();
        assert_eq!((failure.class, failure.status), (FailureClass::Protocol, None), "{text:?}");
        assert_eq!(listener.accepted(), 1, "{text:?}");
    }
}

#[tokio::test]
async fn a_success_whose_body_breaks_off_is_a_failure_with_its_status() {
    let (listener, egress) = (Listener::start(Then::SayAndClose(HEAD)).await, egress());
    let failure = post(&egress, &listener.url(), 5_000).await.unwrap_err();
    assert_eq!((failure.class, failure.status), (FailureClass::Protocol, Some(200)));
}

#[tokio::test]
async fn a_closed_port_is_a_connect_failure_that_names_no_address() {
    let addr = Listener::start(Then::Say(OK)).await.addr;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_ne!(addr, closed);
    let failure = post(&egress(), &format!("http://{closed}/"), 5_000).await.unwrap_err();

    assert_eq!(failure.class, FailureClass::Connect);
    assert!(!failure.detail.contains("127") && !failure.detail.contains("os error"));
}

#[tokio::test]
async fn tls_with_a_plain_listener_is_a_tls_failure() {
    let then = Then::SayAndClose("HTTP/1.1 400 Bad Request\r\n\r\n");
    let (listener, egress) = (Listener::start(then).await, egress());
    let failure = post(&egress, &format!("https://{}/", listener.addr), 5_000).await.unwrap_err();
    assert_eq!((failure.class, failure.class.as_str()), (FailureClass::Tls, "tls"));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_dns_failure() {
    let failure = post(&egress(), "http://no-such-host.invalid/", 5_000).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Dns);
    assert!(failure.elapsed < Duration::from_secs(4));
}
