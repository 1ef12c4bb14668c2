//! Connectors by id, or by a secret that the hub has made, each with what its callers prove themselves with.

use std::sync::Arc;

use busbar_domain::Timestamp;
use busbar_domain::id::{ConnectorId, TenantId};
use busbar_domain::inbound::System;
use busbar_domain::secret::{Key, Secret};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::access::CONNECTOR_SECRET;
use crate::seal::Place;
use crate::snapshot::{Cache, Changes};
use crate::{Database, Error};

/// A connector as the door and the processor need it.
#[derive(Clone, Debug)]
pub struct Connector {
    /// Its id.
    pub id: ConnectorId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The system at its other end.
    pub system: System,
    /// Its configuration, compact JSON, without what is secret.
    pub config: Vec<u8>,
    /// Whether its door is closed for good.
    pub is_deleted: bool,
    current: Credential,
    old: Option<(Credential, Timestamp)>,
}

#[derive(Clone, Debug)]
struct Credential {
    secret: Secret,
    key: Key,
}

impl Connector {
    /// The keys that are valid at `now`: one, or two while a rotation's overlap lasts.
    pub fn keys(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        self.credentials(now).map(|credential| &credential.key)
    }

    /// The secrets that are valid at `now`: one, or two while a rotation's overlap lasts.
    pub fn secrets(&self, now: Timestamp) -> impl Iterator<Item = &Secret> {
        self.credentials(now).map(|credential| &credential.secret)
    }

    fn credentials(&self, now: Timestamp) -> impl Iterator<Item = &Credential> {
        let old = self.old.as_ref().filter(|(_, until)| now < *until).map(|(old, _)| old);
        std::iter::once(&self.current).chain(old)
    }
}

/// Connectors by id, and by secret.
#[derive(Debug)]
pub struct Connectors {
    database: Database,
    cache: Cache<ConnectorId, Connector>,
    /// By a hash of the secret, so that what was sent does not stay in memory.
    by_secret: Cache<[u8; 32], ConnectorId>,
}

type ConnectorRow = (Uuid, String, Vec<u8>, Option<Vec<u8>>, Option<Timestamp>, Vec<u8>, bool, i64);

impl Connectors {
    /// Reads through `database` and follows `changes`.
    pub fn new(database: Database, changes: Changes) -> Self {
        Self { database, cache: Cache::new(changes.clone()), by_secret: Cache::new(changes) }
    }

    /// The connector with this id, if there is one.
    pub async fn find(&self, id: ConnectorId) -> Result<Option<Arc<Connector>>, Error> {
        Ok(self.find_any(id).await?.filter(|connector| !connector.is_deleted))
    }

    /// The connector with this id, whether or not it was deleted.
    pub async fn find_any(&self, id: ConnectorId) -> Result<Option<Arc<Connector>>, Error> {
        if let Some(known) = self.cache.get(&id) {
            return Ok(known);
        }
        let row: Option<ConnectorRow> = sqlx::query_as(
            "select c.tenant_id, c.system, c.secret, c.old_secret, c.old_secret_until, c.config,
                 c.deleted_at is not null, t.config_version
             from connectors c join tenants t on t.id = c.tenant_id where c.id = $1",
        )
        .bind(id.uuid())
        .fetch_optional(self.database.pool())
        .await?;
        let Some((tenant, system, secret, old_secret, old_until, config, is_deleted, version)) = row else {
            return Ok(self.cache.keep_briefly(id, None));
        };
        let place = Place { column: CONNECTOR_SECRET, row: id.uuid() };
        let open = |sealed: &[u8]| {
            let secret = self.database.keyring().open(place, sealed)?;
            Ok::<_, Error>(Credential { key: secret.text_key(), secret })
        };
        let old = old_secret.map(|sealed| open(&sealed)).transpose()?;
        let connector = Connector {
            id,
            tenant: tenant.into(),
            system: System::parse(&system).ok_or(Error::Inconsistent {
                table: "connectors",
                row: id.to_string(),
                what: "system",
            })?,
            config,
            is_deleted,
            current: open(&secret)?,
            old: old.zip(old_until),
        };
        Ok(Some(self.cache.keep(id, tenant.into(), version, connector)))
    }

    /// The connector that `secret` was made for, whether or not it was deleted.
    ///
    /// Only what the hub has made finds one: what people choose may be alike. Whoever goes on with the connector still
    /// compares the secret, for an overlap may have ended.
    pub async fn find_by_secret(&self, secret: &[u8]) -> Result<Option<Arc<Connector>>, Error> {
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let known = match self.by_secret.get(&hash) {
            Some(known) => known,
            None => self.look_up(hash, secret).await?,
        };
        match known {
            Some(id) => self.find_any(*id).await,
            None => Ok(None),
        }
    }

    async fn look_up(&self, hash: [u8; 32], secret: &[u8]) -> Result<Option<Arc<ConnectorId>>, Error> {
        let codes = self.database.keyring().codes(secret);
        let row: Option<(Uuid, Uuid, i64)> = sqlx::query_as(
            "select c.id, c.tenant_id, t.config_version from connectors c join tenants t on t.id = c.tenant_id
             where c.secret_code = any($1)
             union all
             select c.id, c.tenant_id, t.config_version from connectors c join tenants t on t.id = c.tenant_id
             where c.old_secret_code = any($1)
             limit 1",
        )
        .bind(codes)
        .fetch_optional(self.database.pool())
        .await?;
        Ok(match row {
            Some((id, tenant, version)) => Some(self.by_secret.keep(hash, tenant.into(), version, id.into())),
            None => self.by_secret.keep_briefly(hash, None),
        })
    }
}
