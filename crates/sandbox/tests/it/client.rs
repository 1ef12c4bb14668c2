//! A client that writes bytes and reads answers, no more.

use std::io;
use std::time::Duration;

use busbar_sandbox::{Receiver, Script};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything that is meant to happen.
pub(crate) const SOON: Duration = Duration::from_secs(5);
/// Long enough to see that something does not happen.
pub(crate) const NEVER: Duration = Duration::from_millis(200);

pub(crate) fn start(script: Script) -> Receiver {
    Receiver::start("127.0.0.1:0".parse().unwrap(), script).unwrap()
}

pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Client {
    pub(crate) async fn connect(receiver: &Receiver) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the test is the receiver's caller")]
        let stream = TcpStream::connect(receiver.addr()).await.unwrap();
        Self { stream, unread: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Posts a body and reads the answer.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Reply {
        self.request("POST", path, body).await
    }

    pub(crate) async fn request(&mut self, method: &str, path: &str, body: &str) -> Reply {
        let length = body.len();
        self.send(&format!("{method} {path} HTTP/1.1\r\nHost: sandbox\r\nContent-Length: {length}\r\n\r\n{body}"))
            .await;
        self.reply().await
    }

    /// Reads one answer with a told length.
    pub(crate) async fn reply(&mut self) -> Reply {
        loop {
            if let Some(reply) = self.parse() {
                return reply;
            }
            let read = tokio::time::timeout(SOON, self.read()).await;
            assert!(read.expect("an answer in time").unwrap() > 0, "closed without an answer");
        }
    }

    /// Reads what comes within a time, or to the end.
    pub(crate) async fn read_for(&mut self, time: Duration) -> io::Result<Vec<u8>> {
        let reading = async {
            while self.read().await? > 0 {}
            Ok(())
        };
        match tokio::time::timeout(time, reading).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(std::mem::take(&mut self.unread)),
        }
    }

    /// Whether the receiver closes the connection, in whatever way.
    pub(crate) async fn is_closed_within(&mut self, time: Duration) -> bool {
        let reading = async { while self.read().await.is_ok_and(|count| count > 0) {} };
        tokio::time::timeout(time, reading).await.is_ok()
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.unread).await
    }

    fn parse(&mut self) -> Option<Reply> {
        let end = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.unread[..end].to_vec()).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().unwrap());
        let body = self.unread.get(end..end + length)?;
        let body = String::from_utf8(body.to_vec()).unwrap();
        self.unread.drain(..end + length);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Reply { status, head, body })
    }
}
