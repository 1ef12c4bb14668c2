//! One management API over a database of its own, called in process.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use actix_web::test::{self, TestRequest};
use busbar_admin::{Desk, Options};
use busbar_domain::Clock;
use busbar_domain::api_key::ApiKey;
use busbar_domain::event::{EventType, Label, NewEvent};
use busbar_domain::id::{EventId, TenantId};
use busbar_domain::trace::TraceContext;
use busbar_egress::Policy;
use busbar_messaging::{Namespace, Publisher, QueueType, topology};
use busbar_storage::accept::{Publication, Written};
use busbar_storage::access::Plans;
use busbar_storage::seal::Keyring;
use busbar_storage::snapshot::Changes;
use busbar_storage::{Config, Database, migrate, scratch};
use secrecy::SecretString;
use serde_json::Value;

type Sent = Pin<Box<dyn Future<Output = Answer>>>;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) replayed: bool,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Answer {
    /// The body, if the status is the expected one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.body
    }

    /// The codes of the fields at fault, with their pointers.
    pub(crate) fn faults(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let errors = self.body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| (text(&error["pointer"]), text(&error["code"]))).collect()
    }
}

pub(crate) struct Hub {
    send: Box<dyn Fn(TestRequest) -> Sent>,
    pub(crate) database: Database,
    pub(crate) clock: Clock,
    pub(crate) operator: String,
    pub(crate) broker: busbar_messaging::Config,
    publisher: Publisher,
    name: String,
}

/// A tenant with the key of its admin.
#[derive(Clone)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) key: String,
}

fn server_url() -> SecretString {
    #[expect(clippy::disallowed_methods, reason = "tests have no settings")]
    let url = std::env::var("BUSBAR_DATABASE__URL");
    url.unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".to_owned()).into()
}

fn broker_url() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests have no settings")]
    let url = std::env::var("BUSBAR_BROKER__URL");
    url.unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned())
}

impl Hub {
    /// A hub that may call loopback addresses and has a master key.
    pub(crate) async fn start() -> Self {
        Self::start_with(&["127.0.0.0/8"], Keyring::parse(&Keyring::generate(1)).unwrap()).await
    }

    pub(crate) async fn start_with(allow: &[&str], keyring: Keyring) -> Self {
        let clock = Clock::system();
        let name = format!("busbar_test_admin_{:016x}", fastrand::u64(..));
        scratch::create_database(&server_url(), &name).await.unwrap();
        let config = Config {
            url: scratch::database_url(&server_url(), &name),
            max_connections: 4,
            statement_timeout: Duration::from_secs(10),
            application_name: "test".to_owned(),
        };
        let database = Database::new(&config, keyring).unwrap();
        migrate::apply(&database).await.unwrap();
        let broker = busbar_messaging::Config {
            url: broker_url().into(),
            namespace: Namespace::parse(&name).unwrap(),
            queue_type: QueueType::Classic,
            backlog_limit: 1000,
        };
        let publisher = Publisher::start(broker.clone(), std::sync::Arc::new(|_| ())).unwrap();
        let operator = ApiKey::generate("test").expose().to_owned();
        let allow: Vec<String> = allow.iter().map(|&net| net.to_owned()).collect();
        let desk = Desk::new(Options {
            database: database.clone(),
            clock: clock.clone(),
            changes: Changes::default(),
            shop_order_patience: chrono::TimeDelta::seconds(120),
            policy: Policy::parse(&allow, &[], false).unwrap(),
            ingress_url: "https://in.example/".to_owned(),
            operator_key: Some(operator.clone().into()),
            publisher: publisher.clone(),
            public_openapi: "{}",
        });
        let app = std::rc::Rc::new(test::init_service(busbar_admin::application(desk)).await);
        let send = move |request: TestRequest| -> Sent {
            let app = std::rc::Rc::clone(&app);
            Box::pin(async move {
                let response = test::call_service(&*app, request.to_request()).await;
                let status = response.status();
                let replayed = response.headers().contains_key("idempotency-replayed");
                let bytes = test::read_body(response).await;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                Answer { status, replayed, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null), text }
            })
        };
        Self { send: Box::new(send), database, clock, operator, broker, publisher, name }
    }

    /// Sends a request as whoever holds `key`.
    pub(crate) async fn call(&self, key: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = TestRequest::with_uri(path).method(Method::from_bytes(method.as_bytes()).unwrap());
        if !key.is_empty() {
            request = request.insert_header(("x-api-key", key));
        }
        if let Some(body) = body {
            request = request.set_json(body);
        }
        (self.send)(request).await
    }

    pub(crate) async fn send(&self, request: TestRequest) -> Answer {
        (self.send)(request).await
    }

    pub(crate) async fn tenant(&self, name: &str) -> Tenant {
        let body = serde_json::json!({ "name": name, "plan": "enterprise" });
        let made = self.call(&self.operator, "POST", "/api/v1/tenants", Some(body)).await.expect(201);
        Tenant {
            id: made["id"].as_str().unwrap().parse().unwrap(),
            key: made["admin_key"].as_str().unwrap().to_owned(),
        }
    }

    /// A key of `tenant` with these scopes.
    pub(crate) async fn key(&self, tenant: &Tenant, scopes: &[&str]) -> String {
        let body = serde_json::json!({ "name": "a key", "scopes": scopes });
        let made = self.call(&tenant.key, "POST", "/api/v1/api-keys", Some(body)).await.expect(201);
        made["key"].as_str().unwrap().to_owned()
    }

    /// Publishes an event with the deliveries that it owes, as the door does.
    pub(crate) async fn publish(&self, tenant: &Tenant, kind: &str, subject: &str, payload: &'static str) -> EventId {
        self.publish_with(tenant, kind, |event| {
            event.subject = Some(Label::parse(subject).unwrap());
            event.payload = payload.into();
        })
        .await
    }

    /// Publishes an event that `change` has adjusted.
    pub(crate) async fn publish_with(
        &self,
        tenant: &Tenant,
        kind: &str,
        change: impl FnOnce(&mut NewEvent),
    ) -> EventId {
        let now = self.clock.now();
        let mut event = NewEvent {
            id: EventId::new(now),
            tenant: tenant.id,
            kind: EventType::parse(kind).unwrap(),
            subject: None,
            project: None,
            ordering_key: None,
            occurred_at: now,
            payload: "{}".into(),
            trace: TraceContext::root(),
            inbound: None,
            hops: 0,
            once: None,
        };
        change(&mut event);
        let id = event.id;
        let plans = Plans::new(self.database.clone(), Changes::default());
        let known = plans.of([tenant.id]).await.unwrap();
        let batch = Publication::plan(vec![event], now, |tenant| &known[&tenant]);
        let mut conn = self.database.pool().acquire().await.unwrap();
        let written = batch.write(&mut conn, now, now, false).await.unwrap();
        assert!(matches!(written, Written::Done(_)));
        id
    }

    /// Declares the broker's queues, for tests that publish.
    pub(crate) async fn apply_topology(&self) {
        topology::apply(&self.broker).await.unwrap();
    }

    /// Drops what the test made.
    pub(crate) async fn end(self) {
        self.publisher.close().await;
        topology::remove(&self.broker).await.unwrap();
        self.database.close().await;
        scratch::drop_database(&server_url(), &self.name).await.unwrap();
    }
}

/// The names of an object's members, in order.
pub(crate) fn members(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Asks until `condition` gives something, for ten seconds at most.
pub(crate) async fn eventually<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < end, "it did not happen within ten seconds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
