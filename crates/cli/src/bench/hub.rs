//! A hub for one round: database and queues of its own, one tenant with its webhooks, and the services as processes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use busbar_domain::api_key::Scope;
use busbar_domain::id::{ApiKeyId, TenantId, WebhookId};
use busbar_domain::inbound::System;
use busbar_domain::retry::RetryPolicy;
use busbar_domain::webhook::WebhookStatus;
use busbar_domain::{Clock, Timestamp};
use busbar_messaging::topology;
use busbar_runtime::{Settings, parts};
use busbar_sandbox::processes::{Processes, Service, free_addresses};
use busbar_storage::access::{CONNECTOR_SECRET, WEBHOOK_SECRET};
use busbar_storage::api_keys::{self, NewApiKey};
use busbar_storage::connectors::{self, NewConnector};
use busbar_storage::seal::{Keyring, Place};
use busbar_storage::tenants::{self, Plan as TenantPlan, Tenant};
use busbar_storage::webhooks::{self, WebhookFields};
use busbar_storage::{Database, PgConnection, migrate, scratch};
use secrecy::{ExposeSecret as _, SecretString};

use crate::bench::traffic::Traffic;
use crate::bench::{Options, loopback};

/// The services that an event passes through or that look after it.
pub(super) const SERVICES: [&str; 4] = ["ingress", "processor", "delivery", "scheduler"];
const READY_WITHIN: Duration = Duration::from_secs(30);
const GONE_WITHIN: Duration = Duration::from_secs(15);

/// A hub of one round.
pub(super) struct Hub {
    /// The settings that the caller gave, whose server the database is on.
    given: Settings,
    /// The settings of the services.
    own: Settings,
    database: String,
    pub(super) processes: Processes,
    pub(super) door: SocketAddr,
}

impl Hub {
    /// Chooses names; nothing exists yet but a folder for the logs.
    pub(super) fn prepare(settings: &Settings) -> anyhow::Result<Self> {
        let name = format!("busbar_bench_{}_{:08x}", std::process::id(), fastrand::u32(..));
        let mut own = settings.clone();
        own.database.url = scratch::database_url(&settings.database.url, &name);
        own.broker.namespace.clone_from(&name);
        own.secrets.master_key = Some(SecretString::from(Keyring::generate(1)));
        let processes = Processes::new(std::env::temp_dir().join(&name)).context("no folder for the logs")?;
        Ok(Self { given: settings.clone(), own, database: name, processes, door: loopback() })
    }

    /// Makes everything and waits until the services are ready.
    pub(super) async fn start(&mut self, options: &Options, traffic: &Traffic) -> anyhow::Result<()> {
        let binaries = binaries()?;
        scratch::create_database(&self.given.database.url, &self.database).await.context("no database for the run")?;
        let database = parts::database(&self.own, "bench")?;
        migrate::apply(&database).await?;
        furnish(&database, traffic).await?;
        database.close().await;
        topology::apply(&parts::broker(&self.own)?).await.context("no queues for the run")?;

        let mut free = free_addresses(SERVICES.len() + 1)?;
        self.door = free.pop().context("no free port")?;
        for ((name, program), ops) in SERVICES.into_iter().zip(binaries).zip(free) {
            let environment = self.environment(options, name, ops);
            let service = Service { name: name.to_owned(), program, arguments: Vec::new(), environment, ops };
            self.processes.start(service)?;
        }
        for name in SERVICES {
            self.processes.wait_ready(name, READY_WITHIN).await?;
        }
        Ok(())
    }

    /// What the services are told beyond the environment of this process.
    fn environment(&self, options: &Options, name: &str, ops: SocketAddr) -> Vec<(String, String)> {
        let master_key = self.own.secrets.master_key.as_ref().map_or("", SecretString::expose_secret);
        // A burst is measured to its end, so the door does not answer that it is busy.
        let burst = options.events().saturating_mul(u64::from(options.webhooks)).saturating_mul(2);
        let backlog = u64::from(self.own.broker.backlog_limit).max(burst).min(u32::MAX.into());
        [
            ("BUSBAR_DATABASE__URL".to_owned(), self.own.database.url.expose_secret().to_owned()),
            ("BUSBAR_BROKER__URL".to_owned(), self.own.broker.url.expose_secret().to_owned()),
            ("BUSBAR_BROKER__NAMESPACE".to_owned(), self.own.broker.namespace.clone()),
            ("BUSBAR_BROKER__BACKLOG_LIMIT".to_owned(), backlog.to_string()),
            ("BUSBAR_SECRETS__MASTER_KEY".to_owned(), master_key.to_owned()),
            ("BUSBAR_EGRESS__ALLOW".to_owned(), "127.0.0.0/8,::1/128".to_owned()),
            ("BUSBAR_INGRESS__LISTEN".to_owned(), self.door.to_string()),
            (format!("BUSBAR_{}__OPS_LISTEN", name.to_uppercase()), ops.to_string()),
            ("BUSBAR_LOG__FORMAT".to_owned(), "json".to_owned()),
            ("BUSBAR_LOG__FILTER".to_owned(), "warn".to_owned()),
            ("BUSBAR_DRAIN__READY_OFF_MS".to_owned(), "0".to_owned()),
        ]
        .into()
    }

    /// Where the database and the broker are.
    pub(super) const fn settings(&self) -> &Settings {
        &self.own
    }

    /// Ends the services and removes what was made; what cannot be removed is told and left.
    pub(super) async fn remove(mut self) {
        // What services write while they drain is of no interest.
        for name in SERVICES {
            let log = self.processes.log_tail(name);
            if !log.is_empty() {
                eprintln!("busbar bench: the log of {name} ends:\n{log}");
            }
        }
        self.processes.stop(GONE_WITHIN).await;
        if let Err(error) = scratch::drop_database(&self.given.database.url, &self.database).await {
            eprintln!("busbar bench: the database {} is left: {error}", self.database);
        }
        if let Ok(broker) = parts::broker(&self.own)
            && let Err(error) = topology::remove(&broker).await
        {
            eprintln!("busbar bench: the queues {}.* are left: {error}", self.database);
        }
        // A folder that stays in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(self.processes.folder());
    }
}

/// The services' programs, beside this one.
fn binaries() -> anyhow::Result<Vec<PathBuf>> {
    let own = std::env::current_exe().context("this program's own path is not known")?;
    let programs = SERVICES.map(|name| own.with_file_name(format!("busbar-{name}")));
    if let Some(missing) = programs.iter().find(|program| !program.is_file()) {
        anyhow::bail!("{} is missing; build all services with `cargo build --workspace`", missing.display());
    }
    Ok(programs.into())
}

/// One tenant, its key, its webhooks and its connector.
async fn furnish(database: &Database, traffic: &Traffic) -> anyhow::Result<()> {
    let now = Clock::system().now();
    let tenant = Tenant { id: TenantId::new(now), name: "bench".into(), plan: TenantPlan::Enterprise, created_at: now };
    let mut transaction = database.begin().await?;
    tenants::insert(&mut transaction, &tenant).await?;
    let key = NewApiKey {
        id: ApiKeyId::new(now),
        tenant: Some(tenant.id),
        name: "bench",
        key: &traffic.key,
        scopes: &[Scope::Publish],
        expires_at: None,
    };
    api_keys::insert(&mut transaction, &key, now).await?;
    let keyring = database.keyring();
    let place = Place { column: CONNECTOR_SECRET, row: traffic.connector.uuid() };
    let connector = NewConnector {
        id: traffic.connector,
        tenant: tenant.id,
        system: System::Erpops,
        name: "bench",
        config: b"{}",
        secret: &keyring.seal(place, &traffic.secret)?,
        secret_code: None,
        config_secrets: None,
    };
    connectors::insert(&mut transaction, &connector, now).await?;
    for (kind, url) in traffic.subscriptions() {
        subscribe(&mut transaction, keyring, tenant.id, traffic, url, &kind, now).await?;
    }
    Ok(transaction.commit().await?)
}

async fn subscribe(
    conn: &mut PgConnection,
    keyring: &Keyring,
    tenant: TenantId,
    traffic: &Traffic,
    url: String,
    kind: &str,
    now: Timestamp,
) -> anyhow::Result<()> {
    let id = WebhookId::new(now);
    let fields = WebhookFields {
        name: url.clone(),
        url,
        events: vec![kind.to_owned()],
        dialect: traffic.dialect(),
        project: None,
        status: WebhookStatus::Active,
        timeout_ms: 10_000,
        retry: RetryPolicy::default(),
        max_in_flight: None,
        rate_limit: None,
        filter: None,
        header_names: Vec::new(),
        headers: None,
    };
    let secret = keyring.seal(Place { column: WEBHOOK_SECRET, row: id.uuid() }, &traffic.secret)?;
    Ok(webhooks::insert(conn, tenant, id, &fields, &secret, now).await?)
}
