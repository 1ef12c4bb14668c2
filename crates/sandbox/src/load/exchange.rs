//! A keep-alive HTTP/1.1 client connection: one request, one answer, as few microseconds as possible.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BUFFER: usize = 4 * 1_024;
const MAX_ANSWER: usize = 1_024 * 1_024;

/// A connection that is used for one request after the other.
#[derive(Debug)]
pub struct Exchange {
    stream: TcpStream,
    input: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<'e> {
    /// The status code.
    pub status: u16,
    /// Whether the server takes another request on this connection.
    pub keeps_open: bool,
    /// The body.
    pub body: &'e [u8],
}

/// Where the parts of an answer lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    status: u16,
    keeps_open: bool,
    head: usize,
    body: usize,
}

impl Exchange {
    /// Connects.
    pub async fn open(target: SocketAddr) -> io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the generator of load measures bare connections")]
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::with_capacity(BUFFER) })
    }

    /// Sends a whole request and reads its answer; after an error the connection is of no more use.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<Reply<'_>> {
        self.input.clear();
        self.stream.write_all(request).await?;
        loop {
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(shape) = parse(&self.input)? {
                if shape.body > MAX_ANSWER {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                while self.input.len() < shape.head + shape.body {
                    if self.stream.read_buf(&mut self.input).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                let body = &self.input[shape.head..shape.head + shape.body];
                return Ok(Reply { status: shape.status, keeps_open: shape.keeps_open, body });
            }
            if self.input.len() > MAX_ANSWER {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

/// Reads a head; `None` as long as its empty line is missing.
fn parse(input: &[u8]) -> io::Result<Option<Shape>> {
    let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let head = std::str::from_utf8(&input[..end]).map_err(|_| malformed())?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next().filter(|line| line.starts_with("HTTP/1.1 ")).ok_or_else(malformed)?;
    let status = status_line.get(9..12).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    let mut shape = Shape { status, keeps_open: true, head: end + 4, body: 0 };
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        match name.len() {
            14 if name.eq_ignore_ascii_case("content-length") => {
                shape.body = value.trim().parse().map_err(|_| malformed())?;
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                shape.keeps_open = !value.trim().eq_ignore_ascii_case("close");
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => return Err(malformed()),
            _ => {}
        }
    }
    Ok(Some(shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_its_head_is_whole() {
        let text = b"HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\nConnection: Close\r\n\r\nhello";
        for end in 0..text.len() - 5 {
            assert_eq!(parse(&text[..end]).unwrap(), None);
        }
        let shape = Shape { status: 202, keeps_open: false, head: text.len() - 5, body: 5 };
        assert_eq!(parse(text).unwrap(), Some(shape));
        for bad in ["SMTP\r\n\r\n", "HTTP/1.1 two\r\n\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
