//! The TCP connections under the driver. The driver does not switch Nagle's algorithm off, so a statement of more
//! than one segment waits 40 ms for the server's delayed acknowledgement. It is handed a local socket instead, whose
//! other end is carried over TCP without delay, and with the time-outs that tell a dead peer from a slow one.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use sqlx::postgres::PgConnectOptions;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::Error;

/// How long data may stay unacknowledged before the peer counts as gone.
const USER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much is carried at once in each direction.
const CARRIED: usize = 64 * 1024;

/// Carries connections until it is dropped.
#[derive(Debug)]
pub(crate) struct Wire {
    _ends: DropGuard,
}

impl Wire {
    /// Options that connect through a wire of their own; a server on a local socket needs none.
    ///
    /// Whoever finds the local socket still has to prove itself to the database: only bytes are carried, TLS too.
    pub(crate) fn under(options: PgConnectOptions) -> Result<(PgConnectOptions, Option<Arc<Self>>), Error> {
        let (host, port) = (options.get_host().to_owned(), options.get_port());
        if host.starts_with('/') || options.get_socket().is_some() {
            return Ok((options, None));
        }
        let name = format!("busbar-{:032x}", fastrand::u128(..));
        // The driver makes the socket's file name of a folder and the port.
        let address = SocketAddr::from_abstract_name(format!("{name}/.s.PGSQL.{port}")).map_err(sqlx::Error::Io)?;
        let listener = StdListener::bind_addr(&address).map_err(sqlx::Error::Io)?;
        listener.set_nonblocking(true).map_err(sqlx::Error::Io)?;
        let listener = UnixListener::from_std(listener).map_err(sqlx::Error::Io)?;
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "it ends with the value that is returned")]
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept(listener, host, port)));
        Ok((options.socket(format!("\0{name}")), Some(Arc::new(Self { _ends: stop.drop_guard() }))))
    }
}

async fn accept(listener: UnixListener, host: String, port: u16) {
    let mut carried = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((local, _)) => {
                    let host = host.clone();
                    carried.spawn(async move {
                        if let Err(error) = carry(local, &host, port).await {
                            tracing::debug!(host, port, %error, "a connection to the database ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the database cannot be begun");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = carried.join_next() => {}
        }
    }
}

async fn carry(mut local: UnixStream, host: &str, port: u16) -> std::io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the database is named by the operator: docs/decisions/0007")]
    let connecting = TcpStream::connect((host.trim_start_matches('[').trim_end_matches(']'), port));
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    let mut remote = match connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
        Ok(remote) => remote,
        Err(error) => {
            tracing::warn!(host, port, %error, "the database cannot be reached");
            return Ok(());
        }
    };
    remote.set_nodelay(true)?;
    let socket = SockRef::from(&remote);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(10)))?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    tokio::io::copy_bidirectional_with_sizes(&mut local, &mut remote, CARRIED, CARRIED).await.map(drop)
}
