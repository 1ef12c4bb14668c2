//! One attempt: build the body, sign it, post it through the guarded door, and say what it came to.

use std::time::Duration;

use busbar_domain::delivery::{DeliveryState, Outcome};
use busbar_domain::retry::RetryPolicy;
use busbar_domain::trace::TraceContext;
use busbar_domain::{Clock, Timestamp};
use busbar_egress::{Answer, Egress, FailureClass, HeaderMap, HeaderName, HeaderValue, Outgoing};
use busbar_runtime::telemetry::Step;
use busbar_storage::claims::{AttemptRecord, Finished};
use bytes::Bytes;
use chrono::DateTime;

use crate::lane::Ending;
use crate::lanes::Job;
use crate::metric;

/// How many bytes of a response's body the log keeps.
const BODY_KEPT: usize = 4096;

/// What one call came to, before the retry policy is asked.
struct Result {
    outcome: Outcome,
    ending: Ending,
    status: Option<u16>,
    error_class: Option<&'static str>,
    error: Option<String>,
    body: Bytes,
    took: Duration,
}

/// Makes the attempt that `job` asks for.
pub(crate) async fn attempt(job: &Job, egress: &Egress, clock: &Clock) -> (Finished, Ending) {
    let started_at = clock.now();
    let claimed = &job.claimed;
    let step = Step::below(
        claimed.trace,
        || tracing::info_span!("deliver", delivery = %claimed.claim.delivery, webhook = %claimed.webhook),
    );
    let result = call(job, egress, started_at, step.context()).await;
    metrics::histogram!(metric::ATTEMPT).record(result.took);
    metrics::counter!(metric::ATTEMPTS, "outcome" => result.error_class.unwrap_or("delivered")).increment(1);
    let ending = result.ending;
    (finish(job, result, started_at, clock.now()), ending)
}

/// What an attempt that panicked counts as: a failure like any other.
pub(crate) fn panicked(job: &Job, clock: &Clock) -> Finished {
    let result = Result {
        outcome: Outcome::Failed { retry_after: None },
        ending: Ending::Answered,
        status: None,
        error_class: Some("internal"),
        error: Some("Something went wrong on our side; it has been logged.".to_owned()),
        body: Bytes::new(),
        took: Duration::ZERO,
    };
    let now = clock.now();
    finish(job, result, now, now)
}

fn finish(job: &Job, result: Result, started_at: Timestamp, now: Timestamp) -> Finished {
    let claimed = &job.claimed;
    let number = claimed.attempts.saturating_add(1);
    let once = RetryPolicy::try_new(1, 1000, 1, 1000).unwrap_or_default();
    let policy = if claimed.test { &once } else { &job.route.endpoint.webhook.retry };
    let made = u16::try_from(number).unwrap_or(u16::MAX);
    let state = DeliveryState::Pending
        .after_attempt(made, result.outcome, policy, now, fastrand::f64())
        .unwrap_or(DeliveryState::Cancelled);
    let attempt = AttemptRecord {
        number,
        started_at,
        duration: result.took,
        status: result.status,
        error_class: result.error_class,
        error: result.error,
        response_body: result.body,
    };
    Finished { claim: claimed.claim, state, attempt: Some(attempt) }
}

async fn call(job: &Job, egress: &Egress, now: Timestamp, trace: TraceContext) -> Result {
    let (claimed, endpoint) = (&job.claimed, &job.route.endpoint);
    let target = match &job.route.target {
        Ok(target) => target,
        Err(refusal) => {
            return Result {
                outcome: Outcome::Refused,
                ending: Ending::Answered,
                status: None,
                error_class: Some(FailureClass::Refused.as_str()),
                error: Some(refusal.sentence().into_owned()),
                body: Bytes::new(),
                took: Duration::ZERO,
            };
        }
    };
    let body = endpoint.webhook.dialect.body(&claimed.kind, claimed.occurred_at, &claimed.payload);
    let headers = headers(job, &body, now, trace);
    let deadline = endpoint.webhook.timeout.min(job.route.longest);
    match egress.post(Outgoing { target, headers, body: body.into(), deadline }).await {
        Ok(answer) => answered(&answer, now),
        Err(failure) => {
            let refused = failure.class == FailureClass::Refused;
            Result {
                outcome: if refused { Outcome::Refused } else { Outcome::Failed { retry_after: None } },
                ending: if refused { Ending::Answered } else { Ending::Overwhelmed },
                status: failure.status,
                error_class: Some(failure.class.as_str()),
                took: failure.elapsed,
                error: Some(failure.detail),
                body: Bytes::new(),
            }
        }
    }
}

fn headers(job: &Job, body: &[u8], now: Timestamp, trace: TraceContext) -> HeaderMap {
    let claimed = &job.claimed;
    let signed = job.route.endpoint.signer(now).headers(claimed.message, &claimed.kind, now, body);
    let mut headers = HeaderMap::with_capacity(signed.len() + 2);
    headers.insert(HeaderName::from_static("content-type"), HeaderValue::from_static("application/json"));
    for (name, value) in signed {
        // Signatures, ids and event types are plain ASCII, so nothing is ever left out here.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Ok(trace) = HeaderValue::try_from(trace.to_string()) {
        headers.insert(HeaderName::from_static("traceparent"), trace);
    }
    headers
}

fn answered(answer: &Answer, now: Timestamp) -> Result {
    let asked = answer.retry_after.as_deref().and_then(|text| retry_after(text, now));
    let outcome = Outcome::of_status(answer.status, asked);
    let delivered = outcome == Outcome::Delivered;
    let slow_down = matches!(answer.status, 429 | 502..=504);
    Result {
        outcome,
        ending: match (delivered, slow_down) {
            (true, _) => Ending::Taken,
            (false, true) => Ending::Overwhelmed,
            (false, false) => Ending::Answered,
        },
        status: Some(answer.status),
        error_class: (!delivered).then_some("http_status"),
        error: (!delivered).then(|| format!("The receiver answered {}.", answer.status)),
        body: answer.body.slice(..answer.body.len().min(BODY_KEPT)),
        took: answer.elapsed,
    }
}

/// `Retry-After` as seconds or as an HTTP date (RFC 9110, 10.2.3); anything else is nothing.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    (DateTime::parse_from_rfc2822(text).ok()?.to_utc() - now).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn a_receiver_may_ask_for_time_in_seconds_or_by_date() {
        let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
        assert_eq!(retry_after("90", now), Some(Duration::from_secs(90)));
        assert_eq!(retry_after("1000000000000000000000", now), Some(Duration::from_secs(u64::MAX)));
        let date = (now + TimeDelta::seconds(90)).to_rfc2822().replace("+0000", "GMT");
        assert_eq!(retry_after(&date, now), Some(Duration::from_secs(90)));
        for bad in ["", "-1", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(retry_after(bad, now), None, "{bad}");
        }
    }
}
