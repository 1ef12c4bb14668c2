//! What one request bears: the signed headers, the webhook's own, the trace and the hop count; and how both sides'
//! headers are kept, as lines with what is secret masked.

use busbar_domain::Timestamp;
use busbar_domain::event::HOPS_HEADER;
use busbar_domain::trace::TraceContext;
use busbar_egress::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use crate::lanes::Job;

/// How many bytes of an answer's headers the log keeps.
const HEADERS_KEPT: usize = 4096;
const MASK: &[u8] = b"***";

/// The headers of an attempt at `now` that sends `body`.
pub(crate) fn headers(job: &Job, body: &[u8], now: Timestamp, trace: TraceContext) -> HeaderMap {
    let claimed = &job.claimed;
    let signer = job.route.endpoint.signer(now);
    let own = signer.headers(claimed.message, &claimed.kind, claimed.occurred_at, now, body);
    let mut headers = HeaderMap::with_capacity(own.len() + job.route.headers.len() + 3);
    headers.insert(HeaderName::from_static("content-type"), HeaderValue::from_static("application/json"));
    for (name, value) in own {
        // Signatures, ids and event types are plain ASCII, so nothing is ever left out here.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Ok(trace) = HeaderValue::try_from(trace.to_string()) {
        headers.insert(HeaderName::from_static("traceparent"), trace);
    }
    headers.insert(HeaderName::from_static(HOPS_HEADER), HeaderValue::from(u16::from(claimed.hops) + 1));
    for (name, value) in &job.route.headers {
        headers.insert(name.clone(), value.clone());
    }
    headers
}

/// What was sent, as lines; values that are secret are masked.
pub(crate) fn sent(headers: &HeaderMap) -> Bytes {
    let mut lines = Vec::with_capacity(64 * headers.len());
    for (name, value) in headers {
        push(&mut lines, name, if value.is_sensitive() { MASK } else { value.as_bytes() });
    }
    lines.into()
}

/// The start of what came back, as lines; cookies are masked.
pub(crate) fn received(headers: &HeaderMap) -> Bytes {
    let mut lines = Vec::with_capacity(256);
    for (name, value) in headers {
        push(&mut lines, name, if name == "set-cookie" { MASK } else { value.as_bytes() });
        if lines.len() >= HEADERS_KEPT {
            lines.truncate(HEADERS_KEPT);
            break;
        }
    }
    lines.into()
}

fn push(lines: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    lines.extend_from_slice(name.as_str().as_bytes());
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value);
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_what_is_kept_is_bounded() {
        let mut headers = HeaderMap::new();
        let mut secret = HeaderValue::from_static("hunter2");
        secret.set_sensitive(true);
        headers.insert("authorization", secret);
        headers.insert("webhook-id", HeaderValue::from_static("1"));
        assert_eq!(&sent(&headers)[..], b"authorization: ***\nwebhook-id: 1\n");

        let mut answer = HeaderMap::new();
        answer.insert("set-cookie", HeaderValue::from_static("session=1"));
        answer.insert("x-odd", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        assert_eq!(&received(&answer)[..], b"set-cookie: ***\nx-odd: \xff\xfe\n");
        answer.insert("x-long", HeaderValue::try_from("a".repeat(60_000)).unwrap());
        assert_eq!(received(&answer).len(), HEADERS_KEPT);
    }
}
