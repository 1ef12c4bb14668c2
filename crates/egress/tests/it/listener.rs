//! Raw listeners: each reads one request per connection and writes prepared bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use busbar_egress::{Answer, Bytes, Egress, Failure, HeaderMap, Limits, Outgoing, Policy, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::JoinSet;

/// What a listener does once it has read a request.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    /// Writes the text and keeps serving.
    Say(&'static str),
    /// Writes the bytes and keeps serving.
    SayBytes(&'static [u8]),
    /// Writes the text and closes.
    SayAndClose(&'static str),
    /// Writes the head, then one byte per `Duration` without end.
    Drip(&'static str, Duration),
    /// Writes the head, then chunks without end.
    Flood(&'static str),
    /// Writes the head, then the text over and over.
    Repeat(&'static str, &'static str),
}

pub(crate) struct Listener {
    pub(crate) addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    is_hushed: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<u8>>>,
    serving: JoinSet<()>,
}

impl Listener {
    pub(crate) async fn start(then: Then) -> Self {
        Self::start_at("127.0.0.1:0", then).await.unwrap()
    }

    pub(crate) async fn start_at(address: impl ToSocketAddrs, then: Then) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (accepted, closed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (is_hushed, seen) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let mut running = Self {
            addr: listener.local_addr()?,
            accepted: Arc::clone(&accepted),
            closed: Arc::clone(&closed),
            is_hushed: Arc::clone(&is_hushed),
            seen: Arc::clone(&seen),
            serving: JoinSet::new(),
        };
        running.serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (closed, is_hushed, seen) = (Arc::clone(&closed), Arc::clone(&is_hushed), Arc::clone(&seen));
                connections.spawn(async move {
                    serve(stream, then, &is_hushed, &seen).await;
                    closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Ok(running)
    }

    /// Listens on each of the addresses, on one port that is free on all of them.
    pub(crate) async fn start_on_one_port<const N: usize>(addresses: [&str; N], then: Then) -> [Self; N] {
        'port: loop {
            let mut listeners: Vec<Self> = Vec::new();
            for address in addresses {
                let port = listeners.first().map_or(0, |first| first.addr.port());
                match Self::start_at((address, port), then).await {
                    Ok(listener) => listeners.push(listener),
                    Err(_) => continue 'port,
                }
            }
            return listeners.try_into().ok().unwrap();
        }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// From now on it reads requests and says nothing.
    pub(crate) fn hush(&self) {
        self.is_hushed.store(true, Ordering::SeqCst);
    }

    /// How many connections have ended.
    pub(crate) fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }

    /// Everything that was read, from all connections.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }
}

async fn serve(mut stream: TcpStream, then: Then, is_hushed: &AtomicBool, seen: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 64 * 1_024];
    // The requests of these tests fit one read.
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        seen.lock().unwrap().extend_from_slice(&buffer[..count]);
        if is_hushed.load(Ordering::SeqCst) {
            continue;
        }
        if stream.write_all(then.head()).await.is_err() {
            return;
        }
        match then {
            Then::Say(_) | Then::SayBytes(_) => {}
            Then::SayAndClose(_) => return,
            Then::Drip(_, pause) => {
                let mut drops = tokio::time::interval(pause);
                while stream.write_all(b".").await.is_ok() {
                    drops.tick().await;
                }
            }
            Then::Flood(_) => {
                let chunk = format!("1000\r\n{}\r\n", ".".repeat(0x1000));
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
            }
            Then::Repeat(_, text) => while stream.write_all(text.as_bytes()).await.is_ok() {},
        }
    }
}

impl Then {
    fn head(&self) -> &'static [u8] {
        match *self {
            Self::Say(text)
            | Self::SayAndClose(text)
            | Self::Drip(text, _)
            | Self::Flood(text)
            | Self::Repeat(text, _) => text.as_bytes(),
            Self::SayBytes(bytes) => bytes,
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

/// Waits until the condition holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < deadline, "{what} did not come about in ten seconds");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
