//! What every service is assembled from, made from its settings: database, clock, changes, broker, guarded door.
//! Each part reports its own health; a part that is down at the start is waited for, not died of.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use busbar_domain::Clock;
use busbar_egress::{Egress, Limits, Policy, Surroundings};
use busbar_messaging::{HealthReport, Namespace, Publisher};
use busbar_storage::seal::Keyring;
use busbar_storage::snapshot::Changes;
use busbar_storage::{Database, migrate};
use secrecy::ExposeSecret;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::health::{Health, HealthHandle};
use crate::process::Context;
use crate::settings::{QueueType, Settings};

/// The parts that every service has.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub database: Database,
    /// The clock, corrected by the database's.
    pub clock: Clock,
    /// Which tenants' configuration has changed.
    pub changes: Changes,
    watchers: JoinSet<()>,
    stop: CancellationToken,
}

impl Parts {
    /// Opens the database and waits until its schema is the expected one, or until the service must stop.
    pub async fn open(settings: &Settings, context: &Context) -> anyhow::Result<Self> {
        let (database, clock, changes) = (database(settings, context.service)?, Clock::system(), Changes::default());
        let (mut watchers, stop) = (JoinSet::new(), CancellationToken::new());
        let health = context.health.register("database");
        while let Err(error) = migrate::check(&database).await {
            health.down(error.to_string());
            tracing::warn!(%error, "waiting for the database");
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = context.shutdown.stop() => anyhow::bail!("stopped while waiting for the database: {error}"),
            }
        }
        watchers.spawn({
            let (database, clock, stop) = (database.clone(), clock.clone(), stop.clone());
            async move { database.watch(&clock, &stop, |answer| report(&health, answer)).await }
        });
        watchers.spawn({
            let (database, clock, changes, stop) = (database.clone(), clock.clone(), changes.clone(), stop.clone());
            async move { changes.watch(&database, &clock, &stop).await }
        });
        Ok(Self { database, clock, changes, watchers, stop })
    }

    /// Ends what runs beside the service, then closes the database.
    pub async fn close(mut self) {
        self.stop.cancel();
        while self.watchers.join_next().await.is_some() {}
        self.database.close().await;
    }
}

/// The database that the settings name; nothing is connected yet.
pub fn database(settings: &Settings, service: &str) -> anyhow::Result<Database> {
    let keyring = match &settings.secrets.master_key {
        Some(keys) => Keyring::parse(keys.expose_secret()).context("secrets.master_key")?,
        None => Keyring::empty(),
    };
    let config = busbar_storage::Config {
        url: settings.database.url.clone(),
        max_connections: settings.database.max_connections,
        statement_timeout: Duration::from_millis(settings.database.statement_timeout_ms),
        application_name: format!("busbar-{service}"),
    };
    Database::new(&config, keyring).context("database.url")
}

/// The broker that the settings name.
pub fn broker(settings: &Settings) -> anyhow::Result<busbar_messaging::Config> {
    Ok(busbar_messaging::Config {
        url: settings.broker.url.clone(),
        namespace: Namespace::parse(&settings.broker.namespace).context("broker.namespace")?,
        queue_type: match settings.broker.queue_type {
            QueueType::Classic => busbar_messaging::QueueType::Classic,
            QueueType::Quorum => busbar_messaging::QueueType::Quorum,
        },
        backlog_limit: settings.broker.backlog_limit,
    })
}

/// A publisher of wake-ups that reports its health as `publisher`.
pub fn publisher(settings: &Settings, health: &Health) -> anyhow::Result<Publisher> {
    Publisher::start(broker(settings)?, health_report(health, "publisher")).context("broker")
}

/// The rules of the guarded door.
pub fn egress_policy(settings: &Settings) -> anyhow::Result<Policy> {
    let written = |ranges: &[ipnet::IpNet]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>();
    let rules = &settings.egress;
    Policy::parse(&written(&rules.allow), &written(&rules.deny), rules.require_https).context("egress")
}

/// The guarded door.
pub fn egress(settings: &Settings) -> anyhow::Result<Egress> {
    let limits = Limits { response_cap: settings.delivery.response_cap_bytes, ..Limits::default() };
    let surroundings =
        Surroundings { name_servers: settings.egress.name_servers.clone(), ca_file: settings.egress.ca_file.clone() };
    Egress::with_surroundings(egress_policy(settings)?, limits, &surroundings).context("egress")
}

/// A check named `name` that follows what a connection to the broker says of itself.
pub fn health_report(health: &Health, name: &str) -> HealthReport {
    let handle = Mutex::new(health.register(name));
    Arc::new(move |state| report(&handle.lock().unwrap_or_else(PoisonError::into_inner), state))
}

fn report(handle: &HealthHandle, state: Result<(), String>) {
    match state {
        Ok(()) => handle.up(),
        Err(reason) => handle.down(reason),
    }
}
