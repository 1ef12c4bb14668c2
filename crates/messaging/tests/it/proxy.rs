//! A TCP proxy in front of the broker that a test can cut, hold back or let fall silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::broker::url;

/// Stands between a client and the broker.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    cut: watch::Sender<u32>,
    _tasks: JoinSet<()>,
}

struct State {
    broker: String,
    /// Whether bytes from the broker are swallowed.
    deaf: AtomicBool,
    /// Bytes that the broker received.
    to_broker: AtomicUsize,
    /// Whether new connections are refused.
    refusing: AtomicBool,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let url = url();
        let authority = url.split('@').nth(1).unwrap().split('/').next().unwrap();
        let broker = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:5672") };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            broker,
            deaf: AtomicBool::default(),
            to_broker: AtomicUsize::default(),
            refusing: AtomicBool::default(),
        });
        let (cut, cuts) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, Arc::clone(&state), cuts));
        Self { address, state, cut, _tasks: tasks }
    }

    /// The broker's URL by way of the proxy.
    pub(crate) fn url(&self) -> String {
        let url = url();
        let (before, after) = url.split_once('@').unwrap();
        let path = after.split_once('/').unwrap().1;
        format!("{before}@{}/{path}", self.address)
    }

    /// Closes every connection.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Refuses new connections, or accepts them again.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.state.refusing.store(refuse, Ordering::SeqCst);
    }

    /// Swallows what the broker says, or passes it on again.
    pub(crate) fn deafen(&self, deaf: bool) {
        self.state.deaf.store(deaf, Ordering::SeqCst);
    }

    /// How many bytes the broker was sent.
    pub(crate) fn sent(&self) -> usize {
        self.state.to_broker.load(Ordering::SeqCst)
    }
}

async fn listen(listener: TcpListener, state: Arc<State>, cuts: watch::Receiver<u32>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if state.refusing.load(Ordering::SeqCst) {
            continue;
        }
        connections.spawn(pass(client, Arc::clone(&state), cuts.clone()));
    }
}

async fn pass(client: TcpStream, state: Arc<State>, mut cuts: watch::Receiver<u32>) {
    cuts.mark_unchanged();
    #[expect(clippy::disallowed_methods, reason = "a proxy of a test connects to what it stands before")]
    let Ok(broker) = TcpStream::connect(&state.broker).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let there = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            if to_broker.write_all(&buffer[..read]).await.is_err() {
                return;
            }
            state.to_broker.fetch_add(read, Ordering::SeqCst);
        }
    };
    let back = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_broker.read(&mut buffer).await {
            if !state.deaf.load(Ordering::SeqCst) && to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = cuts.changed() => {}
    }
}
