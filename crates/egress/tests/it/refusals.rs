//! What the guard refuses at the moment of sending: nothing may reach a socket.

use std::process::Command;

use busbar_egress::{
    AddressClass, Egress, FailureClass, HeaderMap, HeaderName, HeaderValue, Limits, Policy, Refusal, Target,
};

use crate::listener::{Listener, Then, egress, post, post_to};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn closed() -> Egress {
    Egress::new(Policy::default(), Limits::default()).unwrap()
}

#[tokio::test]
async fn a_literal_address_that_was_open_once_is_judged_again() {
    let listener = Listener::start(Then::Say(OK)).await;
    let target = Target::parse(&listener.url(), egress().policy()).unwrap();
    let failure = post_to(&closed(), &target, HeaderMap::new(), 5_000).await.unwrap_err();

    assert_eq!(failure.class, FailureClass::Refused);
    assert_eq!(failure.refusal, Some(Refusal::AddressForbidden(AddressClass::Loopback)));
    assert_eq!(listener.accepted(), 0);
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_makes_no_connection() {
    let listener = Listener::start(Then::Say(OK)).await;
    let url = format!("http://localhost:{}/", listener.addr.port());
    // The text is accepted where loopback is open; the name is then resolved where it is not.
    let target = Target::parse(&url, egress().policy()).unwrap();
    let failure = post_to(&closed(), &target, HeaderMap::new(), 5_000).await.unwrap_err();

    assert_eq!(failure.class, FailureClass::Refused);
    assert_eq!(failure.refusal, Some(Refusal::AddressForbidden(AddressClass::Loopback)));
    assert_eq!(listener.accepted(), 0);
}

#[tokio::test]
async fn a_name_that_leads_to_an_open_address_is_reached() {
    let listener = Listener::start(Then::Say(OK)).await;
    let allow = ["127.0.0.0/8", "::1/128"].map(str::to_owned);
    let policy = Policy::parse(&allow, &[], false).unwrap();
    let egress = Egress::new(policy, Limits::default()).unwrap();
    let url = format!("http://localhost:{}/", listener.addr.port());
    assert_eq!(post(&egress, &url, 5_000).await.unwrap().status, 200);
}

#[tokio::test]
async fn plain_http_is_refused_when_https_became_required() {
    let listener = Listener::start(Then::Say(OK)).await;
    let target = Target::parse(&listener.url(), egress().policy()).unwrap();
    let policy = Policy::parse(&["127.0.0.0/8".to_owned()], &[], true).unwrap();
    let strict = Egress::new(policy, Limits::default()).unwrap();
    let failure = post_to(&strict, &target, HeaderMap::new(), 5_000).await.unwrap_err();

    assert_eq!(failure.refusal, Some(Refusal::HttpsRequired));
    assert_eq!(listener.accepted(), 0);
}

#[tokio::test]
async fn headers_of_the_connection_are_refused() {
    let (listener, egress) = (Listener::start(Then::Say(OK)).await, egress());
    let target = Target::parse(&listener.url(), egress.policy()).unwrap();
    for name in ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te"] {
        let name: HeaderName = name.parse().unwrap();
        assert!(!busbar_egress::may_set(&name));
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_static("1"))]);
        let failure = post_to(&egress, &target, headers, 5_000).await.unwrap_err();
        assert_eq!(failure.refusal, Some(Refusal::HeaderNotAllowed));
    }
    assert_eq!(listener.accepted(), 0);
}

const PROXY_VARIABLES: [&str; 6] = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// Variables are set for a child process, since setting them in a running one is not safe.
#[tokio::test]
async fn a_proxy_of_the_environment_is_ignored() {
    let proxy = Listener::start(Then::Say("HTTP/1.1 502 Proxied\r\nContent-Length: 0\r\n\r\n")).await;
    let url = format!("http://{}", proxy.addr);
    let child = tokio::task::spawn_blocking(move || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "refusals::child_posts_with_a_proxy_set", "--ignored"])
            .envs(PROXY_VARIABLES.map(|name| (name, &url)))
            .envs([("NO_PROXY", ""), ("no_proxy", "")])
            .output()
            .unwrap()
    });

    let output = child.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(proxy.accepted(), 0);
}

#[tokio::test]
#[ignore = "runs as the child of a_proxy_of_the_environment_is_ignored"]
async fn child_posts_with_a_proxy_set() {
    let listener = Listener::start(Then::Say(OK)).await;
    assert_eq!(post(&egress(), &listener.url(), 5_000).await.unwrap().status, 200);
    let secured = post(&egress(), &format!("https://{}/", listener.addr), 5_000).await.unwrap_err();
    assert_eq!((secured.class, listener.accepted()), (FailureClass::Tls, 2));
}
