//! A wire tap: passes the bytes of TCP connections on and keeps a copy of all of them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What was said, by connection and direction, so that no text is torn apart.
type Heard = Arc<Mutex<BTreeMap<(u32, bool), Vec<u8>>>>;

/// A running tap; dropping it ends it and every connection.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    heard: Heard,
    _listening: JoinSet<()>,
}

impl Relay {
    /// Listens on a free port and passes everything on to `upstream`.
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, heard) = (listener.local_addr().unwrap(), Heard::default());
        let mut listening = JoinSet::new();
        listening.spawn(listen(listener, upstream, Arc::clone(&heard)));
        Self { address, heard, _listening: listening }
    }

    /// Everything that was said so far, one direction of one connection behind the other.
    pub(crate) fn heard(&self) -> Vec<u8> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.values().flatten().copied().collect()
    }
}

async fn listen(listener: TcpListener, upstream: SocketAddr, heard: Heard) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let (client, _) = listener.accept().await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "a tap of a test connects to what it stands before")]
        let server = TcpStream::connect(upstream).await.unwrap();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        connections.spawn(pass(from_client, to_server, (number, true), Arc::clone(&heard)));
        connections.spawn(pass(from_server, to_client, (number, false), Arc::clone(&heard)));
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, place: (u32, bool), heard: Heard) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let said = &chunk[..length];
        heard.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_default().extend_from_slice(said);
        if to.write_all(said).await.is_err() {
            return;
        }
    }
    let _ended = to.shutdown().await;
}
