//! One connection: reads requests one after the other, pipelined or not, and answers in order.
//! Answers gather until the client has nothing more to read, so a pipeline costs one write.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::body::{Chunks, MAX_BODY};
use crate::control;
use crate::misbehaviour;
use crate::receiver::Shared;
use crate::reply;
use crate::request::{Framing, Head, HeaderSpan, Headers, Malformed, Request, parse_head};
use crate::routes::Choice;
use crate::script::Answer;

const MAX_HEAD: usize = 64 * 1_024;
const FIRST_BUFFER: usize = 8 * 1_024;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Serves a connection to its end; what ends it is the client's affair.
pub(crate) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut connection = Connection {
        stream,
        shared,
        input: Input { bytes: vec![0; FIRST_BUFFER], start: 0, end: 0 },
        output: Vec::new(),
        spans: Vec::new(),
        body: Vec::new(),
    };
    if let Err(End::Malformed(status)) = connection.run().await {
        connection.output.extend_from_slice(&reply::render(status, &[], &[]));
        let _ = connection.flush().await;
    }
}

struct Connection {
    stream: TcpStream,
    shared: Arc<Shared>,
    input: Input,
    output: Vec<u8>,
    spans: Vec<HeaderSpan>,
    body: Vec<u8>,
}

/// Why a connection ends.
enum End {
    /// Closed by the client, by the request or by the script.
    Closed,
    /// The request cannot be read and is answered with this status.
    Malformed(u16),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl From<Malformed> for End {
    fn from(_: Malformed) -> Self {
        Self::Malformed(400)
    }
}

impl Connection {
    async fn run(&mut self) -> Result<(), End> {
        loop {
            let head = self.read_head().await?;
            let closes = head.closes;
            if self.is_control(&head) {
                self.read_body(&head).await?;
                let answer = control::answer(&self.shared, &self.request(&head));
                self.finish(&head);
                self.output.extend_from_slice(&answer);
            } else {
                self.serve_scripted(&head).await?;
            }
            if closes {
                self.flush().await?;
                return Err(End::Closed);
            }
        }
    }

    async fn serve_scripted(&mut self, head: &Head) -> Result<(), End> {
        let choice = self.shared.routes.choose(self.path(head));
        let refuses_body = matches!(&choice, Choice::Misbehave(answer)
            if matches!(**answer, Answer::RefuseBody { .. }));
        if refuses_body {
            self.body.clear();
        } else {
            self.read_body(head).await?;
        }
        self.shared.log.record(&self.request(head));
        self.finish(head);

        match choice {
            Choice::Ready(bytes) => self.output.extend_from_slice(&bytes),
            Choice::Delayed(delay, bytes) => {
                self.flush().await?;
                tokio::time::sleep(delay).await;
                self.output.extend_from_slice(&bytes);
            }
            Choice::Misbehave(answer) => {
                self.flush().await?;
                misbehaviour::perform(&mut self.stream, &answer).await?;
                return Err(End::Closed);
            }
        }
        Ok(())
    }

    async fn read_head(&mut self) -> Result<Head, End> {
        loop {
            if let Some(head) = parse_head(self.input.unread(), &mut self.spans)? {
                return Ok(head);
            }
            if self.input.unread().len() > MAX_HEAD {
                return Err(End::Malformed(431));
            }
            self.flush().await?;
            self.fill().await?;
        }
    }

    /// Reads the whole body: in place if its length was told, joined in `self.body` if chunked.
    async fn read_body(&mut self, head: &Head) -> Result<(), End> {
        self.body.clear();
        match head.framing {
            Framing::Length(length) if length > MAX_BODY => Err(End::Malformed(413)),
            Framing::Length(length) => {
                let end = head.length + length;
                if self.input.unread().len() < end {
                    self.invite(head).await?;
                }
                while self.input.unread().len() < end {
                    self.fill().await?;
                }
                Ok(())
            }
            Framing::Chunked => {
                self.invite(head).await?;
                let mut chunks = Chunks::default();
                loop {
                    let input = &self.input.unread()[head.length..];
                    let used = chunks.advance(input, &mut self.body)?;
                    self.input.cut_out(head.length, used);
                    if chunks.is_done() {
                        return Ok(());
                    }
                    self.fill().await?;
                }
            }
        }
    }

    /// Asks for the body where the client waits to be asked; sends answers that it waits for.
    async fn invite(&mut self, head: &Head) -> Result<(), End> {
        if head.expects_continue {
            self.output.extend_from_slice(CONTINUE);
        }
        self.flush().await
    }

    fn is_control(&self, head: &Head) -> bool {
        self.shared.is_controlled && self.path(head).starts_with(control::ROOT)
    }

    fn path(&self, head: &Head) -> &str {
        text(&self.input.unread()[head.path.clone()])
    }

    fn request(&self, head: &Head) -> Request<'_> {
        let input = self.input.unread();
        let body = match head.framing {
            Framing::Length(length) => input.get(head.length..head.length + length).unwrap_or_default(),
            Framing::Chunked => &self.body,
        };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Request {
            method: text(&input[head.method.clone()]),
            path: text(&input[head.path.clone()]),
            headers: Headers { head: input, spans: &self.spans },
            body,
            received_at: Instant::now(),
            unix_nanos: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Lets go of the request's bytes.
    fn finish(&mut self, head: &Head) {
        let body = match head.framing {
            Framing::Length(length) => length,
            Framing::Chunked => 0,
        };
        self.input.consume(head.length + body);
    }

    async fn fill(&mut self) -> Result<(), End> {
        let room = self.input.room();
        match self.stream.read(room).await? {
            0 => Err(End::Closed),
            count => {
                self.input.end += count;
                Ok(())
            }
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.output.clear();
        }
        Ok(())
    }
}

/// The bytes that were read and not yet used.
struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Removes `count` unread bytes that lie `at` bytes after the first.
    fn cut_out(&mut self, at: usize, count: usize) {
        let from = self.start + at;
        self.bytes.copy_within(from + count..self.end, from);
        self.end -= count;
    }

    /// Free space at the end, made by moving or growing if there is none.
    fn room(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.end == self.bytes.len() {
                self.bytes.resize(self.bytes.len() * 2, 0);
            }
        }
        &mut self.bytes[self.end..]
    }
}

/// Text of a request line, which was checked when the head was parsed.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
