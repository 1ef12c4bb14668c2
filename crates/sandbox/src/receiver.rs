//! The scripted receiver: HTTP/1.1 on bare TCP, since a library's server could neither misbehave
//! at will nor keep out of a benchmark's way.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection;
use crate::recording::{Log, Received};
use crate::routes::Routes;
use crate::script::{Script, Step};

const BACKLOG: u32 = 4_096;
/// How long accepting pauses when the process is out of file descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(10);

/// What all connections of a receiver share.
pub(crate) struct Shared {
    pub(crate) routes: Routes,
    pub(crate) log: Log,
    pub(crate) is_controlled: bool,
    connections: AtomicU64,
}

/// A running receiver; dropping it stops it.
pub struct Receiver {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Receiver {
    /// Listens on `addr`, where port 0 picks a free one; must be called inside a tokio runtime.
    pub fn start(addr: SocketAddr, script: Script) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        let listener = socket.listen(BACKLOG)?;

        let receiver = Self {
            addr: listener.local_addr()?,
            shared: Arc::new(Shared {
                routes: Routes::new(script.routes),
                log: Log::new(script.recording),
                is_controlled: script.controlled,
                connections: AtomicU64::new(0),
            }),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let accepting = accept(listener, Arc::clone(&receiver.shared), receiver.stop.clone(), receiver.tasks.clone());
        receiver.tasks.spawn(receiver.stop.clone().run_until_cancelled_owned(accepting));
        receiver.tasks.close();
        Ok(receiver)
    }

    /// The root, such as `http://127.0.0.1:8090`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The address that is listened on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Replaces the steps of a path while running; no steps remove the path.
    pub fn script(&self, path: &str, steps: Vec<Step>) {
        self.shared.routes.set(path, steps);
    }

    /// The requests that were kept, oldest first.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.log.requests()
    }

    /// How many requests were read since the start or the last [`Receiver::clear`].
    pub fn count(&self) -> u64 {
        self.shared.log.count()
    }

    /// How many connections were accepted since the start.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Forgets every request and counts from zero.
    pub fn clear(&self) {
        self.shared.log.clear();
    }

    /// Waits until [`Receiver::count`] is at least `count`; `false` if the deadline comes first.
    #[must_use = "the deadline may have come first"]
    pub async fn wait_for(&self, count: u64, deadline: Duration) -> bool {
        self.shared.log.wait_for(count, deadline).await
    }

    /// Closes the port and every connection, soon.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the port and every connection are closed.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
            continue;
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let serving = connection::serve(stream, Arc::clone(&shared));
        tasks.spawn(stop.clone().run_until_cancelled_owned(serving));
    }
}
