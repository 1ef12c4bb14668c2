//! The W3C trace context that travels from the HTTP request through rows and wake-ups to the outgoing POST.
//!
//! Source: W3C Trace Context, Recommendation of 23 November 2021, section 3.2. Kept as 25 bytes, never as text.

use std::fmt;

/// One position in a trace: who calls, in which trace, and whether it is sampled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// The number of bytes of [`TraceContext::to_bytes`].
    pub const LEN: usize = 25;

    /// A new, unsampled trace.
    pub fn root() -> Self {
        Self { trace_id: nonzero128().to_be_bytes(), span_id: nonzero64().to_be_bytes(), flags: 0 }
    }

    /// The same trace with a span id of our own.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: nonzero64().to_be_bytes(), ..self }
    }

    /// The same position, sampled or not.
    #[must_use]
    pub const fn sampled(self, sampled: bool) -> Self {
        Self { flags: sampled as u8, ..self }
    }

    /// Reads a `traceparent` header; anything malformed is `None`, and the caller starts a trace of its own.
    pub fn parse(header: &str) -> Option<Self> {
        let bytes = header.as_bytes();
        let version_known = bytes.len() == 55 || (bytes.len() > 55 && bytes[55] == b'-' && &bytes[..2] != b"00");
        if !version_known || bytes[2] != b'-' || bytes[35] != b'-' || bytes[52] != b'-' || &bytes[..2] == b"ff" {
            return None;
        }
        if bytes[..55].iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let mut version = [0];
        let mut context = Self { trace_id: [0; 16], span_id: [0; 8], flags: 0 };
        hex::decode_to_slice(&bytes[..2], &mut version).ok()?;
        hex::decode_to_slice(&bytes[3..35], &mut context.trace_id).ok()?;
        hex::decode_to_slice(&bytes[36..52], &mut context.span_id).ok()?;
        let mut flags = [0];
        hex::decode_to_slice(&bytes[53..55], &mut flags).ok()?;
        context.flags = flags[0] & 1;
        (context.trace_id != [0; 16] && context.span_id != [0; 8]).then_some(context)
    }

    /// The stored form.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes[24] = self.flags;
        bytes
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let mut context = Self { trace_id: [0; 16], span_id: [0; 8], flags: bytes[24] };
        context.trace_id.copy_from_slice(&bytes[..16]);
        context.span_id.copy_from_slice(&bytes[16..24]);
        Some(context)
    }

    /// The trace's id in hex, as operators search for it.
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace_id)
    }

    /// Whether the trace is sampled.
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

/// Formats as the `traceparent` header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let written = hex::encode_to_slice(self.trace_id, &mut text[3..35])
            .and_then(|()| hex::encode_to_slice(self.span_id, &mut text[36..52]))
            .and_then(|()| hex::encode_to_slice([self.flags], &mut text[53..55]));
        if written.is_err() {
            return Err(fmt::Error);
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn nonzero64() -> u64 {
    fastrand::u64(1..)
}

fn nonzero128() -> u128 {
    fastrand::u128(1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_survives_the_row() {
        let context = TraceContext::parse(SAMPLE).unwrap();
        assert_eq!(TraceContext::from_bytes(&context.to_bytes()).unwrap().to_string(), SAMPLE);
        assert!(context.is_sampled());
        assert_eq!(context.child().trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(context.child(), context);
    }

    #[test]
    fn malformed_headers_are_refused() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
        assert!(TraceContext::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later").is_some());
    }
}
