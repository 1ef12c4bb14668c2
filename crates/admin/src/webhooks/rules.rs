//! What each field of a webhook may be: one rule for every door, and a note where it is broken.

use std::ops::RangeInclusive;

use busbar_domain::dialect::Dialect;
use busbar_domain::event::Label;
use busbar_domain::filter::Filter;
use busbar_domain::retry::{InvalidRetryPolicy, RetryPolicy};
use busbar_domain::subscription::Pattern;
use busbar_domain::webhook::WebhookStatus;
use busbar_egress::Target;
use busbar_systems::ptw;

use crate::desk::Desk;
use crate::fields::{Faults, Given, Project};
use crate::webhooks::body::RetryBody;

/// The most patterns of one webhook.
const MAX_EVENTS: usize = 100;
const TIMEOUTS_MS: RangeInclusive<u32> = 1_000..=10_000;
/// How many requests may be in flight to one webhook.
const IN_FLIGHT: RangeInclusive<u32> = 1..=1_000;
/// How many requests per second a webhook may ask for.
const RATES: RangeInclusive<u32> = 1..=10_000;

/// A webhook that its owner enables is active again, unless its owner paused it.
pub(super) fn status(current: WebhookStatus, enabled: Option<bool>) -> WebhookStatus {
    match (enabled, current) {
        (None, unchanged) => unchanged,
        (Some(false), _) => WebhookStatus::Disabled,
        (Some(true), WebhookStatus::Paused) => WebhookStatus::Paused,
        (Some(true), WebhookStatus::Active | WebhookStatus::Disabled | WebhookStatus::Broken) => WebhookStatus::Active,
    }
}

pub(super) fn dialect(name: &str, faults: &mut Faults) -> Option<Dialect> {
    let known = Dialect::parse(name);
    if known.is_none() {
        let names: Vec<_> = Dialect::ALL.iter().map(|dialect| dialect.as_str()).collect();
        faults.add("/dialect", "UNKNOWN_DIALECT", format!("A dialect is one of {}.", names.join(", ")));
    }
    known
}

pub(super) fn url(text: Option<&str>, desk: &Desk, faults: &mut Faults) -> Option<String> {
    let Some(text) = text else {
        faults.add("/url", "REQUIRED", "This field is required.");
        return None;
    };
    match Target::parse(text, desk.policy()) {
        Ok(target) => Some(target.as_str().to_owned()),
        Err(refusal) => {
            faults.add("/url", refusal.code(), refusal.sentence());
            None
        }
    }
}

pub(super) fn patterns(events: &[String], dialect: Dialect, faults: &mut Faults) -> Option<Vec<String>> {
    if events.len() > MAX_EVENTS {
        faults.add("/events", "TOO_MANY", format!("A webhook hears at most {MAX_EVENTS} patterns."));
        return None;
    }
    let mut known = Vec::with_capacity(events.len());
    for (at, text) in events.iter().enumerate() {
        let pointer = format!("/events/{at}");
        let Some(pattern) = faults.take(&pointer, "INVALID_PATTERN", Pattern::parse(text)) else { continue };
        let name = match dialect {
            Dialect::Standard | Dialect::Workpro | Dialect::Exact => Some(text.as_str()),
            Dialect::Ptw if pattern.is_exact() => ptw::documented(text),
            Dialect::Ptw => ptw::EVENTS.iter().any(|event| pattern.matches(event)).then_some(text.as_str()),
        };
        match name {
            Some(name) if known.iter().any(|other| other == name) => {}
            Some(name) => known.push(name.to_owned()),
            None => {
                let detail = format!("Unknown event {text:?}; the known ones are {}.", ptw::EVENTS.join(", "));
                faults.add(pointer, "UNKNOWN_EVENT", detail);
            }
        }
    }
    Some(known)
}

pub(super) fn project(given: Given<Project>, otherwise: Option<String>, faults: &mut Faults) -> Option<String> {
    match given {
        Given::Absent => otherwise,
        Given::Null => None,
        Given::Value(project) => {
            let label = faults.take("/project", "INVALID_FIELD", Label::parse(project.to_text()))?;
            Some(label.as_str().to_owned())
        }
    }
}

pub(super) fn timeout(given: Option<u32>, otherwise: i32, faults: &mut Faults) -> Option<i32> {
    let Some(given) = given else { return Some(otherwise) };
    if !TIMEOUTS_MS.contains(&given) {
        faults.add("/timeout_ms", "OUT_OF_RANGE", "timeout_ms is 1,000 to 10,000");
        return None;
    }
    i32::try_from(given).ok()
}

pub(super) fn retry(given: &RetryBody, base: RetryPolicy, faults: &mut Faults) -> Option<RetryPolicy> {
    let policy = RetryPolicy::try_new(
        given.max_attempts.unwrap_or(base.max_attempts().into()),
        given.first_ms.unwrap_or(base.first_ms()),
        given.factor.unwrap_or(base.factor().into()),
        given.max_ms.unwrap_or(base.max_ms()),
    );
    let pointer = match policy {
        Err(InvalidRetryPolicy::MaxAttempts) => "/retry/max_attempts",
        Err(InvalidRetryPolicy::First) => "/retry/first_ms",
        Err(InvalidRetryPolicy::Factor) => "/retry/factor",
        Err(InvalidRetryPolicy::Longest) => "/retry/max_ms",
        Ok(_) => "/retry",
    };
    faults.take(pointer, "OUT_OF_RANGE", policy)
}

/// `max_in_flight`: 1 to 1,000, or the hub's own bound.
pub(super) fn in_flight(given: Given<u32>, otherwise: Option<i32>, faults: &mut Faults) -> Option<i32> {
    within("/max_in_flight", &IN_FLIGHT, given, otherwise, faults)
}

/// `rate_limit`: 1 to 10,000 per second, or none.
pub(super) fn rate_limit(given: Given<u32>, otherwise: Option<i32>, faults: &mut Faults) -> Option<i32> {
    within("/rate_limit", &RATES, given, otherwise, faults)
}

fn within(
    pointer: &str,
    bounds: &RangeInclusive<u32>,
    given: Given<u32>,
    otherwise: Option<i32>,
    faults: &mut Faults,
) -> Option<i32> {
    match given {
        Given::Absent => otherwise,
        Given::Null => None,
        Given::Value(number) if bounds.contains(&number) => i32::try_from(number).ok(),
        Given::Value(_) => {
            let (name, least, most) = (&pointer[1..], bounds.start(), bounds.end());
            faults.add(pointer, "OUT_OF_RANGE", format!("{name} is {least} to {most}"));
            None
        }
    }
}

/// `filter`: an expression over `event`, as it was written.
pub(super) fn filter(given: Given<String>, otherwise: Option<String>, faults: &mut Faults) -> Option<String> {
    match given {
        Given::Absent => otherwise,
        Given::Null => None,
        Given::Value(text) => {
            let filter = faults.take("/filter", "INVALID_FILTER", Filter::parse(&text))?;
            Some(filter.as_str().to_owned())
        }
    }
}
