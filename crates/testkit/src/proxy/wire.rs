//! What is read of a conversation in passing, so that one answer can be told from all others.

use std::collections::HashSet;

use super::Protocol;

/// What the statement that inserts events contains.
const INSERTS_EVENTS: &[u8] = b"insert into events";
/// AMQP: a method's frame, and `basic.ack` by class and method.
const METHOD: u8 = 1;
const BASIC_ACK: [u8; 4] = [0, 60, 0, 80];
/// A frame's type, channel and size before its payload, and the octet after it.
const FRAME_AROUND: usize = 7 + 1;
/// PostgreSQL: `ReadyForQuery` without the state that it ends with.
const READY: [u8; 5] = [b'Z', 0, 0, 0, 5];

/// One conversation through a proxy.
#[derive(Debug)]
pub(super) enum Talk {
    Plain,
    Amqp(Amqp),
    Postgres(Postgres),
}

/// Frames of the broker, passed on whole.
#[derive(Debug, Default)]
pub(super) struct Amqp {
    unfinished: Vec<u8>,
}

/// The client's messages of a PostgreSQL connection.
#[derive(Debug, Default)]
pub(super) struct Postgres {
    unfinished: Vec<u8>,
    is_started: bool,
    /// The names of the prepared statements that insert events.
    inserting: HashSet<Vec<u8>>,
    /// What the server has said since its answer is to be lost.
    lost: Option<Vec<u8>>,
}

impl Talk {
    pub(super) fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Plain => Self::Plain,
            Protocol::Amqp => Self::Amqp(Amqp::default()),
            Protocol::Postgres => Self::Postgres(Postgres::default()),
        }
    }

    /// Takes note of what the client says and answers what is passed on.
    pub(super) fn heard_client(&mut self, bytes: &[u8], may_swallow: impl FnOnce() -> bool) -> Vec<u8> {
        if let Self::Postgres(postgres) = self
            && postgres.inserts(bytes)
            && postgres.lost.is_none()
            && may_swallow()
        {
            postgres.lost = Some(Vec::new());
        }
        bytes.to_vec()
    }

    /// Answers what is passed on of what the server says; `None` once the answer to be lost is complete.
    pub(super) fn heard_server(&mut self, bytes: &[u8], may_swallow: impl FnOnce() -> bool) -> Option<Vec<u8>> {
        match self {
            Self::Plain => Some(bytes.to_vec()),
            Self::Amqp(amqp) => amqp.pass(bytes, may_swallow),
            Self::Postgres(postgres) => match &mut postgres.lost {
                None => Some(bytes.to_vec()),
                Some(lost) => {
                    lost.extend_from_slice(bytes);
                    // The server says this after the commit, so from here on the outcome stands.
                    let is_ready =
                        lost.len().checked_sub(READY.len() + 1).is_some_and(|at| lost[at..].starts_with(&READY));
                    (!is_ready).then(Vec::new)
                }
            },
        }
    }
}

impl Amqp {
    fn pass(&mut self, bytes: &[u8], may_swallow: impl FnOnce() -> bool) -> Option<Vec<u8>> {
        self.unfinished.extend_from_slice(bytes);
        let mut end = 0;
        let mut ack = None;
        while let Some(length) = frame_length(&self.unfinished[end..]) {
            let frame = &self.unfinished[end..end + length];
            if frame[0] == METHOD && frame[7..].starts_with(&BASIC_ACK) {
                ack.get_or_insert(end);
            }
            end += length;
        }
        if ack.is_some() && may_swallow() {
            return None;
        }
        Some(self.unfinished.drain(..end).collect())
    }
}

/// The length of the frame that `bytes` begins with, if it is there to its end.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let size: [u8; 4] = bytes.get(3..7)?.try_into().ok()?;
    let length = usize::try_from(u32::from_be_bytes(size)).ok()? + FRAME_AROUND;
    (bytes.len() >= length).then_some(length)
}

impl Postgres {
    /// Reads the client's messages; answers whether one of them runs a statement that inserts events.
    fn inserts(&mut self, bytes: &[u8]) -> bool {
        self.unfinished.extend_from_slice(bytes);
        let (mut end, mut inserts) = (0, false);
        loop {
            let rest = &self.unfinished[end..];
            // The first message has no type.
            let kind = usize::from(self.is_started);
            let Some(length) = message_length(rest, kind) else { break };
            let body = &rest[kind + 4..length];
            match rest[0] {
                b'P' if self.is_started && contains(body, INSERTS_EVENTS) => {
                    self.inserting.extend(text(body).map(<[u8]>::to_vec));
                }
                b'B' if self.is_started => {
                    let statement = text(body).and_then(|portal| text(&body[portal.len() + 1..]));
                    inserts |= statement.is_some_and(|statement| self.inserting.contains(statement));
                }
                _ => {}
            }
            self.is_started = true;
            end += length;
        }
        self.unfinished.drain(..end);
        inserts
    }
}

/// The length of a message whose type has `kind` bytes, if it is there to its end.
fn message_length(bytes: &[u8], kind: usize) -> Option<usize> {
    let size: [u8; 4] = bytes.get(kind..kind + 4)?.try_into().ok()?;
    let length = usize::try_from(u32::from_be_bytes(size)).ok()? + kind;
    (bytes.len() >= length).then_some(length)
}

/// The text up to the first NUL.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    bytes.split(|byte| *byte == 0).next().filter(|text| text.len() < bytes.len())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1][..], &size, payload, &[0xce]].concat()
    }

    fn message(kind: &[u8], body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [kind, &size, body].concat()
    }

    #[test]
    fn only_a_confirm_of_the_broker_is_swallowed() {
        let mut talk = Talk::new(Protocol::Amqp);
        let deliver = frame(METHOD, &[0, 60, 0, 60, 1, 2, 3]);
        assert_eq!(talk.heard_server(&deliver[..4], || true), Some(Vec::new()));
        assert_eq!(talk.heard_server(&deliver[4..], || true), Some(deliver));
        let ack = frame(METHOD, &[0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(talk.heard_server(&ack, || false), Some(ack.clone()));
        assert_eq!(talk.heard_server(&ack, || true), None);
    }

    #[test]
    fn only_the_answer_to_an_insert_of_events_is_swallowed() {
        let mut talk = Talk::new(Protocol::Postgres);
        let ready = message(b"Z", b"I");
        let startup = message(b"", b"\0\x03\0\0user\0postgres\0\0");
        let others = message(b"P", b"one\0select 1\0\0\0");
        let insert = message(b"P", b"two\0with x as (insert into events values (1)) select 1\0\0\0");
        for bytes in [startup, others, insert] {
            talk.heard_client(&bytes, || panic!("nothing was inserted yet"));
            assert_eq!(talk.heard_server(&ready, || true), Some(ready.clone()));
        }
        talk.heard_client(&message(b"B", b"\0one\0\0\0"), || panic!("nothing is inserted"));
        let bind = message(b"B", b"\0two\0\0\0");
        talk.heard_client(&bind[..6], || panic!("half a message says nothing"));
        talk.heard_client(&bind[6..], || true);
        assert_eq!(talk.heard_server(&message(b"2", b""), || true), Some(Vec::new()));
        assert_eq!(talk.heard_server(&ready, || true), None);
    }
}
