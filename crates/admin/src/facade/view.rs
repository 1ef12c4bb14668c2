//! Permit webhooks as the permit system shows them: these members, in this order, and no others.

use actix_web::HttpRequest;
use busbar_domain::secret::Secret;
use busbar_domain::webhook::WebhookStatus;
use busbar_storage::access::WEBHOOK_SECRET;
use busbar_storage::seal::Place;
use busbar_storage::webhooks::WebhookRecord;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::desk::Desk;
use crate::fields::Project;

/// A new permit webhook, with its secret once.
#[derive(Serialize, ToSchema)]
pub(super) struct CreatedPermitWebhook {
    id: Uuid,
    name: String,
    project: Option<Project>,
    url: String,
    /// The secret, as it was sent.
    secret: String,
    enabled: bool,
    events: Vec<String>,
}

/// A permit webhook.
#[derive(Serialize, ToSchema)]
pub(super) struct PermitWebhook {
    id: Uuid,
    name: String,
    project: Option<Project>,
    url: String,
    enabled: bool,
    events: Vec<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// When the last attempt began.
    last_sent_at: Option<DateTime<Utc>>,
    /// The status of its response.
    last_status_code: Option<i16>,
    /// What went wrong with it.
    last_error: Option<String>,
    /// Eight asterisks and the last four characters of the secret.
    secret_masked: Option<String>,
}

/// A page of permit webhooks.
#[derive(Serialize, ToSchema)]
pub(super) struct PermitPage {
    /// How many there are on all pages.
    count: i64,
    /// The URL of the next page.
    next: Option<String>,
    /// The URL of the page before.
    previous: Option<String>,
    /// The page, newest first.
    results: Vec<PermitWebhook>,
}

impl CreatedPermitWebhook {
    pub(super) fn new(record: WebhookRecord, secret: &Secret) -> Self {
        Self {
            id: record.id.uuid(),
            name: record.fields.name,
            project: record.fields.project.map(Project::of),
            url: record.fields.url,
            secret: secret.expose().to_owned(),
            enabled: record.fields.status != WebhookStatus::Disabled,
            events: record.fields.events,
        }
    }
}

impl PermitWebhook {
    pub(super) fn new(desk: &Desk, record: WebhookRecord) -> Self {
        let place = Place { column: WEBHOOK_SECRET, row: record.id.uuid() };
        let secret = desk.database().keyring().open(place, &record.secret);
        Self {
            id: record.id.uuid(),
            name: record.fields.name,
            project: record.fields.project.map(Project::of),
            url: record.fields.url,
            enabled: record.fields.status != WebhookStatus::Disabled,
            events: record.fields.events,
            created_at: record.created_at,
            updated_at: record.updated_at,
            last_sent_at: record.last.as_ref().map(|last| last.at),
            last_status_code: record.last.as_ref().and_then(|last| last.status),
            last_error: record.last.and_then(|last| last.error),
            secret_masked: secret.ok().map(|secret| secret.masked()),
        }
    }
}

impl PermitPage {
    /// Page number `page` of `pages`.
    pub(super) fn new(
        request: &HttpRequest,
        count: i64,
        (page, pages): (i64, i64),
        results: Vec<PermitWebhook>,
    ) -> Self {
        let connection = request.connection_info();
        let base = format!("{}://{}{}", connection.scheme(), connection.host(), request.path());
        Self {
            count,
            next: (page < pages).then(|| format!("{base}?page={}", page + 1)),
            previous: match page {
                1 => None,
                2 => Some(base),
                _ => Some(format!("{base}?page={}", page - 1)),
            },
            results,
        }
    }
}
