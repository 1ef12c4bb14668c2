//! One attempt: build the body, sign it, post it through the guarded door, and say what it came to.

use std::net::SocketAddr;
use std::time::Duration;

use busbar_domain::delivery::{DeliveryState, Outcome};
use busbar_domain::retry::RetryPolicy;
use busbar_domain::trace::TraceContext;
use busbar_domain::{Clock, Timestamp};
use busbar_egress::{Answer, Egress, FailureClass, Outgoing, Phases};
use busbar_runtime::telemetry::Step;
use busbar_storage::claims::{About, AttemptRecord, Claimed, Finished};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::lane::{End, Ending};
use crate::lanes::Job;
use crate::metric;
use crate::request;

/// How many bytes of a response's body the log keeps.
const BODY_KEPT: usize = 4096;
/// The longest that an attempt may take beside which nothing else runs.
const LONGEST_ALONE: Duration = Duration::from_secs(2);

/// What one call came to, before the retry policy is asked.
struct Result {
    outcome: Outcome,
    ending: Ending,
    /// How long the receiver asked to be left alone.
    pause: Option<Duration>,
    status: Option<u16>,
    error_class: Option<&'static str>,
    error: Option<String>,
    body: Bytes,
    took: Duration,
    sent: Bytes,
    received: Bytes,
    address: Option<SocketAddr>,
    phases: Phases,
}

impl Result {
    /// What went wrong without an answer.
    fn failed(class: &'static str, error: String) -> Self {
        Self {
            outcome: Outcome::Failed { retry_after: None },
            ending: Ending::Unsent,
            pause: None,
            status: None,
            error_class: Some(class),
            error: Some(error),
            body: Bytes::new(),
            took: Duration::ZERO,
            sent: Bytes::new(),
            received: Bytes::new(),
            address: None,
            phases: Phases::default(),
        }
    }
}

/// Makes the attempt that `job` asks for.
pub(crate) async fn attempt(job: &Job, egress: &Egress, clock: &Clock) -> (Finished, End) {
    let started_at = clock.now();
    let claimed = &job.claimed;
    let step = Step::below(
        claimed.trace,
        || tracing::info_span!("deliver", delivery = %claimed.claim.delivery, webhook = %claimed.webhook),
    );
    let result = call(job, egress, started_at, step.context()).await;
    metrics::histogram!(metric::ATTEMPT).record(result.took);
    metrics::counter!(metric::ATTEMPTS, "outcome" => result.error_class.unwrap_or("delivered")).increment(1);
    let end = End { ending: result.ending, pause: result.pause, test: claimed.test };
    (finish(job, result, started_at, clock.now()), end)
}

/// What an attempt that panicked counts as: a failure, but not the receiver's.
pub(crate) fn panicked(job: &Job, clock: &Clock) -> (Finished, End) {
    let result = Result::failed("internal", "Something went wrong on our side; it has been logged.".to_owned());
    let now = clock.now();
    (finish(job, result, now, now), Ending::Unsent.into())
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
    let ends = !matches!(state, DeliveryState::Retrying { .. });
    let concerns_more = matches!(state, DeliveryState::Dead { .. }) || (ends && claimed.ordered);
    let attempt = AttemptRecord {
        number,
        started_at,
        duration: result.took,
        status: result.status,
        error_class: result.error_class,
        error: result.error,
        response_body: result.body,
        request_headers: result.sent,
        response_headers: result.received,
        address: result.address,
        dns: result.phases.dns,
        connect: result.phases.connect,
        tls: result.phases.tls,
        first_byte: result.phases.first_byte,
    };
    let about = concerns_more.then(|| Box::new(about(claimed, number)));
    Finished { claim: claimed.claim, state, attempt: Some(attempt), about }
}

/// What the end of a delivery concerns beside its own row.
pub(crate) fn about(claimed: &Claimed, attempts: i32) -> About {
    About {
        tenant: claimed.tenant,
        webhook: claimed.webhook,
        event: claimed.event,
        kind: claimed.kind.clone(),
        test: claimed.test,
        attempts,
    }
}

async fn call(job: &Job, egress: &Egress, now: Timestamp, trace: TraceContext) -> Result {
    let (claimed, endpoint) = (&job.claimed, &job.route.endpoint);
    let target = match &job.route.target {
        Ok(target) => target,
        Err(refusal) => {
            let failed = Result::failed(FailureClass::Refused.as_str(), refusal.sentence().into_owned());
            return Result { outcome: Outcome::Refused, ..failed };
        }
    };
    let body = match &claimed.body {
        Some(edited) => edited.clone(),
        None => endpoint.webhook.dialect.body(&claimed.kind, claimed.occurred_at, &claimed.payload).into(),
    };
    let headers = request::headers(job, &body, now, trace);
    let sent = request::sent(&headers);
    let longest = if job.alone.is_some() { LONGEST_ALONE.min(job.route.longest) } else { job.route.longest };
    let deadline = endpoint.webhook.timeout.min(longest);
    match egress.post(Outgoing { target, headers, body, deadline }).await {
        Ok(answer) => Result { sent, ..answered(&answer, now) },
        Err(failure) => {
            let refused = failure.class == FailureClass::Refused;
            Result {
                outcome: if refused { Outcome::Refused } else { Outcome::Failed { retry_after: None } },
                ending: if refused { Ending::Unsent } else { Ending::Overwhelmed },
                status: failure.status,
                took: failure.elapsed,
                sent,
                address: failure.address,
                phases: failure.phases,
                ..Result::failed(failure.class.as_str(), failure.detail)
            }
        }
    }
}

fn answered(answer: &Answer, now: Timestamp) -> Result {
    let asked = answer.retry_after.as_deref().and_then(|text| retry_after(text, now));
    let outcome = Outcome::of_status(answer.status, asked);
    let delivered = outcome == Outcome::Delivered;
    Result {
        outcome,
        ending: ending(answer.status),
        pause: asked.filter(|_| matches!(answer.status, 429 | 503)),
        status: Some(answer.status),
        error_class: (!delivered).then_some("http_status"),
        error: (!delivered).then(|| format!("The receiver answered {}.", answer.status)),
        body: answer.body.slice(..answer.body.len().min(BODY_KEPT)),
        took: answer.elapsed,
        sent: Bytes::new(),
        received: request::received(&answer.headers),
        address: answer.address,
        phases: answer.phases,
    }
}

/// What a status says about the receiver's pace.
const fn ending(status: u16) -> Ending {
    match status {
        200..=299 => Ending::Taken,
        429 => Ending::Busy,
        502..=504 => Ending::Overwhelmed,
        500..=599 => Ending::Failing,
        _ => Ending::Answered,
    }
}

/// `Retry-After` as seconds or as an HTTP date (RFC 9110, 10.2.3); anything else is nothing.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    (DateTime::<Utc>::from(httpdate::parse_http_date(text).ok()?) - now).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_may_ask_for_time_in_seconds_or_by_date() {
        let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
        assert_eq!(retry_after("90", now), Some(Duration::from_secs(90)));
        assert_eq!(retry_after("1000000000000000000000", now), Some(Duration::from_secs(u64::MAX)));
        for date in ["Thu, 01 Jan 2026 00:01:30 GMT", "Thursday, 01-Jan-26 00:01:30 GMT", "Thu Jan  1 00:01:30 2026"] {
            assert_eq!(retry_after(date, now), Some(Duration::from_secs(90)), "{date}");
        }
        for bad in ["", "-1", "1e3", "0x10", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(retry_after(bad, now), None, "{bad}");
        }
    }

    #[test]
    fn a_status_says_how_the_receiver_is() {
        for (statuses, says) in [
            (&[200, 201, 204, 299][..], Ending::Taken),
            (&[300, 302, 304, 399, 400, 401, 404, 410, 422, 499], Ending::Answered),
            (&[429], Ending::Busy),
            (&[500, 501, 505, 599], Ending::Failing),
            (&[502, 503, 504], Ending::Overwhelmed),
        ] {
            for status in statuses {
                assert_eq!(ending(*status), says, "{status}");
            }
        }
    }
}
