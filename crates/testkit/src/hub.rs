//! The five services in one process, with a tenant, its keys, and a receiver that plays its subscribers.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use busbar_domain::api_key::{ApiKey, Scope};
use busbar_domain::id::{ApiKeyId, TenantId};
use busbar_domain::{Clock, Timestamp};
use busbar_egress::{Answer, Egress, HeaderMap, HeaderName, HeaderValue, Limits, Method, Outgoing, Policy, Target};
use busbar_runtime::{Context, Health, Settings, Shutdown, parts};
use busbar_sandbox::{Receiver, Script};
use busbar_storage::api_keys::{self, NewApiKey};
use busbar_storage::tenants::{self, Plan, Tenant};
use busbar_storage::{Database, PgConnection};
use serde_json::Value;

use crate::eventually;
use crate::place::Place;

/// The longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running hub.
pub struct Hub {
    place: Option<Place>,
    settings: Arc<Settings>,
    shutdown: Shutdown,
    services: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
    health: Health,
    database: Database,
    client: Egress,
    receiver: Receiver,
    /// The tenant that the keys belong to.
    pub tenant: TenantId,
    /// A key of the tenant's admin.
    pub admin_key: String,
    /// A key of the platform's operator.
    pub operator_key: String,
}

/// A processor beside the hub's own, which ends when it is told to.
pub struct Processor {
    shutdown: Shutdown,
    thread: std::thread::JoinHandle<anyhow::Result<()>>,
}

impl Processor {
    /// Drains it.
    ///
    /// # Panics
    /// When it failed.
    pub async fn stop(self) {
        self.shutdown.trigger();
        let ended = tokio::task::spawn_blocking(move || self.thread.join()).await.expect("joining does not panic");
        ended.expect("the processor did not panic").expect("the processor did not fail");
    }
}

/// What a call was answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: bytes::Bytes,
}

impl Reply {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl Hub {
    /// Starts a hub with its own database and broker namespace and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a hub whose settings `change` has adjusted.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start_with(change: impl FnOnce(&mut Vec<(String, String)>)) -> Self {
        let place = Place::make(change).await;
        let settings = Arc::new(place.settings().clone());
        let shutdown = Shutdown::new(&settings.drain);
        let health = Health::new(shutdown.clone());
        let services = {
            let (settings, health, shutdown) = (Arc::clone(&settings), health.clone(), shutdown.clone());
            std::thread::spawn(move || run(&settings, &health, &shutdown))
        };
        let database = parts::database(&settings, "test").expect("the database's URL is good");
        let policy = Policy::parse(&["0.0.0.0/0".to_owned()], &[], false).expect("the policy is good");
        let client = Egress::new(policy, Limits { response_cap: 4 << 20, ..Limits::default() }).expect("a client");
        let receiver = Receiver::start(SocketAddr::from(([127, 0, 0, 1], 0)), Script::default()).expect("a receiver");
        let tenant = new_tenant(&database, "first").await;
        let hub = Self {
            admin_key: new_key(&database, Some(tenant), &[Scope::Admin]).await,
            operator_key: new_key(&database, None, &[Scope::Operator]).await,
            place: Some(place),
            settings,
            shutdown,
            services: Some(services),
            health,
            database,
            client,
            receiver,
            tenant,
        };
        eventually("every service being ready", PATIENCE, || async {
            (hub.health.is_ready() && hub.health.readiness().checks.len() >= 12).then_some(())
        })
        .await;
        hub
    }

    /// Starts another processor of this hub that consumes `queues`.
    pub fn another_processor(&self, queues: &[&str]) -> Processor {
        let mut settings = Settings::clone(&self.settings);
        settings.processor.queues = queues.iter().map(|&queue| queue.to_owned()).collect();
        let shutdown = Shutdown::new(&settings.drain);
        let context =
            Context { service: "processor", health: Health::new(shutdown.clone()), shutdown: shutdown.clone() };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            runtime.block_on(busbar_processor::run(Arc::new(settings), context))
        });
        Processor { shutdown, thread }
    }

    /// The settings of this hub.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The database of this hub.
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// A connection for looking at rows.
    ///
    /// # Panics
    /// When there is none to be had.
    pub async fn connection(&self) -> impl std::ops::DerefMut<Target = PgConnection> {
        self.database.acquire().await.expect("a connection")
    }

    /// Who plays the subscribers.
    pub const fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// A further tenant with an admin's key.
    pub async fn another_tenant(&self) -> (TenantId, String) {
        let tenant = new_tenant(&self.database, "another").await;
        (tenant, new_key(&self.database, Some(tenant), &[Scope::Admin]).await)
    }

    /// A key of the tenant with these scopes.
    pub async fn key(&self, scopes: &[Scope]) -> String {
        new_key(&self.database, Some(self.tenant), scopes).await
    }

    /// Calls the admin API as the tenant's admin.
    pub async fn admin(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let key = self.admin_key.clone();
        self.admin_as(&key, method, path, body).await
    }

    /// Calls the admin API with `key`.
    pub async fn admin_as(&self, key: &str, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let bytes = body.map_or_else(Vec::new, |body| serde_json::to_vec(body).unwrap_or_default());
        let url = format!("http://{}{path}", self.settings.admin.listen);
        self.call(method, &url, &[("x-api-key", key), ("content-type", "application/json")], bytes).await
    }

    /// Posts to the ingress as the tenant's admin.
    pub async fn ingest(&self, path: &str, body: &Value) -> Reply {
        let bytes = serde_json::to_vec(body).unwrap_or_default();
        let key = self.admin_key.clone();
        self.post(path, &[("x-api-key", &key), ("content-type", "application/json")], bytes).await
    }

    /// Posts `body` to the ingress with exactly these headers.
    pub async fn post(&self, path: &str, headers: &[(&'static str, &str)], body: Vec<u8>) -> Reply {
        let url = format!("http://{}{path}", self.settings.ingress.listen);
        self.call(Method::POST, &url, headers, body).await
    }

    async fn call(&self, method: Method, url: &str, headers: &[(&'static str, &str)], body: Vec<u8>) -> Reply {
        let target = Target::parse(url, self.client.policy()).expect("a good URL");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::try_from(*value).expect("a header"));
        }
        let outgoing = Outgoing { target: &target, headers: map, body: body.into(), deadline: PATIENCE };
        let Answer { status, headers, body, .. } = self.client.send(method, outgoing).await.expect("an answer");
        Reply { status, headers, body }
    }

    /// Makes a webhook at `path` of the receiver; answers its id and secret.
    ///
    /// # Panics
    /// When the hub refuses it.
    pub async fn webhook(&self, path: &str, dialect: &str, events: &[&str], more: Value) -> (String, String) {
        let url = format!("{}{path}", self.receiver.url());
        let mut body = serde_json::json!({ "name": path, "url": url, "events": events, "dialect": dialect });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name.as_str()] = value.clone();
        }
        let reply = self.admin(Method::POST, "/api/v1/webhooks", Some(&body)).await;
        assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
        let made = reply.json();
        let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
        (text("id"), text("secret"))
    }

    /// Waits until `count` calls have arrived at the receiver's `path` and answers them.
    pub async fn arrived(&self, path: &str, count: usize) -> Vec<busbar_sandbox::Received> {
        let what = format!("{count} calls at {path}");
        eventually(&what, PATIENCE, || async {
            let calls: Vec<_> = self.receiver.requests().into_iter().filter(|call| call.path == path).collect();
            (calls.len() >= count).then_some(calls)
        })
        .await
    }

    /// Drains the hub and removes what it was made of.
    ///
    /// # Panics
    /// When a service failed.
    pub async fn stop(mut self) {
        self.shutdown.trigger();
        let services = self.services.take().expect("it is stopped once");
        let ended = tokio::task::spawn_blocking(move || services.join()).await.expect("joining does not panic");
        ended.expect("no service panicked").expect("no service failed");
        self.receiver.stop();
        self.database.close().await;
        if let Some(place) = self.place.take() {
            place.remove().await;
        }
    }
}

/// The time of the machine, for what tests send.
pub fn now() -> Timestamp {
    Clock::system().now()
}

type Service = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

fn run(settings: &Arc<Settings>, health: &Health, shutdown: &Shutdown) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let of = |service| Context { service, health: health.scoped(service), shutdown: shutdown.clone() };
        let services: [Service; 5] = [
            Box::pin(busbar_ingress::run(Arc::clone(settings), of("ingress"))),
            Box::pin(busbar_admin::run(Arc::clone(settings), of("admin"))),
            Box::pin(busbar_processor::run(Arc::clone(settings), of("processor"))),
            Box::pin(busbar_delivery::run(Arc::clone(settings), of("delivery"))),
            Box::pin(busbar_scheduler::run(Arc::clone(settings), of("scheduler"))),
        ];
        futures_util::future::try_join_all(services).await.map(drop)
    })
}

async fn new_tenant(database: &Database, name: &str) -> TenantId {
    let now = now();
    let tenant = Tenant { id: TenantId::new(now), name: name.to_owned(), plan: Plan::Enterprise, created_at: now };
    let mut connection = database.acquire().await.expect("a connection");
    tenants::insert(&mut connection, &tenant).await.expect("a tenant");
    tenant.id
}

async fn new_key(database: &Database, tenant: Option<TenantId>, scopes: &[Scope]) -> String {
    let (key, now) = (ApiKey::generate("test"), now());
    let new = NewApiKey { id: ApiKeyId::new(now), tenant, name: "test", key: &key, scopes, expires_at: None };
    let mut connection = database.acquire().await.expect("a connection");
    api_keys::insert(&mut connection, &new, now).await.expect("a key");
    key.expose().to_owned()
}
