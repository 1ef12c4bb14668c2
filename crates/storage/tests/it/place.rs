//! A database of a test's own with one tenant and its webhooks, and events that are accepted as the door does it.

use std::time::Duration;

use busbar_domain::event::{EventType, Label, NewEvent, Once};
use busbar_domain::id::{EventId, TenantId, WebhookId};
use busbar_domain::trace::TraceContext;
use busbar_domain::{Clock, Timestamp};
use busbar_storage::accept::{Publication, Written};
use busbar_storage::access::Plans;
use busbar_storage::claims::{Claimed, claim};
use busbar_storage::seal::Keyring;
use busbar_storage::snapshot::Changes;
use busbar_storage::tenants::{self, Plan, Tenant};
use busbar_storage::{Config, Database, PgConnection, migrate, scratch};
use secrecy::SecretString;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

pub(crate) struct Place {
    pub(crate) database: Database,
    pub(crate) tenant: TenantId,
    pub(crate) plans: Plans,
    name: String,
}

/// The server that the environment names, or the one on this machine.
pub(crate) fn server() -> SecretString {
    let named = std::env::vars().find(|(name, _)| name == "BUSBAR_DATABASE__URL").map(|(_, url)| url);
    named.unwrap_or_else(|| "postgres://postgres@127.0.0.1:5432/busbar".to_owned()).into()
}

pub(crate) fn now() -> Timestamp {
    Clock::system().now()
}

impl Place {
    pub(crate) async fn make() -> Self {
        let (server, name) = (server(), format!("busbar_test_{:016x}", fastrand::u64(..)));
        scratch::create_database(&server, &name).await.unwrap();
        let config = Config {
            url: scratch::database_url(&server, &name),
            max_connections: 4,
            statement_timeout: Duration::from_secs(10),
            application_name: "busbar-test".to_owned(),
        };
        let database = Database::new(&config, Keyring::parse(&Keyring::generate(1)).unwrap()).unwrap();
        migrate::apply(&database).await.unwrap();
        let tenant = Tenant { id: TenantId::new(now()), name: "a".into(), plan: Plan::Enterprise, created_at: now() };
        tenants::insert(&mut database.acquire().await.unwrap(), &tenant).await.unwrap();
        let plans = Plans::new(database.clone(), Changes::default());
        Self { database, tenant: tenant.id, plans, name }
    }

    pub(crate) async fn connection(&self) -> impl std::ops::DerefMut<Target = PgConnection> {
        self.database.acquire().await.unwrap()
    }

    /// A webhook that hears events of type `kind`.
    pub(crate) async fn webhook(&self, kind: &str) -> WebhookId {
        let id = WebhookId::new(now());
        sqlx::query(
            "insert into webhooks (id, tenant_id, name, url, events, dialect, status, secret, timeout_ms,
                 retry_max_attempts, retry_first_ms, retry_factor, retry_max_ms, created_at, updated_at)
             values ($1, $2, 'w', 'http://example.com', array[$3], 'standard', 'active', '', 1000, 3, 1000, 2, 5000,
                 now(), now())",
        )
        .bind(id.uuid())
        .bind(self.tenant.uuid())
        .bind(kind)
        .execute(&mut *self.connection().await)
        .await
        .unwrap();
        self.plans.forget([self.tenant]);
        id
    }

    pub(crate) fn event(&self, kind: &str, key: Option<&str>, once: Option<&str>) -> NewEvent {
        let now = now();
        NewEvent {
            id: EventId::new(now),
            tenant: self.tenant,
            kind: EventType::parse(kind).unwrap(),
            subject: None,
            project: None,
            ordering_key: key.map(|key| Label::parse(key).unwrap()),
            occurred_at: now,
            payload: "{}".into(),
            trace: TraceContext::root(),
            inbound: None,
            hops: 0,
            once: once.map(|key| Once {
                scope: "test",
                key: key.to_owned(),
                digest: None,
                until: now + chrono::TimeDelta::hours(1),
            }),
        }
    }

    /// Plans a batch as the door does.
    pub(crate) async fn plan(&self, events: Vec<NewEvent>) -> Publication {
        self.plan_at(events, now()).await
    }

    async fn plan_at(&self, events: Vec<NewEvent>, at: Timestamp) -> Publication {
        let known = self.plans.of([self.tenant]).await.unwrap();
        Publication::plan(events, at, |tenant| &known[&tenant])
    }

    /// Accepts a batch.
    pub(crate) async fn accept(&self, events: Vec<NewEvent>) {
        let at = now();
        let publication = self.plan_at(events, at).await;
        let written = publication.write(&mut *self.connection().await, at, at, false).await.unwrap();
        assert!(matches!(written, Written::Done(_)));
    }

    /// Claims everything of a webhook that is pending.
    pub(crate) async fn claim(&self, webhook: WebhookId) -> Vec<Claimed> {
        let mut conn = self.connection().await;
        let ids: Vec<Uuid> = sqlx::query_scalar("select id from deliveries where webhook_id = $1 order by id")
            .bind(webhook.uuid())
            .fetch_all(&mut *conn)
            .await
            .unwrap();
        claim(&mut conn, &ids, now()).await.unwrap()
    }

    /// The only value of the only row of a statement, as text.
    pub(crate) async fn ask(&self, statement: &str) -> String {
        let text: Option<String> = sqlx::query_scalar(AssertSqlSafe(format!("select ({statement})::text")))
            .fetch_one(&mut *self.connection().await)
            .await
            .unwrap();
        text.unwrap_or_default()
    }

    pub(crate) async fn run(&self, statement: &str) {
        sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut *self.connection().await).await.unwrap();
    }

    pub(crate) async fn end(self) {
        self.database.close().await;
        scratch::drop_database(&server(), &self.name).await.unwrap();
    }
}
