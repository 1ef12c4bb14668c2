//! Joins the chunks of a body, however the bytes are cut into reads.

use crate::request::Malformed;

/// The largest body that is read.
pub(crate) const MAX_BODY: usize = 64 * 1_024 * 1_024;
const MAX_SIZE_LINE: usize = 1_024;

/// A chunked body on its way in.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Data(usize),
    DataEnd,
    Trailers,
    Done,
}

impl Chunks {
    /// Moves what it can from `input` to `body` and says how many bytes it used.
    pub(crate) fn advance(&mut self, input: &[u8], body: &mut Vec<u8>) -> Result<usize, Malformed> {
        let mut at = 0;
        while self.state != State::Done {
            let rest = &input[at..];
            if let State::Data(missing) = self.state {
                let taken = missing.min(rest.len());
                if body.len() + taken > MAX_BODY {
                    return Err(Malformed);
                }
                body.extend_from_slice(&rest[..taken]);
                at += taken;
                if taken < missing {
                    self.state = State::Data(missing - taken);
                    return Ok(at);
                }
                self.state = State::DataEnd;
                continue;
            }
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                return if rest.len() > MAX_SIZE_LINE { Err(Malformed) } else { Ok(at) };
            };
            self.state = self.after_line(rest[..end].trim_ascii())?;
            at += end + 1;
        }
        Ok(at)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn after_line(&self, line: &[u8]) -> Result<State, Malformed> {
        match self.state {
            State::Size => {
                let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                let digits = std::str::from_utf8(digits).map_err(|_| Malformed)?;
                let size = usize::from_str_radix(digits.trim(), 16).map_err(|_| Malformed)?;
                Ok(if size == 0 { State::Trailers } else { State::Data(size) })
            }
            State::DataEnd if line.is_empty() => Ok(State::Size),
            State::Trailers if line.is_empty() => Ok(State::Done),
            State::Trailers => Ok(State::Trailers),
            State::DataEnd | State::Data(_) | State::Done => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_join_wherever_the_reads_are_cut() {
        let wire = b"4;name=value\r\nWiki\r\n5\r\npedia\r\n0\r\nTrailer: x\r\n\r\nGET";
        for cut in 1..wire.len() {
            let (mut chunks, mut body, mut used, mut seen) = (Chunks::default(), vec![], 0, 0);
            while !chunks.is_done() {
                seen = wire.len().min(seen + cut);
                used += chunks.advance(&wire[used..seen], &mut body).unwrap();
            }
            assert_eq!((body.as_slice(), used), (&b"Wikipedia"[..], wire.len() - 3));
        }
    }

    #[test]
    fn a_broken_size_is_refused() {
        for wire in [&b"x\r\n"[..], b"-1\r\n", b"4\r\nWikipedia\r\n"] {
            assert!(Chunks::default().advance(wire, &mut Vec::new()).is_err());
        }
    }
}
