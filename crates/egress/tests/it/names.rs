//! What names lead to, asked of a name server that lies, stalls and changes its mind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use busbar_egress::{AddressClass, Answer, Egress, Failure, FailureClass, Limits, Policy, Refusal};
use tokio::task::JoinSet;

use crate::listener::{Listener, Then, eventually, post};
use crate::name_server::{Data, NameServer, Question, Record, Reply};

const BYE: Then = Then::SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
const LOOPBACK: Refusal = Refusal::AddressForbidden(AddressClass::Loopback);

/// A client of `names` alone that may reach `allow`, which here stands for the public internet.
fn egress(names: &NameServer, allow: &[&str], limits: Limits) -> Egress {
    let allow: Vec<String> = allow.iter().map(|&entry| entry.to_owned()).collect();
    Egress::with_name_servers(Policy::parse(&allow, &[], false).unwrap(), limits, &[names.addr]).unwrap()
}

async fn call(egress: &Egress, host: &str, port: u16) -> Result<Answer, Failure> {
    post(egress, &format!("http://{host}:{port}/"), 5_000).await
}

fn alias(name: &str, of: &'static str) -> Record {
    Record { name: name.to_owned(), ttl: 60, data: Data::Alias(of) }
}

#[tokio::test]
async fn a_name_that_turns_inward_is_refused_at_its_next_connection() {
    let [public, inside] = Listener::start_on_one_port(["127.0.0.2", "127.0.0.1"], BYE).await;
    let script = |question: &Question| match question.turn {
        0 => Reply::of(question, &["127.0.0.2"]),
        _ => Reply::of(question, &["127.0.0.1"]),
    };
    let names = NameServer::start(script).await;
    let egress = egress(&names, &["127.0.0.2/32"], Limits::default());

    assert_eq!(call(&egress, "rebind.test", public.addr.port()).await.unwrap().status, 200);
    let failure = call(&egress, "rebind.test", public.addr.port()).await.unwrap_err();
    assert_eq!((failure.class, failure.refusal), (FailureClass::Refused, Some(LOOPBACK)));
    assert_eq!((failure.address, failure.phases.connect), (None, None));
    assert_eq!((public.accepted(), inside.accepted()), (1, 0));
}

#[tokio::test]
async fn an_answer_with_one_forbidden_address_makes_no_connection_at_all() {
    let [public, inside] = Listener::start_on_one_port(["127.0.0.2", "127.0.0.1"], BYE).await;
    for mixed in [&["127.0.0.2", "127.0.0.1"], &["127.0.0.1", "127.0.0.2"], &["127.0.0.2", "::1"]] {
        let names = NameServer::start(move |question| Reply::of(question, mixed)).await;
        let egress = egress(&names, &["127.0.0.2/32"], Limits::default());
        let failure = call(&egress, "mixed.test", public.addr.port()).await.unwrap_err();
        assert_eq!((failure.class, failure.refusal), (FailureClass::Refused, Some(LOOPBACK)), "{mixed:?}");
    }
    assert_eq!((public.accepted(), inside.accepted()), (0, 0));
}

#[tokio::test]
async fn an_alias_of_an_internal_name_is_refused() {
    let inside = Listener::start(BYE).await;
    let script = |question: &Question| {
        let target = Reply::of(&Question { name: "inside.test".to_owned(), ..*question }, &["127.0.0.1"]);
        match (question.name.as_str(), target) {
            ("alias.test", Reply::Records(mut records)) => {
                records.insert(0, alias("alias.test", "inside.test"));
                Reply::Records(records)
            }
            ("far.test", _) => Reply::Records(vec![alias("far.test", "inside.test")]),
            (_, target) => target,
        }
    };
    let names = NameServer::start(script).await;
    let egress = egress(&names, &["127.0.0.2/32"], Limits::default());
    for name in ["alias.test", "far.test"] {
        let failure = call(&egress, name, inside.addr.port()).await.unwrap_err();
        assert_eq!(failure.refusal, Some(LOOPBACK), "{name}");
    }
    assert_eq!(inside.accepted(), 0);
}

#[tokio::test]
async fn what_is_not_an_address_is_a_dns_failure() {
    let script = |question: &Question| match question.name.as_str() {
        "nowhere.test" => Reply::NoSuchName(60),
        "broken.test" => Reply::ServerFailure,
        "empty.test" => Reply::Records(vec![]),
        "loop.test" => Reply::Records(vec![alias("loop.test", "pool.test"), alias("pool.test", "loop.test")]),
        "chase.test" => Reply::Records(vec![alias("chase.test", "chased.test")]),
        _ => Reply::Records(vec![alias("chased.test", "chase.test")]),
    };
    let names = NameServer::start(script).await;
    let egress = egress(&names, &["127.0.0.2/32"], Limits::default());
    for name in ["nowhere.test", "broken.test", "empty.test", "loop.test", "chase.test"] {
        let failure = call(&egress, name, 80).await.unwrap_err();
        assert_eq!((failure.class, failure.status), (FailureClass::Dns, None), "{name}");
        assert_eq!(failure.detail, "The host's name could not be resolved.", "{name}");
        assert!(failure.elapsed < Duration::from_secs(2) && failure.phases.dns.is_some(), "{name}: {failure:?}");
    }
}

#[tokio::test]
async fn a_name_server_that_says_nothing_costs_two_seconds() {
    let names = NameServer::start(|_| Reply::Silence).await;
    let patient = Limits { lookup_timeout: Duration::from_mins(1), ..Limits::default() };
    let failure = call(&egress(&names, &["127.0.0.2/32"], patient), "silent.test", 80).await.unwrap_err();

    assert_eq!(
        (failure.class, failure.detail.as_str()),
        (FailureClass::Dns, "The host's name was not resolved in time.")
    );
    let two_seconds = Duration::from_millis(1_900)..Duration::from_millis(2_200);
    assert!(
        two_seconds.contains(&failure.elapsed) && two_seconds.contains(&failure.phases.dns.unwrap()),
        "{failure:?}"
    );
}

#[tokio::test]
async fn an_answer_that_may_not_be_kept_is_asked_for_each_time() {
    let [second, third] = Listener::start_on_one_port(["127.0.0.2", "127.0.0.3"], BYE).await;
    let script = |question: &Question| Reply::of(question, &[["127.0.0.2", "127.0.0.3"][question.turn % 2]]);
    let names = NameServer::start(script).await;
    let egress = egress(&names, &["127.0.0.2/31"], Limits::default());
    for turn in 1..=4 {
        let answer = call(&egress, "flip.test", second.addr.port()).await.unwrap();
        assert_eq!(answer.address, Some(if turn % 2 == 1 { second.addr } else { third.addr }));
    }
    assert_eq!((second.accepted(), third.accepted(), names.asked("flip.test")), (2, 2, 4));
}

#[tokio::test]
async fn an_answer_is_kept_as_long_as_it_says() {
    let listener = Listener::start_at("127.0.0.2:0", BYE).await.unwrap();
    let names = NameServer::start(|question| Reply::kept(question, 60, &["127.0.0.2"])).await;
    let egress = egress(&names, &["127.0.0.2/32"], Limits::default());
    for _ in 0..3 {
        call(&egress, "kept.test", listener.addr.port()).await.unwrap();
    }
    assert_eq!((listener.accepted(), names.asked("kept.test")), (3, 1));
}

#[tokio::test]
async fn of_a_thousand_addresses_eight_are_dialled_and_all_are_judged() {
    let addresses: Vec<String> = (0..1_000).map(|n| format!("127.1.{}.{}", n / 250, n % 250)).collect();
    let addresses: &[&str] = addresses.iter().map(|ip| &*ip.clone().leak()).collect::<Vec<_>>().leak();
    let names = NameServer::start(move |question| match question.name.as_str() {
        "spoilt.test" => Reply::of(question, &[addresses, &["127.0.0.1"]].concat()),
        "few.test" => Reply::of(question, &addresses[..9]),
        _ => Reply::kept(question, 60, addresses),
    })
    .await;
    let [eighth, ninth] = Listener::start_on_one_port(["127.1.0.7", "127.1.0.8"], BYE).await;
    let egress = egress(&names, &["127.1.0.0/16"], Limits::default());
    let port = eighth.addr.port();

    assert_eq!(call(&egress, "spoilt.test", port).await.unwrap_err().refusal, Some(LOOPBACK));
    assert_eq!((eighth.accepted(), ninth.accepted()), (0, 0));
    let reached = [call(&egress, "many.test", port).await, call(&egress, "few.test", port).await];
    assert_eq!(reached.map(|answer| answer.unwrap().address), [Some(eighth.addr); 2]);
    drop(eighth);
    for name in ["many.test", "few.test"] {
        let failure = call(&egress, name, port).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Connect, "{name}");
    }
    assert_eq!(ninth.accepted(), 0);
    assert_eq!(names.asked("many.test"), 4, "so long an answer is asked for by UDP and TCP each time");
}

#[tokio::test]
async fn a_zone_that_never_answers_holds_no_other_up() {
    let listener = Listener::start_at("127.0.0.2:0", BYE).await.unwrap();
    let names = NameServer::start(|question| {
        if question.name.ends_with("dead.test") { Reply::Silence } else { Reply::of(question, &["127.0.0.2"]) }
    })
    .await;
    let limits = Limits { lookups: 16, ..Limits::default() };
    let egress = egress(&names, &["127.0.0.2/32"], limits);
    let mut waiting = JoinSet::new();
    for number in 0..100 {
        let egress = egress.clone();
        waiting.spawn(async move { call(&egress, &format!("n{number}.dead.test"), 80).await });
    }
    eventually("the dead zone being asked for", async || names.asked("") >= 4).await;

    let started = Instant::now();
    assert_eq!(call(&egress, "a.live.test", listener.addr.port()).await.unwrap().status, 200);
    assert!(started.elapsed() < Duration::from_millis(500), "it took {:?}", started.elapsed());
    let dead = waiting.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(dead.class, FailureClass::Dns);
}

#[tokio::test]
async fn a_name_that_appears_is_found_once_its_absence_is_forgotten() {
    let listener = Listener::start_at("127.0.0.2:0", BYE).await.unwrap();
    let exists = Arc::new(AtomicBool::new(false));
    let there = Arc::clone(&exists);
    let script = move |question: &Question| {
        if there.load(Ordering::SeqCst) { Reply::of(question, &["127.0.0.2"]) } else { Reply::NoSuchName(3_600) }
    };
    let names = NameServer::start(script).await;
    let port = listener.addr.port();

    let remembers = egress(&names, &["127.0.0.2/32"], Limits::default());
    let limits = Limits { negative_ttl: Duration::from_millis(300), ..Limits::default() };
    let forgets = egress(&names, &["127.0.0.2/32"], limits);
    for egress in [&remembers, &remembers, &forgets] {
        assert_eq!(call(egress, "new.test", port).await.unwrap_err().class, FailureClass::Dns);
    }
    assert_eq!(names.asked("new.test"), 2, "an absence is remembered");
    exists.store(true, Ordering::SeqCst);
    let forgotten = Instant::now();
    eventually("the name being found", async || call(&forgets, "new.test", port).await.is_ok()).await;
    assert!(forgotten.elapsed() < Duration::from_secs(2), "it took {:?}", forgotten.elapsed());
    assert_eq!(call(&remembers, "new.test", port).await.unwrap_err().class, FailureClass::Dns);
}
