//! Reads the head of a request in place: positions in the connection's buffer, no copies.

use std::ops::Range;
use std::time::Instant;

/// A request as it lies in the connection's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The path with its query, as sent.
    pub path: &'a str,
    /// The headers in their order.
    pub headers: Headers<'a>,
    /// The whole body, chunks joined.
    pub body: &'a [u8],
    /// When the last byte was there.
    pub received_at: Instant,
    /// The same moment on the wall clock, in nanoseconds since 1970.
    pub unix_nanos: u64,
}

/// The headers of a request.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) spans: &'a [HeaderSpan],
}

impl<'a> Headers<'a> {
    /// The first value of a header, its name in any case.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Names and values as sent.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let Self { head, spans } = *self;
        spans.iter().map(|span| (&head[span.name.clone()], &head[span.value.clone()]))
    }
}

/// Where one header lies.
#[derive(Clone, Debug)]
pub(crate) struct HeaderSpan {
    name: Range<usize>,
    value: Range<usize>,
}

/// How the body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
}

/// Where the parts of a head lie, and what it says about the connection.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: Range<usize>,
    pub(crate) path: Range<usize>,
    pub(crate) length: usize,
    pub(crate) framing: Framing,
    pub(crate) closes: bool,
    pub(crate) expects_continue: bool,
}

/// The bytes are no HTTP/1 request.
#[derive(Debug)]
pub(crate) struct Malformed;

/// Reads a head; `None` as long as its empty line is missing.
pub(crate) fn parse_head(input: &[u8], spans: &mut Vec<HeaderSpan>) -> Result<Option<Head>, Malformed> {
    spans.clear();
    let Some((first, mut at)) = line(input, 0) else { return Ok(None) };
    let mut head = request_line(&input[first])?;
    loop {
        let Some((found, next)) = line(input, at) else { return Ok(None) };
        if found.is_empty() {
            head.length = next;
            return Ok(Some(head));
        }
        let text = &input[found.clone()];
        let colon = text.iter().position(|byte| *byte == b':').ok_or(Malformed)?;
        let name = &text[..colon];
        let value = text[colon + 1..].trim_ascii();
        interpret(&mut head, name, value)?;
        let skipped = text[colon + 1..].len() - text[colon + 1..].trim_ascii_start().len();
        let value_at = at + colon + 1 + skipped;
        spans.push(HeaderSpan { name: at..at + colon, value: value_at..value_at + value.len() });
        at = next;
    }
}

/// The line that begins at `at`, without its end, and where the next one begins.
fn line(input: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let end = at + input[at..].iter().position(|byte| *byte == b'\n')?;
    let text_end = if end > at && input[end - 1] == b'\r' { end - 1 } else { end };
    Some((at..text_end, end + 1))
}

fn request_line(line: &[u8]) -> Result<Head, Malformed> {
    let mut spaces = line.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(at, _)| at);
    let (Some(first), Some(second), None) = (spaces.next(), spaces.next(), spaces.next()) else {
        return Err(Malformed);
    };
    let version = &line[second + 1..];
    if !version.starts_with(b"HTTP/1.") || std::str::from_utf8(&line[..second]).is_err() {
        return Err(Malformed);
    }
    Ok(Head {
        method: 0..first,
        path: first + 1..second,
        length: 0,
        framing: Framing::Length(0),
        closes: version == b"HTTP/1.0",
        expects_continue: false,
    })
}

fn interpret(head: &mut Head, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    match name.len() {
        14 if name.eq_ignore_ascii_case(b"content-length") => {
            let text = std::str::from_utf8(value).map_err(|_| Malformed)?;
            let length = text.parse().map_err(|_| Malformed)?;
            if head.framing != Framing::Chunked {
                head.framing = Framing::Length(length);
            }
        }
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed);
            }
            head.framing = Framing::Chunked;
        }
        10 if name.eq_ignore_ascii_case(b"connection") => {
            if value.eq_ignore_ascii_case(b"close") {
                head.closes = true;
            } else if value.eq_ignore_ascii_case(b"keep-alive") {
                head.closes = false;
            }
        }
        6 if name.eq_ignore_ascii_case(b"expect") => {
            head.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
        }
        _ => {}
    }
    Ok(())
}
