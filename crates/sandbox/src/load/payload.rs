//! What each event of a load says: `{"seq":<number>,"pad":"<text>"}`, always of the same length, with a text that
//! follows from the number, so that whoever receives it can tell whether every byte is right.

use std::io::Write as _;

/// Words only, since texts that look like secrets or persons may be masked on their way.
const WORDS: &str = "every event that was taken in is owed to those who asked for it and leaves the hub as it came ";
const OPENING: &[u8] = b"\"seq\":";
const PAD: &[u8] = b",\"pad\":\"";
const END: &[u8] = b"\"}";
/// The shortest object: braces, names, twenty digits.
const SHORTEST: usize = 40;
/// What may follow the object in the body that holds it.
const LONGEST_REST: usize = 32;

/// Writes and checks the payloads of one load.
#[derive(Clone, Debug)]
pub struct Payload {
    length: usize,
    text: Vec<u8>,
}

impl Payload {
    /// Payloads of `length` bytes, or of as few as a payload can have.
    pub fn new(length: usize) -> Self {
        let length = length.max(SHORTEST);
        Self { length, text: WORDS.as_bytes().iter().copied().cycle().take(length + WORDS.len()).collect() }
    }

    /// How many bytes each payload has.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Appends the payload of event `seq`.
    pub fn write(&self, seq: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(b'{');
        out.extend_from_slice(OPENING);
        // Writing to memory cannot fail.
        let _ = write!(out, "{seq}");
        out.extend_from_slice(PAD);
        let length = self.length - (out.len() - start) - END.len();
        out.extend_from_slice(self.pad(seq, length));
        out.extend_from_slice(END);
    }

    /// The number that a body tells, if it tells one, and whether the payload is in it to the last byte.
    pub fn check(&self, body: &[u8]) -> Option<(u64, bool)> {
        let at = body.windows(OPENING.len()).position(|bytes| bytes == OPENING)?;
        let rest = &body[at + OPENING.len()..];
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let seq = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        let length = self.length.checked_sub(1 + OPENING.len() + digits + PAD.len() + END.len());
        let is_intact = length.is_some_and(|length| {
            rest[digits..]
                .strip_prefix(PAD)
                .and_then(|rest| rest.strip_prefix(self.pad(seq, length)))
                .and_then(|rest| rest.strip_prefix(END))
                .is_some_and(|rest| rest.len() <= LONGEST_REST)
        });
        Some((seq, is_intact))
    }

    fn pad(&self, seq: u64, length: usize) -> &[u8] {
        let from = usize::try_from(seq % WORDS.len() as u64).unwrap_or_default();
        &self.text[from..from + length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_payload_has_the_same_length_and_proves_itself() {
        for length in [0, 100, 600] {
            let payload = Payload::new(length);
            for seq in [0, 7, 99_999, u64::MAX] {
                let mut body = b"{\"type\":\"t\",\"data\":".to_vec();
                let start = body.len();
                payload.write(seq, &mut body);
                assert_eq!(body.len() - start, payload.length());
                body.push(b'}');
                assert_eq!(payload.check(&body), Some((seq, true)));
            }
        }
    }

    #[test]
    fn any_changed_byte_is_seen() {
        let payload = Payload::new(80);
        let mut body = Vec::new();
        payload.write(5, &mut body);
        for at in 1..body.len() - 1 {
            let mut changed = body.clone();
            changed[at] ^= 1;
            assert_ne!(payload.check(&changed), Some((5, true)), "byte {at}");
            assert_ne!(payload.check(&body[..at]), Some((5, true)), "length {at}");
        }
        assert_eq!(payload.check(b"{}"), None);
    }
}
