//! Subscriptions by tenant: which webhooks an event is owed to.

use std::collections::HashMap;
use std::sync::Arc;

use busbar_domain::event::Label;
use busbar_domain::filter::Filter;
use busbar_domain::id::{TenantId, WebhookId};
use busbar_domain::subscription::{Pattern, Subscription, Subscriptions};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::snapshot::{Cache, Changes};
use crate::{Database, Error};

/// Subscriptions by tenant.
#[derive(Debug)]
pub struct Plans {
    database: Database,
    cache: Cache<TenantId, Subscriptions>,
}

type SubscriptionRow = (Uuid, i64, Option<Uuid>, Option<Vec<String>>, Option<String>, Option<String>);

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
            if found.contains_key(&tenant) || missing.contains(&tenant) {
                continue;
            }
            match self.cache.get(&tenant) {
                Some(Some(known)) => {
                    found.insert(tenant, known);
                }
                Some(None) | None => missing.push(tenant),
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

    /// The subscriptions of `tenants` as `conn` sees them now, past what is cached.
    pub async fn read(
        &self,
        conn: &mut PgConnection,
        tenants: impl IntoIterator<Item = TenantId>,
    ) -> Result<HashMap<TenantId, Subscriptions>, Error> {
        let tenants: Vec<Uuid> = tenants.into_iter().map(TenantId::uuid).collect();
        let rows: Vec<SubscriptionRow> = sqlx::query_as(
            "select t.id, t.config_version, w.id, w.events, w.project, w.filter from tenants t
             left join webhooks w on w.tenant_id = t.id and w.deleted_at is null and w.status <> 'disabled'
             where t.id = any($1) order by t.id, w.id",
        )
        .bind(tenants)
        .fetch_all(conn)
        .await?;
        let mut by_tenant: HashMap<TenantId, (i64, Vec<Subscription>)> = HashMap::new();
        for (tenant, version, webhook, events, project, filter) in rows {
            let (_, all) = by_tenant.entry(tenant.into()).or_insert_with(|| (version, Vec::new()));
            all.extend(webhook.map(|webhook| subscription(webhook.into(), events, project, filter)));
        }
        Ok(by_tenant.into_iter().map(|(tenant, (version, all))| (tenant, Subscriptions::new(version, all))).collect())
    }

    async fn load(&self, tenants: &[TenantId]) -> Result<Vec<(TenantId, Arc<Subscriptions>)>, Error> {
        let mut conn = self.database.acquire().await?;
        let read = self.read(&mut conn, tenants.iter().copied()).await?;
        let keep = |(tenant, known): (TenantId, Subscriptions)| {
            (tenant, self.cache.keep(tenant, tenant, known.version(), known))
        };
        Ok(read.into_iter().map(keep).collect())
    }
}

/// A subscription as far as its row can be read: what was written by hand and cannot be, holds up nobody. A pattern
/// that is none is never heard, and a project or filter that is none keeps nothing away, since it is better to hear
/// too much than to miss something.
fn subscription(
    webhook: WebhookId,
    events: Option<Vec<String>>,
    project: Option<String>,
    filter: Option<String>,
) -> Subscription {
    let broken = |what| tracing::error!(%webhook, what, "a subscription cannot be read whole");
    let events = events.unwrap_or_default();
    let patterns: Vec<Pattern> = events.iter().filter_map(|event| Pattern::parse(event).ok()).collect();
    if patterns.len() < events.len() {
        broken("events");
    }
    let project = project.and_then(|project| Label::parse(project).map_err(|_| broken("project")).ok());
    let filter = filter.and_then(|filter| Filter::parse(&filter).map_err(|_| broken("filter")).ok());
    Subscription { webhook, patterns, project, filter }
}
