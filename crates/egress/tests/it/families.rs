//! Names with addresses of both families, one of which leads nowhere.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use busbar_egress::{Egress, FailureClass, Limits, Policy};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::listener::{Listener, Then, post};
use crate::name_server::{NameServer, Question, Reply};

const OK: Then = Then::Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
const SOON: Duration = Duration::from_secs(1);

/// An address that lets nobody finish a handshake: its queue is full and nobody takes from it.
struct Hole {
    addr: SocketAddr,
    _listener: TcpListener,
    _filling: Vec<TcpStream>,
}

impl Hole {
    #[expect(clippy::disallowed_methods, reason = "the queue is filled from outside of the door")]
    async fn dig(addr: SocketAddr) -> Self {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        socket.bind(addr).unwrap();
        let listener = socket.listen(1).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut filling = Vec::new();
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await {
            filling.push(stream.unwrap());
        }
        Self { addr, _listener: listener, _filling: filling }
    }
}

fn both(names: &NameServer) -> Egress {
    let policy = Policy::parse(&["127.0.0.0/8", "::1/128"].map(str::to_owned), &[], false).unwrap();
    Egress::with_name_servers(policy, Limits::default(), &[names.addr]).unwrap()
}

#[tokio::test]
async fn an_address_that_never_answers_is_overtaken_by_the_other_family() {
    let listener = Listener::start(OK).await;
    let hole = Hole::dig(SocketAddr::new("::1".parse().unwrap(), listener.addr.port())).await;
    let names = NameServer::start(|question| Reply::of(question, &["127.0.0.1", "::1"])).await;
    let url = format!("http://both.test:{}/", hole.addr.port());
    let answer = post(&both(&names), &url, 5_000).await.unwrap();

    assert_eq!((answer.status, answer.address), (200, Some(listener.addr)));
    let connect = answer.phases.connect.unwrap();
    assert!(connect >= Duration::from_millis(250), "the first address had no head start: {connect:?}");
    assert!(answer.elapsed < SOON, "it took {:?}", answer.elapsed);
}

#[tokio::test]
async fn an_address_that_refuses_is_left_at_once() {
    let listener = Listener::start(OK).await;
    let names = NameServer::start(|question| Reply::of(question, &["127.0.0.1", "::1"])).await;
    let url = format!("http://both.test:{}/", listener.addr.port());
    let answer = post(&both(&names), &url, 5_000).await.unwrap();
    assert_eq!(answer.address, Some(listener.addr));
    assert!(answer.phases.connect.unwrap() < Duration::from_millis(200), "{:?}", answer.phases);
}

#[tokio::test]
async fn a_family_that_is_never_answered_for_is_done_without() {
    let listener = Listener::start(OK).await;
    let script = |question: &Question| {
        if question.is_v6 { Reply::Silence } else { Reply::of(question, &["127.0.0.1"]) }
    };
    let names = NameServer::start(script).await;
    let answer = post(&both(&names), &format!("http://four.test:{}/", listener.addr.port()), 5_000).await.unwrap();
    assert!(answer.status == 200 && answer.elapsed < SOON, "it took {:?}", answer.elapsed);
}

#[tokio::test]
async fn a_connection_that_never_comes_about_ends_in_its_time() {
    let hole = Hole::dig("127.0.0.1:0".parse().unwrap()).await;
    let policy = Policy::parse(&["127.0.0.0/8".to_owned()], &[], false).unwrap();
    let limits = Limits { connect_timeout: Duration::from_millis(400), ..Limits::default() };
    let egress = Egress::new(policy, limits).unwrap();
    let url = format!("http://{}/", hole.addr);
    for (deadline, detail) in
        [(5_000, "No connection was established in time."), (300, "No complete answer came within 300 ms.")]
    {
        let started = Instant::now();
        let failure = post(&egress, &url, deadline).await.unwrap_err();
        assert_eq!((failure.class, failure.detail.as_str()), (FailureClass::Timeout, detail));
        assert_eq!(failure.address, Some(hole.addr), "the address that was being dialled");
        assert!(failure.phases.connect.unwrap() >= Duration::from_millis(290), "{:?}", failure.phases);
        assert_eq!((failure.phases.dns, failure.phases.tls, failure.phases.first_byte), (None, None, None));
        assert!(started.elapsed() < Duration::from_millis(deadline.min(400) + 100), "{failure:?}");
    }
}
