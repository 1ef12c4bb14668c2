//! Whether this process can do its work: one named check per thing it needs, kept by whoever uses that thing.
//! A check whose owner is gone is down, so a task that died cannot leave a green light behind.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::shutdown::Shutdown;

/// All checks of one process; clones share them.
#[derive(Clone, Debug)]
pub struct Health {
    checks: Arc<Mutex<Checks>>,
    scope: Option<&'static str>,
    shutdown: Shutdown,
}

type Checks = BTreeMap<String, Slot>;

/// One check as it is kept.
#[derive(Debug)]
struct Slot {
    /// The registration that may change it: the latest of its name.
    owner: u64,
    /// Why it is down.
    reason: Option<String>,
}

static REGISTRATIONS: AtomicU64 = AtomicU64::new(0);

impl Health {
    /// No checks yet, hence not ready.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { checks: Arc::default(), scope: None, shutdown }
    }

    /// The same checks, with names that begin with `scope` and a dot: for several services in one process.
    #[must_use]
    pub fn scoped(&self, scope: &'static str) -> Self {
        Self { scope: Some(scope), ..self.clone() }
    }

    /// Adds a check, down with the reason `starting`; register all of them before the first one goes up.
    ///
    /// The check lives as long as the handle: once dropped, it is down with the reason `ended`.
    /// A name that is registered again passes to the new handle.
    #[must_use = "a dropped handle is a check that is down"]
    pub fn register(&self, name: &str) -> HealthHandle {
        let name = match self.scope {
            Some(scope) => format!("{scope}.{name}"),
            None => name.to_owned(),
        };
        let owner = REGISTRATIONS.fetch_add(1, Ordering::Relaxed);
        lock(&self.checks).insert(name.clone(), Slot { owner, reason: Some("starting".to_owned()) });
        HealthHandle { name, owner, checks: Arc::clone(&self.checks) }
    }

    /// What `/readyz` answers now.
    pub fn readiness(&self) -> Readiness {
        let checks: BTreeMap<String, Check> = lock(&self.checks)
            .iter()
            .map(|(name, slot)| (name.clone(), Check { ok: slot.reason.is_none(), reason: slot.reason.clone() }))
            .collect();
        let all_up = !checks.is_empty() && checks.values().all(|check| check.ok);
        let status = match (self.shutdown.is_draining(), all_up) {
            (true, _) => Status::Draining,
            (false, true) => Status::Ready,
            (false, false) => Status::Unready,
        };
        Readiness { status, checks }
    }

    /// Whether every check is up and no drain has begun; without checks it is not.
    pub fn is_ready(&self) -> bool {
        self.readiness().status == Status::Ready
    }
}

/// The owner's side of one check.
#[derive(Debug)]
pub struct HealthHandle {
    name: String,
    owner: u64,
    checks: Arc<Mutex<Checks>>,
}

impl HealthHandle {
    /// It works.
    pub fn up(&self) {
        self.set(None);
    }

    /// It does not work, and why; the reason is shown on the ops listener, so it holds no secret.
    pub fn down(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        let previous = match lock(&self.checks).get_mut(&self.name) {
            Some(slot) if slot.owner == self.owner => std::mem::replace(&mut slot.reason, reason.clone()),
            Some(_) | None => return,
        };
        match (previous, reason) {
            (Some(_), None) => tracing::info!(check = %self.name, "up"),
            (None, Some(reason)) => tracing::warn!(check = %self.name, %reason, "down"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

impl Drop for HealthHandle {
    fn drop(&mut self) {
        self.set(Some("ended".to_owned()));
    }
}

/// The body of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// The sum of the checks.
    pub status: Status,
    /// Every check by name.
    pub checks: BTreeMap<String, Check>,
}

/// Whether traffic is welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything works.
    Ready,
    /// Something does not work, or not yet.
    Unready,
    /// The process is on its way down.
    Draining,
}

/// One line of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Whether it works.
    pub ok: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A panic elsewhere cannot leave the map half written, so poisoning means nothing here.
fn lock(checks: &Mutex<Checks>) -> MutexGuard<'_, Checks> {
    checks.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn health() -> (Health, Shutdown) {
        let shutdown = Shutdown::immediate(Duration::from_secs(1));
        (Health::new(shutdown.clone()), shutdown)
    }

    #[test]
    fn nothing_is_ready_without_checks() {
        assert!(!health().0.is_ready());
    }

    #[test]
    fn one_check_that_is_down_makes_it_unready_and_is_named() {
        let (health, _) = health();
        let broker = health.register("broker");
        let database = health.scoped("admin").register("database");
        assert_eq!(health.readiness().checks["broker"].reason.as_deref(), Some("starting"));
        broker.up();
        database.up();
        assert!(health.is_ready());

        broker.down("connection refused");
        let body = serde_json::to_value(health.readiness()).unwrap();
        let expected = json!({"status": "unready", "checks": {
            "admin.database": {"ok": true},
            "broker": {"ok": false, "reason": "connection refused"},
        }});
        assert_eq!(body, expected);
    }

    #[test]
    fn a_check_whose_owner_is_gone_is_down() {
        let (health, _) = health();
        let consumer = health.register("consumer");
        consumer.up();
        drop(consumer);
        assert_eq!(health.readiness().checks["consumer"].reason.as_deref(), Some("ended"));
    }

    #[test]
    fn a_check_that_is_registered_again_belongs_to_the_new_handle() {
        let (health, _) = health();
        let old = health.register("broker");
        let new = health.register("broker");
        new.up();
        drop(old);
        assert!(health.is_ready());
    }

    #[test]
    fn a_drain_makes_it_unready_at_once() {
        let (health, shutdown) = health();
        let broker = health.register("broker");
        broker.up();
        shutdown.trigger();
        assert_eq!(health.readiness().status, Status::Draining);
    }
}
