//! What a request wants of a webhook, and whether it may have it: the rules are the same at every door.
//!
//! A URL is vetted by the guarded door before it is stored; only what is given is vetted again.

use busbar_domain::dialect::Dialect;
use busbar_domain::event::Label;
use busbar_domain::retry::RetryPolicy;
use busbar_domain::subscription::Pattern;
use busbar_domain::webhook::WebhookStatus;
use busbar_egress::Target;
use busbar_storage::webhooks::WebhookFields;
use busbar_systems::ptw;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::desk::Desk;
use crate::fields::{Faults, Given, Project};

/// The most patterns of one webhook.
const MAX_EVENTS: usize = 100;
const MAX_IN_FLIGHT: u32 = 1000;
const TIMEOUTS_MS: std::ops::RangeInclusive<u32> = 1_000..=10_000;
const DEFAULT_TIMEOUT_MS: i32 = 10_000;

/// A webhook to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookToCreate {
    /// Its name, for people; 1 to 200 characters.
    name: Option<String>,
    /// Where it listens: an absolute http or https URL that the hub may call.
    url: Option<String>,
    /// What it hears: event types, or patterns in which `*` stands for any text. None: it hears nothing.
    events: Option<Vec<String>>,
    /// `standard` (the default) or `ptw`.
    dialect: Option<String>,
    /// The one project that it hears; all of them, if absent.
    project: Option<Project>,
    /// The secret that signs; made by the hub, if absent.
    pub(super) secret: Option<String>,
    /// The total deadline of one attempt: 1,000 to 10,000, the default.
    timeout_ms: Option<u32>,
    /// When failed deliveries are tried again.
    retry: Option<RetryBody>,
    /// The most requests in flight to it at a time: 1 to 1,000.
    max_in_flight: Option<u32>,
    /// Whether it gets anything; by default true.
    enabled: Option<bool>,
}

/// What changes of a webhook.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookBody {
    /// Its name, for people; 1 to 200 characters.
    name: Option<String>,
    /// Where it listens: an absolute http or https URL that the hub may call.
    url: Option<String>,
    /// What it hears: event types, or patterns in which `*` stands for any text. None: it hears nothing.
    events: Option<Vec<String>>,
    /// `standard` or `ptw`.
    dialect: Option<String>,
    /// The one project that it hears; null for all of them.
    #[serde(default)]
    #[schema(value_type = Option<Project>)]
    project: Given<Project>,
    /// A new secret, which takes the old one's place at once.
    secret: Option<String>,
    /// The total deadline of one attempt: 1,000 to 10,000.
    timeout_ms: Option<u32>,
    /// When failed deliveries are tried again.
    retry: Option<RetryBody>,
    /// The most requests in flight to it at a time: 1 to 1,000; null for the hub's own bound.
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    max_in_flight: Given<u32>,
    /// Whether it gets anything. Enabling a webhook that the hub disabled makes it active.
    enabled: Option<bool>,
}

/// When failed deliveries are tried again.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryBody {
    /// Attempts made at most, the first one included: 1 to 50, by default 12.
    pub(super) max_attempts: Option<u32>,
    /// The bound of the first wait, in milliseconds: by default 5,000.
    pub(super) first_ms: Option<u64>,
    /// What each further bound is multiplied by: 1 to 10, by default 4.
    pub(super) factor: Option<u32>,
    /// The longest bound, in milliseconds: by default 21,600,000.
    pub(super) max_ms: Option<u64>,
}

/// What a request wants of a webhook; what is absent stays as it is.
#[derive(Clone, Default)]
pub(crate) struct Wish {
    pub(crate) name: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) events: Option<Vec<String>>,
    pub(crate) dialect: Option<String>,
    pub(crate) project: Given<Project>,
    pub(crate) secret: Option<String>,
    pub(crate) enabled: Option<bool>,
    timeout_ms: Option<u32>,
    retry: Option<RetryBody>,
    max_in_flight: Given<u32>,
    replaces: bool,
}

impl From<WebhookToCreate> for Wish {
    fn from(body: WebhookToCreate) -> Self {
        Self {
            name: body.name,
            url: body.url,
            events: body.events,
            dialect: body.dialect,
            project: Given::of(body.project),
            secret: body.secret,
            enabled: body.enabled,
            timeout_ms: body.timeout_ms,
            retry: body.retry,
            max_in_flight: Given::of(body.max_in_flight),
            replaces: true,
        }
    }
}

impl From<WebhookBody> for Wish {
    fn from(body: WebhookBody) -> Self {
        Self {
            name: body.name,
            url: body.url,
            events: body.events,
            dialect: body.dialect,
            project: body.project,
            secret: body.secret,
            enabled: body.enabled,
            timeout_ms: body.timeout_ms,
            retry: body.retry,
            max_in_flight: body.max_in_flight,
            replaces: false,
        }
    }
}

/// The fields of a webhook before anybody has decided about them; name and URL must be given.
pub(crate) fn default_fields() -> WebhookFields {
    WebhookFields {
        name: String::new(),
        url: String::new(),
        events: Vec::new(),
        dialect: Dialect::Standard,
        project: None,
        status: WebhookStatus::Active,
        timeout_ms: DEFAULT_TIMEOUT_MS,
        retry: RetryPolicy::default(),
        max_in_flight: None,
    }
}

impl Wish {
    /// The same wish for the whole webhook: what is absent gets its default.
    pub(crate) fn replacing(self) -> Self {
        Self {
            project: self.project.or_null(),
            enabled: self.enabled.or(Some(true)),
            max_in_flight: self.max_in_flight.or_null(),
            replaces: true,
            ..self
        }
    }

    /// What becomes of `base`; what cannot be is noted in `faults`.
    pub(crate) fn onto(self, base: WebhookFields, desk: &Desk, faults: &mut Faults) -> Option<WebhookFields> {
        let dialect = match &self.dialect {
            Some(name) => dialect(name, faults)?,
            None => base.dialect,
        };
        let names_events = self.events.is_some() || self.replaces || dialect != base.dialect;
        let events = match self.events {
            Some(events) => events,
            None if self.replaces => Vec::new(),
            None => base.events,
        };
        let name = match self.name {
            None if !self.replaces => Some(base.name),
            given => faults.name("/name", given.as_deref()),
        };
        let url = match self.url {
            None if !self.replaces => Some(base.url),
            given => url(given.as_deref(), desk, faults),
        };
        let events = if names_events { patterns(&events, dialect, faults) } else { Some(events) };
        let project = project(self.project, base.project, faults);
        let timeout_ms =
            timeout(self.timeout_ms, if self.replaces { DEFAULT_TIMEOUT_MS } else { base.timeout_ms }, faults);
        let retry_base = if self.replaces { RetryPolicy::default() } else { base.retry };
        let retry = self.retry.map_or(Some(retry_base), |given| retry(&given, retry_base, faults));
        let max_in_flight = in_flight(self.max_in_flight, base.max_in_flight, faults);
        Some(WebhookFields {
            name: name?,
            url: url?,
            events: events?,
            dialect,
            project,
            status: status(base.status, self.enabled),
            timeout_ms: timeout_ms?,
            retry: retry?,
            max_in_flight,
        })
    }
}

/// A webhook that its owner enables is active again, unless its owner paused it.
fn status(current: WebhookStatus, enabled: Option<bool>) -> WebhookStatus {
    match (enabled, current) {
        (None, unchanged) => unchanged,
        (Some(false), _) => WebhookStatus::Disabled,
        (Some(true), WebhookStatus::Paused) => WebhookStatus::Paused,
        (Some(true), WebhookStatus::Active | WebhookStatus::Disabled | WebhookStatus::Broken) => WebhookStatus::Active,
    }
}

fn dialect(name: &str, faults: &mut Faults) -> Option<Dialect> {
    let known = Dialect::parse(name);
    if known.is_none() {
        let names: Vec<_> = Dialect::ALL.iter().map(|dialect| dialect.as_str()).collect();
        faults.add("/dialect", "UNKNOWN_DIALECT", format!("A dialect is one of {}.", names.join(", ")));
    }
    known
}

fn url(text: Option<&str>, desk: &Desk, faults: &mut Faults) -> Option<String> {
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

fn patterns(events: &[String], dialect: Dialect, faults: &mut Faults) -> Option<Vec<String>> {
    if events.len() > MAX_EVENTS {
        faults.add("/events", "TOO_MANY", format!("A webhook hears at most {MAX_EVENTS} patterns."));
        return None;
    }
    let mut known = Vec::with_capacity(events.len());
    for (at, text) in events.iter().enumerate() {
        let pointer = format!("/events/{at}");
        let Some(pattern) = faults.take(&pointer, "INVALID_PATTERN", Pattern::parse(text)) else { continue };
        let name = match dialect {
            Dialect::Standard => Some(text.as_str()),
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

fn project(given: Given<Project>, otherwise: Option<String>, faults: &mut Faults) -> Option<String> {
    match given {
        Given::Absent => otherwise,
        Given::Null => None,
        Given::Value(project) => {
            let label = faults.take("/project", "INVALID_FIELD", Label::parse(project.to_text()))?;
            Some(label.as_str().to_owned())
        }
    }
}

fn timeout(given: Option<u32>, otherwise: i32, faults: &mut Faults) -> Option<i32> {
    let Some(given) = given else { return Some(otherwise) };
    if !TIMEOUTS_MS.contains(&given) {
        faults.add("/timeout_ms", "OUT_OF_RANGE", "timeout_ms is 1,000 to 10,000");
        return None;
    }
    i32::try_from(given).ok()
}

fn retry(given: &RetryBody, base: RetryPolicy, faults: &mut Faults) -> Option<RetryPolicy> {
    let policy = RetryPolicy::try_new(
        given.max_attempts.unwrap_or(base.max_attempts().into()),
        given.first_ms.unwrap_or(base.first_ms()),
        given.factor.unwrap_or(base.factor().into()),
        given.max_ms.unwrap_or(base.max_ms()),
    );
    let pointer = match policy {
        Err(busbar_domain::retry::InvalidRetryPolicy::MaxAttempts) => "/retry/max_attempts",
        Err(busbar_domain::retry::InvalidRetryPolicy::First) => "/retry/first_ms",
        Err(busbar_domain::retry::InvalidRetryPolicy::Factor) => "/retry/factor",
        Err(busbar_domain::retry::InvalidRetryPolicy::Longest) => "/retry/max_ms",
        Ok(_) => "/retry",
    };
    faults.take(pointer, "OUT_OF_RANGE", policy)
}

fn in_flight(given: Given<u32>, otherwise: Option<i32>, faults: &mut Faults) -> Option<i32> {
    match given {
        Given::Absent => otherwise,
        Given::Null => None,
        Given::Value(most) if (1..=MAX_IN_FLIGHT).contains(&most) => i32::try_from(most).ok(),
        Given::Value(_) => {
            faults.add("/max_in_flight", "OUT_OF_RANGE", format!("max_in_flight is 1 to {MAX_IN_FLIGHT}"));
            None
        }
    }
}
