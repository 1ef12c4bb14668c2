//! Connectors by id, each with the keys that its callers sign with.

use std::sync::Arc;

use busbar_domain::Timestamp;
use busbar_domain::id::{ConnectorId, TenantId};
use busbar_domain::inbound::System;
use busbar_domain::secret::Key;
use uuid::Uuid;

use crate::access::CONNECTOR_SECRET;
use crate::seal::Place;
use crate::snapshot::{Cache, Changes};
use crate::{Database, Error};

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
