//! The five services as processes, with a database and queues of their own and one subscriber, to be killed at will.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use busbar_domain::Clock;
use busbar_domain::api_key::Scope;
use busbar_domain::id::{ApiKeyId, TenantId, WebhookId};
use busbar_messaging::topology;
use busbar_runtime::{Settings, parts, settings};
use busbar_sandbox::load::Exchange;
use busbar_sandbox::processes::{Processes, Service};
use busbar_storage::api_keys::{self, NewApiKey};
use busbar_storage::seal::Keyring;
use busbar_storage::tenants::{self, Plan, Tenant};
use busbar_storage::{Database, migrate, scratch};
use busbar_testkit::eventually;
use busbar_testkit::instances::{Folder, steady_port};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Mutex, MutexGuard};

use crate::books::{Books, EVENT, HOLE_EVENT};
use crate::client::{Client, ask};
use crate::more::add_webhook;

/// Every service.
pub(crate) const SERVICES: [&str; 5] = ["ingress", "processor", "delivery", "scheduler", "admin"];
/// How long a service may take until it is ready, on a machine that is busy.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long what is owed may take to arrive once nothing is broken any more.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Tests of one process take turns, whichever runner starts them.
static TURN: Mutex<()> = Mutex::const_new(());

/// A hub whose services are processes.
pub(crate) struct Stage {
    pub(crate) books: Books,
    pub(crate) client: Client,
    processes: Option<Processes>,
    server: SecretString,
    settings: Settings,
    name: String,
    told: Vec<(String, String, String)>,
    addresses: BTreeMap<(String, &'static str), SocketAddr>,
    _folder: Folder,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    /// A hub on the servers that the environment names, for so many events; no service runs yet.
    pub(crate) async fn prepare(events: u64) -> Self {
        Self::prepare_on(None, None, events).await
    }

    /// A hub on servers of the test's own.
    pub(crate) async fn prepare_on(server: Option<SecretString>, broker: Option<SecretString>, events: u64) -> Self {
        Box::pin(Self::make(server, broker, events)).await
    }

    async fn make(server: Option<SecretString>, broker: Option<SecretString>, events: u64) -> Self {
        let turn = TURN.lock().await;
        busbar_runtime::process::install_tls_provider();
        let mut settings = Settings::load(None, settings::environment()).unwrap();
        let name = format!("busbar_faults_{:016x}", fastrand::u64(..));
        let server = server.unwrap_or_else(|| settings.database.url.clone());
        settings.database.url = scratch::database_url(&server, &name);
        settings.broker.url = broker.unwrap_or_else(|| settings.broker.url.clone());
        settings.broker.namespace.clone_from(&name);
        settings.secrets.master_key = Some(SecretString::from(Keyring::generate(1)));

        let (books, folder) = (Books::open(events), Folder::make());
        let stage = Self {
            client: Client::new(books.key.expose()),
            books,
            processes: Some(Processes::new(folder.path()).unwrap()),
            server,
            settings,
            name,
            told: Vec::new(),
            addresses: BTreeMap::new(),
            _folder: folder,
            _turn: turn,
        };
        scratch::create_database(&stage.server, &stage.name).await.unwrap();
        let database = parts::database(&stage.settings, "test").unwrap();
        migrate::apply(&database).await.unwrap();
        furnish(&database, &stage.books).await;
        database.close().await;
        topology::apply(&parts::broker(&stage.settings).unwrap()).await.unwrap();
        stage
    }

    /// Where the database is.
    pub(crate) fn database(&self) -> &SecretString {
        &self.settings.database.url
    }

    /// The master keys of every service.
    pub(crate) fn master_key(&self) -> &str {
        self.settings.secrets.master_key.as_ref().map_or("", SecretString::expose_secret)
    }

    /// A pool of the database.
    pub(crate) fn pool(&self) -> Database {
        parts::database(&self.settings, "test").unwrap()
    }

    /// Where the broker is.
    pub(crate) fn broker(&self) -> &SecretString {
        &self.settings.broker.url
    }

    /// Sets an environment variable of a service from its next start on.
    pub(crate) fn tell(&mut self, service: &str, variable: &str, value: impl Into<String>) {
        self.told.push((service.to_owned(), variable.to_owned(), value.into()));
    }

    /// Starts services and waits until all are ready. `ingress-b` is a second ingress.
    pub(crate) async fn start(&mut self, services: &[&str]) {
        for service in services {
            self.launch(service);
        }
        self.ready(services).await;
    }

    /// Starts a service, or starts it again, and does not wait for it.
    pub(crate) fn launch(&mut self, name: &str) {
        let role = name.split('-').next().unwrap_or(name);
        let ops = self.address(name, "ops");
        let mut environment = self.environment();
        environment.push((format!("BUSBAR_{}__OPS_LISTEN", role.to_uppercase()), ops.to_string()));
        if ["ingress", "admin"].contains(&role) {
            let listen = self.address(name, "listen").to_string();
            environment.push((format!("BUSBAR_{}__LISTEN", role.to_uppercase()), listen));
        }
        let told = self.told.iter().filter(|(service, _, _)| service == name);
        environment.extend(told.map(|(_, variable, value)| (variable.clone(), value.clone())));
        let service =
            Service { name: name.to_owned(), program: program(role), arguments: Vec::new(), environment, ops };
        self.processes().start(service).unwrap();
    }

    /// Waits until services are ready.
    pub(crate) async fn ready(&mut self, services: &[&str]) {
        for service in services {
            self.processes().wait_ready(service, READY_WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// Kills a service as a crash would.
    pub(crate) async fn kill(&mut self, service: &str) {
        self.processes().kill(service).await.unwrap();
    }

    /// The processes, to be signalled.
    pub(crate) fn processes(&mut self) -> &mut Processes {
        self.processes.as_mut().unwrap()
    }

    /// Whether the process of a service is the one that was started.
    pub(crate) fn pids(&self, services: &[&str]) -> Vec<Option<u32>> {
        services.iter().map(|service| self.processes.as_ref().unwrap().pid(service)).collect()
    }

    /// Where a service listens: `listen` or `ops`; the same after a restart.
    pub(crate) fn address(&mut self, service: &str, which: &'static str) -> SocketAddr {
        let fresh = || SocketAddr::from((Ipv4Addr::LOCALHOST, steady_port()));
        *self.addresses.entry((service.to_owned(), which)).or_insert_with(fresh)
    }

    /// Where the ingress listens.
    pub(crate) fn door(&mut self) -> SocketAddr {
        self.address("ingress", "listen")
    }

    /// The only value of the only row that a statement answers.
    pub(crate) async fn ask(&self, statement: &str) -> String {
        ask(self.database(), statement).await
    }

    /// The value of a metric of a service, summed over its labels.
    pub(crate) async fn metric(&mut self, service: &str, name: &str) -> f64 {
        let ops = self.address(service, "ops");
        let mut exchange = Exchange::open(ops).await.unwrap();
        let reply = exchange.send(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let text = String::from_utf8_lossy(reply.body).into_owned();
        let lines = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The memory that a service holds, in KiB.
    pub(crate) fn memory(&self, service: &str) -> u64 {
        let pid = self.processes.as_ref().unwrap().pid(service).expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Waits until a further delivery arrives.
    pub(crate) async fn progress(&self, patience: Duration) {
        let before = self.books.ledger.arrivals();
        let arrives = || async { (self.books.ledger.arrivals() > before).then_some(()) };
        eventually("a further delivery", patience, arrives).await;
    }

    /// Waits until no delivery is open any more.
    pub(crate) async fn quiet(&self) {
        eventually("every delivery having succeeded", PATIENCE, || async {
            let open = self.ask("select count(*) from deliveries where state <> 'succeeded'").await;
            (open == "0").then_some(())
        })
        .await;
    }

    fn environment(&self) -> Vec<(String, String)> {
        [
            ("DATABASE__URL", self.settings.database.url.expose_secret()),
            ("BROKER__URL", self.settings.broker.url.expose_secret()),
            ("BROKER__NAMESPACE", &self.settings.broker.namespace),
            ("SECRETS__MASTER_KEY", self.master_key()),
            ("EGRESS__ALLOW", "127.0.0.0/8"),
            ("LOG__FORMAT", "json"),
            ("LOG__FILTER", "info"),
            ("DRAIN__READY_OFF_MS", "0"),
        ]
        .map(|(name, value)| (format!("BUSBAR_{name}"), value.to_owned()))
        .into()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (service, _) in self.addresses.keys().filter(|(_, which)| *which == "ops") {
                let log = self.processes.as_ref().map(|processes| processes.log_tail(service)).unwrap_or_default();
                eprintln!("the log of {service} ends:\n{log}");
            }
        }
        self.processes = None;
        let (server, name, broker) = (self.server.clone(), self.name.clone(), parts::broker(&self.settings));
        // A runtime cannot be entered from within another, so what is left is removed from a thread.
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let removed = async {
                    let _gone = scratch::drop_database(&server, &name).await;
                    if let Ok(broker) = broker {
                        let _gone = topology::remove(&broker).await;
                    }
                };
                let _late = tokio::time::timeout(Duration::from_secs(10), removed).await;
            });
        });
        let _panicked = removing.join();
    }
}

/// The address in a URL.
pub(crate) fn address_of(url: &SecretString, default_port: u16) -> SocketAddr {
    let (_, authority, _) = split(url.expose_secret());
    let with_port = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:{default_port}") };
    with_port.to_socket_addrs().unwrap().next().expect("the server's name is known")
}

/// The same URL by way of another address; what is said there is not encrypted.
pub(crate) fn by_way_of(url: &SecretString, address: SocketAddr) -> String {
    let (before, _, after) = split(url.expose_secret());
    let plain = match (before.starts_with("postgres"), after.contains('?')) {
        (true, false) => "?sslmode=disable",
        (true, true) => "&sslmode=disable",
        (false, _) => "",
    };
    format!("{before}{address}{after}{plain}")
}

/// What stands before the authority's host, host and port, and what follows.
fn split(url: &str) -> (&str, &str, &str) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    let host = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    (&url[..host], &url[host..end], &url[end..])
}

/// A service's program, beside the folder of this one.
fn program(service: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().and_then(|folder| folder.parent()).unwrap();
    let program = folder.join(format!("busbar-{service}"));
    assert!(program.is_file(), "{} is missing; build it with `cargo build --workspace --bins`", program.display());
    program
}

/// One tenant with its key, its webhook, and a webhook that leads into the black hole.
async fn furnish(database: &Database, books: &Books) {
    let now = Clock::system().now();
    let tenant = Tenant { id: TenantId::new(now), name: "faults".into(), plan: Plan::Enterprise, created_at: now };
    let mut transaction = database.begin().await.unwrap();
    tenants::insert(&mut transaction, &tenant).await.unwrap();
    let scopes = &[Scope::Publish];
    let id = ApiKeyId::new(now);
    let key = NewApiKey { id, tenant: Some(tenant.id), name: "faults", key: &books.key, scopes, expires_at: None };
    api_keys::insert(&mut transaction, &key, now).await.unwrap();
    for (url, kind) in [(books.hook_url(), EVENT), (books.hole_url(), HOLE_EVENT)] {
        add_webhook(&mut transaction, database, tenant.id, WebhookId::new(now), &url, kind, &books.secret).await;
    }
    transaction.commit().await.unwrap();
}
