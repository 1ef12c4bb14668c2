//! API keys by their public part, and who calls once a key is proven.

use std::sync::Arc;

use busbar_domain::Timestamp;
use busbar_domain::api_key::{ApiKey, KeyHash, Scope};
use busbar_domain::id::{ApiKeyId, TenantId};
use uuid::Uuid;

use crate::snapshot::{Cache, Changes};
use crate::{Database, Error};

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
