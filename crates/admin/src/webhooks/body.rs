//! What a request wants of a webhook, and whether it may have it: the rules are the same at every door.
//!
//! A URL is vetted by the guarded door before it is stored; only what is given is vetted again.

use busbar_domain::dialect::Dialect;
use busbar_domain::id::WebhookId;
use busbar_domain::retry::RetryPolicy;
use busbar_domain::webhook::WebhookStatus;
use busbar_storage::access::seal_headers;
use busbar_storage::webhooks::WebhookFields;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::desk::Desk;
use crate::error::ApiError;
use crate::fields::{Faults, Given, Project};
use crate::webhooks::headers::{GivenHeaders, Settled, headers};
use crate::webhooks::rules;

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
    /// How bodies are shaped and signed: `standard` (the default), `ptw`, `workpro` or `exact`.
    dialect: Option<String>,
    /// The one project that it hears; all of them, if absent.
    project: Option<Project>,
    /// The secret that signs; made by the hub, if absent.
    pub(super) secret: Option<String>,
    /// The total deadline of one attempt: 1,000 to 10,000, the default.
    timeout_ms: Option<u32>,
    /// When failed deliveries are tried again.
    retry: Option<RetryBody>,
    /// The most requests in flight to it at a time from one process of `delivery`: 1 to 1,000.
    max_in_flight: Option<u32>,
    /// The most requests to it in one second, over all processes: 1 to 10,000; as many as it takes, if absent.
    rate_limit: Option<u32>,
    /// What must be true of an event besides: an expression over `event` in the Common Expression Language.
    filter: Option<String>,
    /// Headers that every request to it bears, at most 20, by name; their values are secrets and never come back.
    #[schema(value_type = Option<HashMap<String, String>>)]
    headers: Option<GivenHeaders>,
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
    /// How bodies are shaped and signed: `standard`, `ptw`, `workpro` or `exact`.
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
    /// The most requests in flight to it at a time from one process of `delivery`: 1 to 1,000; null for the hub's own bound.
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    max_in_flight: Given<u32>,
    /// The most requests to it in one second, over all processes: 1 to 10,000; null for as many as it takes.
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    rate_limit: Given<u32>,
    /// What must be true of an event besides: an expression over `event` in the Common Expression Language; null for
    /// nothing.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    filter: Given<String>,
    /// All headers that every request to it bears, at most 20, by name; null for none. A value that is the mask
    /// `********` stays as it is; after a change of the URL's scheme, host or port every value must be given again.
    #[serde(default)]
    #[schema(value_type = Option<HashMap<String, String>>)]
    headers: Given<GivenHeaders>,
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
#[derive(Default)]
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
    rate_limit: Given<u32>,
    filter: Given<String>,
    headers: Given<GivenHeaders>,
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
            rate_limit: Given::of(body.rate_limit),
            filter: Given::of(body.filter),
            headers: Given::of(body.headers),
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
            rate_limit: body.rate_limit,
            filter: body.filter,
            headers: body.headers,
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
        rate_limit: None,
        filter: None,
        header_names: Vec::new(),
        headers: None,
    }
}

impl Wish {
    /// The same wish for the whole webhook: what is absent gets its default.
    pub(crate) fn replacing(self) -> Self {
        Self {
            project: self.project.or_null(),
            enabled: self.enabled.or(Some(true)),
            max_in_flight: self.max_in_flight.or_null(),
            rate_limit: self.rate_limit.or_null(),
            filter: self.filter.or_null(),
            headers: self.headers.or_null(),
            replaces: true,
            ..self
        }
    }

    /// What becomes of `base`, the webhook `id`; what cannot be is noted in `faults`.
    pub(crate) fn onto(self, id: WebhookId, base: WebhookFields, desk: &Desk, faults: &mut Faults) -> Option<Wanted> {
        let dialect = match &self.dialect {
            Some(name) => rules::dialect(name, faults)?,
            None => base.dialect,
        };
        let names_events = self.events.is_some() || self.replaces || dialect != base.dialect;
        let events = match self.events {
            Some(events) => events,
            None if self.replaces => Vec::new(),
            None => base.events.clone(),
        };
        let name = match self.name {
            None if !self.replaces => Some(base.name.clone()),
            given => faults.name("/name", given.as_deref()),
        };
        let url = match self.url {
            None if !self.replaces => Some(base.url.clone()),
            given => rules::url(given.as_deref(), desk, faults),
        };
        let events = if names_events { rules::patterns(&events, dialect, faults) } else { Some(events) };
        let project = rules::project(self.project, base.project.clone(), faults);
        let timeout_ms = if self.replaces { DEFAULT_TIMEOUT_MS } else { base.timeout_ms };
        let timeout_ms = rules::timeout(self.timeout_ms, timeout_ms, faults);
        let retry_base = if self.replaces { RetryPolicy::default() } else { base.retry };
        let retry = self.retry.map_or(Some(retry_base), |given| rules::retry(&given, retry_base, faults));
        let max_in_flight = rules::in_flight(self.max_in_flight, base.max_in_flight, faults);
        let rate_limit = rules::rate_limit(self.rate_limit, base.rate_limit, faults);
        let filter = rules::filter(self.filter, base.filter.clone(), faults);
        let settled = headers(self.headers, (id, &base), url.as_deref(), desk, faults);
        let fields = WebhookFields {
            name: name?,
            url: url?,
            events: events?,
            dialect,
            project,
            status: rules::status(base.status, self.enabled),
            timeout_ms: timeout_ms?,
            retry: retry?,
            max_in_flight,
            rate_limit,
            filter,
            header_names: base.header_names,
            headers: base.headers,
        };
        Some(Wanted { id, fields, headers: settled? })
    }
}

/// What a webhook shall be; nothing is sealed yet.
pub(crate) struct Wanted {
    id: WebhookId,
    fields: WebhookFields,
    headers: Settled,
}

impl Wanted {
    /// The fields as they are stored, with the custom headers sealed.
    pub(crate) fn seal(self, desk: &Desk) -> Result<(WebhookId, WebhookFields), ApiError> {
        let Settled::Set(headers) = self.headers else { return Ok((self.id, self.fields)) };
        let header_names = headers.iter().map(|header| header.name().to_owned()).collect();
        let headers = seal_headers(desk.database().keyring(), self.id, &headers)?;
        Ok((self.id, WebhookFields { header_names, headers, ..self.fields }))
    }
}
