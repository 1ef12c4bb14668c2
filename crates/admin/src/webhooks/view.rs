//! A webhook as the generic routes show it: never with its secret or the values of its headers.

use std::collections::BTreeMap;

use busbar_domain::webhook::WebhookStatus;
use busbar_storage::webhooks::WebhookRecord;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fields::Project;
use crate::webhooks::body::RetryBody;
use crate::webhooks::headers::masked;

/// A webhook.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookView {
    /// Its id.
    id: Uuid,
    /// Its name, for people.
    name: String,
    /// Where it listens.
    url: String,
    /// What it hears.
    events: Vec<String>,
    /// How bodies are shaped and signed for it.
    dialect: &'static str,
    /// The one project that it hears; null for all of them.
    project: Option<Project>,
    /// Whether its owner wants it to get anything.
    enabled: bool,
    /// `active`; `paused` or `disabled` by its owner; `broken`: disabled by the hub.
    status: &'static str,
    /// Why the hub disabled it.
    status_reason: Option<String>,
    /// The total deadline of one attempt, in milliseconds.
    timeout_ms: i32,
    /// When failed deliveries are tried again.
    retry: RetryBody,
    /// The most requests in flight to it at a time from one process of `delivery`.
    max_in_flight: Option<i32>,
    /// The most requests to it in one second, over all processes.
    rate_limit: Option<i32>,
    /// What must be true of an event besides.
    filter: Option<String>,
    /// Headers that every request to it bears, with a mask in place of each value.
    #[schema(value_type = HashMap<String, String>)]
    headers: BTreeMap<String, &'static str>,
    /// Until when the secret before the last rotation signs as well.
    old_secret_until: Option<DateTime<Utc>>,
    /// When the last attempt began.
    last_sent_at: Option<DateTime<Utc>>,
    /// The status of its response.
    last_status_code: Option<i16>,
    /// What went wrong with it.
    last_error: Option<String>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was changed last.
    updated_at: DateTime<Utc>,
}

impl From<WebhookRecord> for WebhookView {
    fn from(record: WebhookRecord) -> Self {
        let fields = record.fields;
        Self {
            id: record.id.uuid(),
            name: fields.name,
            url: fields.url,
            events: fields.events,
            dialect: fields.dialect.as_str(),
            project: fields.project.map(Project::of),
            enabled: fields.status != WebhookStatus::Disabled,
            status: fields.status.as_str(),
            status_reason: record.status_reason,
            timeout_ms: fields.timeout_ms,
            retry: RetryBody {
                max_attempts: Some(fields.retry.max_attempts().into()),
                first_ms: Some(fields.retry.first_ms()),
                factor: Some(fields.retry.factor().into()),
                max_ms: Some(fields.retry.max_ms()),
            },
            max_in_flight: fields.max_in_flight,
            rate_limit: fields.rate_limit,
            filter: fields.filter,
            headers: masked(fields.header_names),
            old_secret_until: record.old_secret_until,
            last_sent_at: record.last.as_ref().map(|last| last.at),
            last_status_code: record.last.as_ref().and_then(|last| last.status),
            last_error: record.last.and_then(|last| last.error),
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}
