//! What the hot path knows of keys, connectors, subscriptions and endpoints, each through its cache.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use busbar_domain::Timestamp;
use busbar_domain::api_key::{ApiKey, KeyHash, Scope};
use busbar_domain::dialect::{Dialect, Signer};
use busbar_domain::event::Label;
use busbar_domain::id::{ApiKeyId, ConnectorId, TenantId, WebhookId};
use busbar_domain::inbound::System;
use busbar_domain::retry::RetryPolicy;
use busbar_domain::secret::{Key, Secret};
use busbar_domain::subscription::{Pattern, Subscription, Subscriptions};
use busbar_domain::webhook::{Webhook, WebhookStatus};
use uuid::Uuid;

use crate::seal::Place;
use crate::snapshot::{Cache, Changes};
use crate::{Database, Error};

/// Where a webhook's secrets are sealed.
pub const WEBHOOK_SECRET: &str = "webhooks|secret";
/// Where a connector's secrets are sealed.
pub const CONNECTOR_SECRET: &str = "connectors|secret";

/// Who calls, once their key is proven.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The key.
    pub key: ApiKeyId,
    /// Whose key it is; `None` for the platform's operator.
    pub tenant: Option<TenantId>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    hash: KeyHash,
    expires_at: Option<Timestamp>,
    revoked: bool,
}

impl Caller {
    /// Whether the caller may do what `needed` allows.
    pub fn may(&self, needed: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.covers(needed))
    }
}

/// API keys by their public part.
#[derive(Debug)]
pub struct Callers {
    database: Database,
    cache: Cache<String, Caller>,
}

type CallerRow = (Uuid, Option<Uuid>, Vec<u8>, Vec<String>, Option<Timestamp>, bool, Option<i64>);

impl Callers {
    /// Reads through `database` and follows `changes`.
    pub fn new(database: Database, changes: Changes) -> Self {
        Self { database, cache: Cache::new(changes) }
    }

    /// The caller that `credential` proves; `None` for anything that is no valid key at `now`.
    pub async fn find(&self, credential: &str, now: Timestamp) -> Result<Option<Arc<Caller>>, Error> {
        let Some(key) = ApiKey::parse(credential) else { return Ok(None) };
        let known = match self.cache.get(&key.key_id().to_owned()) {
            Some(known) => known,
            None => self.load(key.key_id()).await?,
        };
        Ok(known.filter(|caller| {
            let alive = !caller.revoked && caller.expires_at.is_none_or(|end| now < end);
            caller.hash.matches(&key.hash()) && alive
        }))
    }

    async fn load(&self, key_id: &str) -> Result<Option<Arc<Caller>>, Error> {
        let row: Option<CallerRow> = sqlx::query_as(
            "select k.id, k.tenant_id, k.hash, k.scopes, k.expires_at, k.revoked_at is not null, t.config_version
             from api_keys k left join tenants t on t.id = k.tenant_id where k.key_id = $1",
        )
        .bind(key_id)
        .fetch_optional(self.database.pool())
        .await?;
        let Some((id, tenant, hash, scopes, expires_at, revoked, version)) = row else {
            return Ok(self.cache.keep_briefly(key_id.to_owned(), None));
        };
        let broken = |what| Error::Inconsistent { table: "api_keys", row: key_id.to_owned(), what };
        let caller = Caller {
            key: id.into(),
            tenant: tenant.map(TenantId::from),
            scopes: scopes.iter().filter_map(|scope| Scope::parse(scope)).collect(),
            hash: KeyHash::from_bytes(&hash).ok_or_else(|| broken("hash"))?,
            expires_at,
            revoked,
        };
        Ok(match (caller.tenant, version) {
            (Some(tenant), Some(version)) => Some(self.cache.keep(key_id.to_owned(), tenant, version, caller)),
            _ => self.cache.keep_briefly(key_id.to_owned(), Some(caller)),
        })
    }
}

/// A connector as the door needs it.
#[derive(Clone, Debug)]
pub struct Connector {
    /// Its id.
    pub id: ConnectorId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The system at its other end.
    pub system: System,
    key: Key,
    old: Option<(Key, Timestamp)>,
}

impl Connector {
    /// The keys that are valid at `now`: one, or two while a rotation's overlap lasts.
    pub fn keys(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        let old = self.old.as_ref().filter(|(_, until)| now < *until).map(|(key, _)| key);
        std::iter::once(&self.key).chain(old)
    }
}

/// Connectors by id.
#[derive(Debug)]
pub struct Connectors {
    database: Database,
    cache: Cache<ConnectorId, Connector>,
}

type ConnectorRow = (Uuid, String, Vec<u8>, Option<Vec<u8>>, Option<Timestamp>, i64);

impl Connectors {
    /// Reads through `database` and follows `changes`.
    pub fn new(database: Database, changes: Changes) -> Self {
        Self { database, cache: Cache::new(changes) }
    }

    /// The connector with this id, if there is one.
    pub async fn find(&self, id: ConnectorId) -> Result<Option<Arc<Connector>>, Error> {
        if let Some(known) = self.cache.get(&id) {
            return Ok(known);
        }
        let row: Option<ConnectorRow> = sqlx::query_as(
            "select c.tenant_id, c.system, c.secret, c.old_secret, c.old_secret_until, t.config_version
             from connectors c join tenants t on t.id = c.tenant_id where c.id = $1 and c.deleted_at is null",
        )
        .bind(id.uuid())
        .fetch_optional(self.database.pool())
        .await?;
        let Some((tenant, system, secret, old_secret, old_until, version)) = row else {
            return Ok(self.cache.keep_briefly(id, None));
        };
        let place = Place { column: CONNECTOR_SECRET, row: id.uuid() };
        let open = |sealed: &[u8]| self.database.keyring().open(place, sealed).map(|secret| secret.text_key());
        let old = old_secret.map(|sealed| open(&sealed)).transpose()?;
        let connector = Connector {
            id,
            tenant: tenant.into(),
            system: System::parse(&system).ok_or(Error::Inconsistent {
                table: "connectors",
                row: id.to_string(),
                what: "system",
            })?,
            key: open(&secret)?,
            old: old.zip(old_until),
        };
        Ok(Some(self.cache.keep(id, tenant.into(), version, connector)))
    }
}

/// Subscriptions by tenant.
#[derive(Debug)]
pub struct Plans {
    database: Database,
    cache: Cache<TenantId, Subscriptions>,
}

type SubscriptionRow = (Uuid, i64, Option<Uuid>, Option<Vec<String>>, Option<String>);

impl Plans {
    /// Reads through `database` and follows `changes`.
    pub fn new(database: Database, changes: Changes) -> Self {
        Self { database, cache: Cache::new(changes) }
    }

    /// The subscriptions of `tenants`, as far as they exist.
    pub async fn of(
        &self,
        tenants: impl IntoIterator<Item = TenantId>,
    ) -> Result<HashMap<TenantId, Arc<Subscriptions>>, Error> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        for tenant in tenants {
            if found.contains_key(&tenant) || missing.contains(&tenant.uuid()) {
                continue;
            }
            match self.cache.get(&tenant) {
                Some(Some(known)) => {
                    found.insert(tenant, known);
                }
                Some(None) | None => missing.push(tenant.uuid()),
            }
        }
        if !missing.is_empty() {
            found.extend(self.load(&missing).await?);
        }
        Ok(found)
    }

    /// Asks for the subscriptions of `tenants` again, whatever is known.
    pub fn forget(&self, tenants: impl IntoIterator<Item = TenantId>) {
        for tenant in tenants {
            self.cache.forget(&tenant);
        }
    }

    async fn load(&self, tenants: &[Uuid]) -> Result<Vec<(TenantId, Arc<Subscriptions>)>, Error> {
        let rows: Vec<SubscriptionRow> = sqlx::query_as(
            "select t.id, t.config_version, w.id, w.events, w.project from tenants t
             left join webhooks w on w.tenant_id = t.id and w.deleted_at is null and w.status <> 'disabled'
             where t.id = any($1) order by t.id, w.id",
        )
        .bind(tenants)
        .fetch_all(self.database.pool())
        .await?;
        let mut by_tenant: HashMap<TenantId, (i64, Vec<Subscription>)> = HashMap::new();
        for (tenant, version, webhook, events, project) in rows {
            let (_, all) = by_tenant.entry(tenant.into()).or_insert_with(|| (version, Vec::new()));
            let Some(webhook) = webhook else { continue };
            let broken = |what| Error::Inconsistent { table: "webhooks", row: webhook.to_string(), what };
            let patterns =
                events.unwrap_or_default().iter().map(|event| Pattern::parse(event)).collect::<Result<_, _>>();
            all.push(Subscription {
                webhook: webhook.into(),
                patterns: patterns.map_err(|_| broken("events"))?,
                project: project.map(Label::parse).transpose().map_err(|_| broken("project"))?,
            });
        }
        Ok(by_tenant
            .into_iter()
            .map(|(tenant, (version, all))| {
                (tenant, self.cache.keep(tenant, tenant, version, Subscriptions::new(version, all)))
            })
            .collect())
    }
}

/// A webhook with its keys made ready.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The webhook.
    pub webhook: Webhook,
    signer: Signer,
    overlapping: Option<(Signer, Timestamp)>,
}

impl Endpoint {
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
                 w.max_in_flight, t.config_version
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
        let dialect = Dialect::parse(&row.dialect).ok_or_else(|| broken("dialect"))?;
        let retry = RetryPolicy::try_new(
            u32::try_from(row.retry_max_attempts).unwrap_or(0),
            u64::try_from(row.retry_first_ms).unwrap_or(0),
            u32::try_from(row.retry_factor).unwrap_or(0),
            u64::try_from(row.retry_max_ms).unwrap_or(0),
        );
        let signer = Signer::new(dialect, &secret, None);
        let overlapping = old_secret.as_ref().map(|old| Signer::new(dialect, &secret, Some(old)));
        Ok(Endpoint {
            webhook: Webhook {
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
            },
            signer,
            overlapping: overlapping.zip(row.old_secret_until),
        })
    }
}
