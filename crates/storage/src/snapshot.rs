//! Configuration in memory: what the hot path knows of tenants without asking the database for each event.
//!
//! Every change of a tenant's configuration bumps its version before its own 2xx. An entry of an older version than
//! the newest one heard of is asked for again; NOTIFY says so at once, and a poll says so within a second.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use busbar_domain::id::TenantId;
use busbar_domain::{Clock, Timestamp};
use sqlx::PgConnection;
use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Database, Error};

const CHANNEL: &str = "busbar_changed";
const POLL: Duration = Duration::from_secs(1);
/// How far a poll looks back beyond the last one: longer than any change's transaction may take.
const LOOK_BACK: chrono::TimeDelta = chrono::TimeDelta::seconds(20);
/// How long an answer holds that no tenant's version guards: an unknown key, an operator's key.
const UNGUARDED: Duration = Duration::from_secs(1);
/// The most entries that no version guards; past it they are forgotten together.
const MOST_UNGUARDED: usize = 10_000;

/// The newest configuration version heard of, by tenant.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    newest: Arc<RwLock<HashMap<TenantId, i64>>>,
}

impl Changes {
    /// Listens and polls until `stop`.
    pub async fn watch(&self, database: &Database, clock: &Clock, stop: &CancellationToken) {
        let mut polled_at = clock.now();
        loop {
            let mut listener = PgListener::connect_with(database.pool()).await.ok();
            if let Some(listening) = &mut listener
                && listening.listen(CHANNEL).await.is_err()
            {
                listener = None;
            }
            // A listener that broke is made anew; until then the poll alone brings the changes.
            let reopen = tokio::time::Instant::now() + Duration::from_secs(if listener.is_some() { 60 } else { 1 });
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    heard = next_heard(listener.as_mut()) => match heard {
                        Some((tenant, version)) => self.hear(tenant, version),
                        None => break,
                    },
                    () = tokio::time::sleep(POLL) => {}
                }
                let now = clock.now();
                if now - polled_at >= chrono::TimeDelta::milliseconds(900) {
                    match changed_since(database, polled_at - LOOK_BACK).await {
                        Ok(changed) => {
                            polled_at = now;
                            for (tenant, version) in changed {
                                self.hear(tenant.into(), version);
                            }
                        }
                        Err(error) => tracing::debug!(%error, "changes of configuration cannot be polled"),
                    }
                }
                if tokio::time::Instant::now() >= reopen && listener.is_none() {
                    break;
                }
            }
        }
    }

    /// Takes note that `tenant`'s configuration is at least at `version`.
    pub fn hear(&self, tenant: TenantId, version: i64) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        let known = newest.entry(tenant).or_insert(version);
        *known = version.max(*known);
    }

    fn is_current(&self, tenant: TenantId, version: i64) -> bool {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        newest.get(&tenant).is_none_or(|known| *known <= version)
    }
}

/// The next change that was notified; `None` when there is no listener any more.
async fn next_heard(listener: Option<&mut PgListener>) -> Option<(TenantId, i64)> {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        let notification = listener.recv().await.ok()?;
        let parsed = notification
            .payload()
            .split_once(':')
            .and_then(|(tenant, version)| Some((tenant.parse::<Uuid>().ok()?.into(), version.parse().ok()?)));
        if parsed.is_some() {
            return parsed;
        }
    }
}

async fn changed_since(database: &Database, since: Timestamp) -> Result<Vec<(Uuid, i64)>, Error> {
    let changed = sqlx::query_as("select id, config_version from tenants where config_changed_at > $1")
        .bind(since)
        .fetch_all(database.pool());
    Ok(changed.await?)
}

/// Bumps a tenant's configuration version; part of every transaction that changes a webhook, connector or key.
pub async fn bump(conn: &mut PgConnection, tenant: TenantId, now: Timestamp) -> Result<(), Error> {
    sqlx::query(
        "with bumped as (
             update tenants set config_version = config_version + 1, config_changed_at = $2 where id = $1
             returning id, config_version
         )
         select pg_notify('busbar_changed', id || ':' || config_version) from bumped",
    )
    .bind(tenant.uuid())
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Entries by key, each guarded by its tenant's version.
#[derive(Debug)]
pub struct Cache<K, V> {
    changes: Changes,
    entries: RwLock<HashMap<K, Entry<V>>>,
}

#[derive(Debug)]
struct Entry<V> {
    guard: Guard,
    value: Option<Arc<V>>,
}

#[derive(Clone, Copy, Debug)]
enum Guard {
    Version(TenantId, i64),
    Until(Instant),
}

impl<K: Eq + Hash, V> Cache<K, V> {
    /// An empty cache that follows `changes`.
    pub fn new(changes: Changes) -> Self {
        Self { changes, entries: RwLock::default() }
    }

    /// What is known of `key`: `None` if it must be asked for, `Some(None)` if there is no such thing.
    pub fn get(&self, key: &K) -> Option<Option<Arc<V>>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(key)?;
        let current = match entry.guard {
            Guard::Version(tenant, version) => self.changes.is_current(tenant, version),
            Guard::Until(end) => Instant::now() < end,
        };
        current.then(|| entry.value.clone())
    }

    /// Keeps what was found for `key` while its tenant's configuration was at `version`.
    pub fn keep(&self, key: K, tenant: TenantId, version: i64, value: V) -> Arc<V> {
        let value = Arc::new(value);
        let entry = Entry { guard: Guard::Version(tenant, version), value: Some(Arc::clone(&value)) };
        self.entries.write().unwrap_or_else(PoisonError::into_inner).insert(key, entry);
        value
    }

    /// Keeps, for a moment, what no tenant's version guards.
    pub fn keep_briefly(&self, key: K, value: Option<V>) -> Option<Arc<V>> {
        let value = value.map(Arc::new);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MOST_UNGUARDED {
            entries.retain(|_, entry| matches!(entry.guard, Guard::Version(..)));
        }
        let guard = Guard::Until(Instant::now() + UNGUARDED);
        entries.insert(key, Entry { guard, value: value.clone() });
        value
    }

    /// Forgets `key`, so that it is asked for again.
    pub fn forget(&self, key: &K) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_holds_until_a_newer_version_is_heard_of() {
        let (changes, tenant) = (Changes::default(), TenantId::new(Clock::system().now()));
        let cache = Cache::new(changes.clone());
        assert!(cache.get(&1).is_none());
        cache.keep(1, tenant, 7, "seven");
        changes.hear(tenant, 7);
        assert_eq!(cache.get(&1).unwrap().as_deref(), Some(&"seven"));
        changes.hear(tenant, 8);
        assert!(cache.get(&1).is_none());
        changes.hear(tenant, 6);
        assert!(cache.get(&1).is_none());
    }

    #[test]
    fn what_was_loaded_before_a_change_and_kept_after_it_does_not_count() {
        let (changes, tenant) = (Changes::default(), TenantId::new(Clock::system().now()));
        let cache = Cache::new(changes.clone());
        changes.hear(tenant, 8);
        cache.keep(1, tenant, 7, "seven");
        assert!(cache.get(&1).is_none());
    }

    #[test]
    fn an_unknown_key_is_remembered_for_a_moment() {
        let cache: Cache<i32, ()> = Cache::new(Changes::default());
        cache.keep_briefly(1, None);
        assert_eq!(cache.get(&1), Some(None));
    }
}
