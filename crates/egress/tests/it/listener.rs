//! Raw listeners: each reads one request per connection and writes prepared bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use busbar_egress::{Answer, Bytes, Egress, Failure, HeaderMap, Limits, Outgoing, Policy, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What a listener does once it has read a request.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    /// Writes the text and keeps serving.
    Say(&'static str),
    /// Writes the text and closes.
    SayAndClose(&'static str),
    /// Writes the head, then one byte per `Duration` without end.
    Drip(&'static str, Duration),
    /// Writes the head, then chunks without end.
    Flood(&'static str),
}

pub(crate) struct Listener {
    pub(crate) addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<u8>>>,
    serving: JoinSet<()>,
}

impl Listener {
    pub(crate) async fn start(then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (accepted, seen) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let mut running = Self {
            addr: listener.local_addr().unwrap(),
            accepted: Arc::clone(&accepted),
            seen: Arc::clone(&seen),
            serving: JoinSet::new(),
        };
        running.serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(stream, then, Arc::clone(&seen)));
            }
        });
        running
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Everything that was read, from all connections.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8(self.seen.lock().unwrap().clone()).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }
}

async fn serve(mut stream: TcpStream, then: Then, seen: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = vec![0; 64 * 1_024];
    // The requests of these tests fit one read.
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        seen.lock().unwrap().extend_from_slice(&buffer[..count]);
        let (Then::Say(text) | Then::SayAndClose(text) | Then::Drip(text, _) | Then::Flood(text)) = then;
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        match then {
            Then::Say(_) => {}
            Then::SayAndClose(_) => return,
            Then::Drip(_, pause) => {
                while stream.write_all(b".").await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
            }
            Then::Flood(_) => {
                let chunk = format!("1000\r\n{}\r\n", ".".repeat(0x1000));
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
            }
        }
    }
}

/// A client that may reach 127.0.0.0/8 and keeps 1,000 bytes of an answer.
pub(crate) fn egress() -> Egress {
    let policy = Policy::parse(&["127.0.0.0/8".to_owned()], &[], false).unwrap();
    Egress::new(policy, Limits { response_cap: 1_000, ..Limits::default() }).unwrap()
}

pub(crate) async fn post(egress: &Egress, url: &str, deadline: u64) -> Result<Answer, Failure> {
    let target = Target::parse(url, egress.policy()).unwrap();
    post_to(egress, &target, HeaderMap::new(), deadline).await
}

pub(crate) async fn post_to(
    egress: &Egress,
    target: &Target,
    headers: HeaderMap,
    deadline: u64,
) -> Result<Answer, Failure> {
    let body = Bytes::from_static(b"{\"id\":1}");
    let deadline = Duration::from_millis(deadline);
    egress.post(Outgoing { target, headers, body, deadline }).await
}
