//! Endpoints by webhook id, with their keys made ready.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use busbar_domain::Timestamp;
use busbar_domain::custom_header::CustomHeader;
use busbar_domain::dialect::{Dialect, Signer};
use busbar_domain::id::{TenantId, WebhookId};
use busbar_domain::retry::RetryPolicy;
use busbar_domain::secret::Secret;
use busbar_domain::webhook::{Webhook, WebhookStatus};
use uuid::Uuid;

use crate::access::{WEBHOOK_HEADERS, WEBHOOK_SECRET};
use crate::seal::{self, Keyring, Place};
use crate::snapshot::{Cache, Changes};
use crate::{Database, Error};

/// A webhook with its keys made ready.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The webhook.
    pub webhook: Webhook,
    signer: Signer,
    overlapping: Option<(Signer, Timestamp)>,
}

impl Endpoint {
    /// Makes the keys of `webhook` ready; its old secret signs as well until `overlap`.
    pub fn new(webhook: Webhook, overlap: Option<Timestamp>) -> Self {
        let signer = Signer::new(webhook.dialect, &webhook.secret, None);
        let both = webhook.old_secret.as_ref().map(|old| Signer::new(webhook.dialect, &webhook.secret, Some(old)));
        Self { overlapping: both.zip(overlap), signer, webhook }
    }

    /// Signs for this webhook at `now`: with both secrets while a rotation's overlap lasts.
    pub fn signer(&self, now: Timestamp) -> &Signer {
        match &self.overlapping {
            Some((both, until)) if now < *until => both,
            Some(_) | None => &self.signer,
        }
    }
}

/// What is known of webhooks.
#[derive(Debug, Default)]
pub struct Known {
    /// Those that can be called.
    pub endpoints: HashMap<WebhookId, Arc<Endpoint>>,
    /// Those whose row cannot be read, such as one whose secret does not open.
    pub unreadable: HashSet<WebhookId>,
}

/// Endpoints by webhook id.
#[derive(Debug)]
pub struct Endpoints {
    database: Database,
    cache: Cache<WebhookId, Endpoint>,
}

#[derive(sqlx::FromRow)]
struct EndpointRow {
    id: Uuid,
    tenant_id: Uuid,
    url: String,
    dialect: String,
    status: String,
    secret: Vec<u8>,
    old_secret: Option<Vec<u8>>,
    old_secret_until: Option<Timestamp>,
    timeout_ms: i32,
    retry_max_attempts: i32,
    retry_first_ms: i64,
    retry_factor: i32,
    retry_max_ms: i64,
    max_in_flight: Option<i32>,
    rate_limit: Option<i32>,
    headers: Option<Vec<u8>>,
    config_version: i64,
}

impl Endpoints {
    /// Reads through `database` and follows `changes`.
    pub fn new(database: Database, changes: Changes) -> Self {
        Self { database, cache: Cache::new(changes) }
    }

    /// The endpoints of `webhooks`; one that was deleted is not among them.
    ///
    /// A webhook whose row cannot be read bears that alone: it is named apart, and the others are answered.
    pub async fn of(&self, webhooks: impl IntoIterator<Item = WebhookId>) -> Result<Known, Error> {
        let mut known = Known::default();
        let found = &mut known.endpoints;
        let mut missing = Vec::new();
        for webhook in webhooks {
            if found.contains_key(&webhook) {
                continue;
            }
            match self.cache.get(&webhook) {
                Some(Some(endpoint)) => {
                    found.insert(webhook, endpoint);
                }
                Some(None) | None => missing.push(webhook.uuid()),
            }
        }
        if missing.is_empty() {
            return Ok(known);
        }
        let rows: Vec<EndpointRow> = sqlx::query_as(
            "select w.id, w.tenant_id, w.url, w.dialect, w.status, w.secret, w.old_secret, w.old_secret_until,
                 w.timeout_ms, w.retry_max_attempts, w.retry_first_ms, w.retry_factor, w.retry_max_ms,
                 w.max_in_flight, w.rate_limit, w.headers, t.config_version
             from webhooks w join tenants t on t.id = w.tenant_id where w.id = any($1) and w.deleted_at is null",
        )
        .bind(&missing)
        .fetch_all(self.database.pool())
        .await?;
        for row in rows {
            let (id, tenant, version) = (WebhookId::from(row.id), TenantId::from(row.tenant_id), row.config_version);
            match self.endpoint(row) {
                Ok(endpoint) => {
                    found.insert(id, self.cache.keep(id, tenant, version, endpoint));
                }
                Err(error) => {
                    tracing::error!(webhook = %id, %error, "a webhook cannot be read");
                    known.unreadable.insert(id);
                }
            }
        }
        Ok(known)
    }

    fn endpoint(&self, row: EndpointRow) -> Result<Endpoint, Error> {
        let broken = |what| Error::Inconsistent { table: "webhooks", row: row.id.to_string(), what };
        let place = Place { column: WEBHOOK_SECRET, row: row.id };
        let open = |sealed: &[u8]| -> Result<Secret, Error> { Ok(self.database.keyring().open(place, sealed)?) };
        let secret = open(&row.secret)?;
        let old_secret = row.old_secret.as_deref().map(open).transpose()?;
        let headers = row.headers.as_deref().map(|sealed| open_headers(self.database.keyring(), row.id, sealed));
        let dialect = Dialect::parse(&row.dialect).ok_or_else(|| broken("dialect"))?;
        let retry = RetryPolicy::try_new(
            u32::try_from(row.retry_max_attempts).unwrap_or(0),
            u64::try_from(row.retry_first_ms).unwrap_or(0),
            u32::try_from(row.retry_factor).unwrap_or(0),
            u64::try_from(row.retry_max_ms).unwrap_or(0),
        );
        let webhook = Webhook {
            id: row.id.into(),
            tenant: row.tenant_id.into(),
            url: row.url,
            dialect,
            status: WebhookStatus::parse(&row.status).ok_or(Error::Inconsistent {
                table: "webhooks",
                row: row.id.to_string(),
                what: "status",
            })?,
            secret,
            old_secret,
            timeout: Duration::from_millis(u64::try_from(row.timeout_ms).unwrap_or(10_000)),
            retry: retry.map_err(|_| Error::Inconsistent {
                table: "webhooks",
                row: row.id.to_string(),
                what: "retry",
            })?,
            max_in_flight: row.max_in_flight.and_then(|most| usize::try_from(most).ok()),
            rate_limit: row.rate_limit.and_then(|most| u32::try_from(most).ok()),
            headers: headers.transpose()?.unwrap_or_default(),
        };
        Ok(Endpoint::new(webhook, row.old_secret_until))
    }
}

/// Seals custom headers for their webhook's row; `None` if there are none.
pub fn seal_headers(keyring: &Keyring, webhook: WebhookId, headers: &[CustomHeader]) -> Result<Option<Vec<u8>>, Error> {
    if headers.is_empty() {
        return Ok(None);
    }
    let pairs: Vec<(&str, &str)> = headers.iter().map(|header| (header.name(), header.expose())).collect();
    let text = serde_json::to_vec(&pairs).map_err(|_| seal::Error::Broken)?;
    let place = Place { column: WEBHOOK_HEADERS, row: webhook.uuid() };
    Ok(Some(keyring.seal_bytes(place, &text)?))
}

/// Opens the custom headers of a webhook's row.
pub fn open_headers(keyring: &Keyring, webhook: Uuid, sealed: &[u8]) -> Result<Vec<CustomHeader>, Error> {
    let text = keyring.open_bytes(Place { column: WEBHOOK_HEADERS, row: webhook }, sealed)?;
    let pairs: Vec<(String, String)> = serde_json::from_slice(&text).map_err(|_| seal::Error::Broken)?;
    let headers = pairs.iter().map(|(name, value)| CustomHeader::parse(name, value));
    Ok(headers.collect::<Result<_, _>>().map_err(|_| seal::Error::Broken)?)
}
