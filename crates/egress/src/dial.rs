//! Opens the TCP connection, as RFC 8305 ("Happy Eyeballs") says: an address that does not answer
//! at once is not waited for alone.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use crate::permitted::Permitted;
use crate::phases::Course;

/// How long an attempt is alone before the next address is tried beside it (RFC 8305, 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to the first address that lets itself be connected to; the other attempts are dropped.
pub(crate) async fn dial(addresses: &Permitted, course: &Course) -> io::Result<(TcpStream, SocketAddr)> {
    let mut waiting = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(&address) = waiting.next() {
            course.dials(address);
            attempts.push(attempt(address));
        }
        let ended = if waiting.len() == 0 {
            attempts.next().await
        } else if let Ok(ended) = tokio::time::timeout(HEAD_START, attempts.next()).await {
            ended
        } else {
            continue;
        };
        match ended {
            Some(Ok((stream, address))) => {
                course.dials(address);
                return Ok((stream, address));
            }
            Some(Err(error)) => failure = error,
            None => return Err(failure),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one guarded way out: the policy has permitted the address")]
async fn attempt(address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok((stream, address))
}
