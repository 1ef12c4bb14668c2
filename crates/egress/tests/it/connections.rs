//! Which connection a request takes, and what the answer tells of it.

use std::time::Duration;

use busbar_egress::{Egress, FailureClass, HeaderMap, Limits, Phases, Policy, Refusal, Target};

use crate::listener::{Listener, Then, egress, eventually, post, post_to};
use crate::name_server::{NameServer, Reply};

const OK: Then = Then::Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

fn with(allow: &[&str], deny: &[&str], limits: Limits) -> Egress {
    let owned = |list: &[&str]| list.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>();
    Egress::new(Policy::parse(&owned(allow), &owned(deny), false).unwrap(), limits).unwrap()
}

#[tokio::test]
async fn an_answer_tells_the_time_of_each_step_and_the_address() {
    let listener = Listener::start(OK).await;
    let names = NameServer::start(|question| Reply::of(question, &["127.0.0.1"])).await;
    let policy = Policy::parse(&["127.0.0.0/8".to_owned()], &[], false).unwrap();
    let egress = Egress::with_name_servers(policy, Limits::default(), &[names.addr]).unwrap();
    let url = format!("http://timed.test:{}/", listener.addr.port());

    let first = post(&egress, &url, 5_000).await.unwrap();
    let Phases { dns: Some(dns), connect: Some(connect), tls: None, first_byte: Some(first_byte) } = first.phases
    else {
        panic!("{:?}", first.phases)
    };
    assert!(dns + connect <= first_byte && first_byte <= first.elapsed, "{:?}", first.phases);
    assert_eq!(first.address, Some(listener.addr));

    let second = post(&egress, &url, 5_000).await.unwrap();
    let first_byte = second.phases.first_byte;
    assert!(first_byte.is_some_and(|time| time <= second.elapsed));
    assert_eq!(second.phases, Phases { first_byte, ..Phases::default() }, "the connection was open already");
    assert_eq!((second.address, listener.accepted()), (Some(listener.addr), 1));
}

#[tokio::test]
async fn a_failure_tells_how_far_the_request_came() {
    let egress = egress();
    let silent = Listener::start(Then::Say("")).await;
    let failure = post(&egress, &silent.url(), 200).await.unwrap_err();
    assert_eq!((failure.class, failure.address), (FailureClass::Timeout, Some(silent.addr)));
    assert!(failure.phases.connect.is_some() && failure.phases.first_byte.is_none(), "{:?}", failure.phases);

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failure = post(&egress, &format!("http://{closed}/"), 5_000).await.unwrap_err();
    assert_eq!((failure.class, failure.address), (FailureClass::Connect, Some(closed)));
    assert!(failure.phases.connect.is_some());

    let broken = Listener::start(Then::SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")).await;
    let failure = post(&egress, &broken.url(), 5_000).await.unwrap_err();
    assert_eq!((failure.status, failure.address), (Some(200), Some(broken.addr)));
    assert!(failure.phases.first_byte.is_some());
}

#[tokio::test]
async fn a_failure_over_an_open_connection_tells_its_address() {
    let then = Then::Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let (listener, egress) = (Listener::start(then).await, egress());
    post(&egress, &listener.url(), 5_000).await.unwrap();
    listener.hush();
    let failure = post(&egress, &listener.url(), 200).await.unwrap_err();
    assert_eq!((failure.class, failure.address), (FailureClass::Timeout, Some(listener.addr)));
    assert_eq!((failure.phases, listener.accepted()), (Phases::default(), 1));
}

#[tokio::test]
async fn what_a_refused_request_failed_at_names_no_address() {
    let egress = with(&["127.0.0.0/8"], &["127.0.0.9"], Limits::default());
    let target = Target::parse("http://127.0.0.9/", with(&["127.0.0.0/8"], &[], Limits::default()).policy()).unwrap();
    let refused = post_to(&egress, &target, HeaderMap::new(), 5_000).await.unwrap_err();
    let closed = std::net::TcpListener::bind("127.0.0.8:0").unwrap().local_addr().unwrap();
    let unreachable = post(&egress, &format!("http://{closed}/"), 5_000).await.unwrap_err();
    assert_eq!((refused.class, unreachable.class), (FailureClass::Refused, FailureClass::Connect));
    for failure in [refused, unreachable] {
        let told = format!("{} {failure}", failure.detail);
        assert!(!told.contains("127") && !told.contains(&closed.port().to_string()) && !told.contains("os error"));
    }
}

#[tokio::test]
async fn a_connection_serves_only_the_client_that_opened_it() {
    let listener = Listener::start(OK).await;
    let open = egress();
    let target = Target::parse(&listener.url(), open.policy()).unwrap();
    let call = async |egress: &Egress| post_to(egress, &target, HeaderMap::new(), 5_000).await;
    assert_eq!(call(&open).await.unwrap().status, 200);

    let denying = with(&["127.0.0.0/8"], &["127.0.0.1"], Limits::default());
    let failure = call(&denying).await.unwrap_err();
    assert!(matches!(failure.refusal, Some(Refusal::AddressForbidden(_))), "{failure:?}");
    assert_eq!(listener.accepted(), 1);
    assert_eq!(call(&egress()).await.unwrap().status, 200);
    assert_eq!(listener.accepted(), 2, "another client opens a connection of its own");
    assert_eq!(call(&open).await.unwrap().status, 200);
    assert_eq!(listener.accepted(), 2);
}

#[tokio::test]
async fn an_old_connection_carries_no_further_request() {
    let listener = Listener::start(OK).await;
    let egress = with(&["127.0.0.0/8"], &[], Limits { connection_age: Duration::ZERO, ..Limits::default() });
    for _ in 0..3 {
        post(&egress, &listener.url(), 5_000).await.unwrap();
    }
    assert_eq!(listener.accepted(), 3);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let listener = Listener::start(OK).await;
    let limits = Limits { idle_timeout: Duration::from_millis(100), ..Limits::default() };
    let egress = with(&["127.0.0.0/8"], &[], limits);
    post(&egress, &listener.url(), 5_000).await.unwrap();
    eventually("the idle connection being closed", async || listener.closed() == 1).await;
    post(&egress, &listener.url(), 5_000).await.unwrap();
    assert_eq!(listener.accepted(), 2);
}
