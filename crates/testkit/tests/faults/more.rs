//! What a stage has beside its one webhook: further ones, and a second tenant that floods the hub.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use busbar_domain::Clock;
use busbar_domain::api_key::{ApiKey, Scope};
use busbar_domain::dialect::Dialect;
use busbar_domain::id::{ApiKeyId, TenantId, WebhookId};
use busbar_domain::retry::RetryPolicy;
use busbar_domain::secret::Secret;
use busbar_domain::webhook::WebhookStatus;
use busbar_sandbox::load::{Ledger, Load, Outcome};
use busbar_storage::access::WEBHOOK_SECRET;
use busbar_storage::api_keys::{self, NewApiKey};
use busbar_storage::seal::Place;
use busbar_storage::tenants::{self, Plan, Tenant};
use busbar_storage::webhooks::{self, WebhookFields};
use busbar_storage::{Database, PgConnection};
use tokio::task::JoinSet;

use crate::stage::Stage;

/// Beside the webhook of the books, `count` webhooks that hear `kind` at `url`.
pub(crate) async fn furnish_more(stage: &Stage, count: usize, kind: &str, url: &str) {
    let database = stage.pool();
    let tenant = stage.ask("select id from tenants limit 1").await.parse::<uuid::Uuid>().unwrap();
    let mut transaction = database.begin().await.unwrap();
    for _ in 0..count {
        let id = WebhookId::new(Clock::system().now());
        add_webhook(&mut transaction, &database, tenant.into(), id, url, kind, &stage.books.secret).await;
    }
    let now = Clock::system().now();
    busbar_storage::snapshot::bump(&mut transaction, tenant.into(), now).await.unwrap();
    transaction.commit().await.unwrap();
    database.close().await;
}

/// A tenant that sends far more than its share.
pub(crate) struct Flood {
    key: ApiKey,
    kind: &'static str,
}

/// A second tenant with one webhook that hears `kind` at `url`.
pub(crate) async fn another_tenant(stage: &Stage, kind: &'static str, url: &str) -> Flood {
    let (database, now, key) = (stage.pool(), Clock::system().now(), ApiKey::generate("test"));
    let tenant = Tenant { id: TenantId::new(now), name: "flood".into(), plan: Plan::Enterprise, created_at: now };
    let mut transaction = database.begin().await.unwrap();
    tenants::insert(&mut transaction, &tenant).await.unwrap();
    let (id, scopes) = (ApiKeyId::new(now), &[Scope::Publish]);
    let new = NewApiKey { id, tenant: Some(tenant.id), name: "flood", key: &key, scopes, expires_at: None };
    api_keys::insert(&mut transaction, &new, now).await.unwrap();
    let webhook = WebhookId::new(now);
    add_webhook(&mut transaction, &database, tenant.id, webhook, url, kind, &stage.books.secret).await;
    transaction.commit().await.unwrap();
    database.close().await;
    Flood { key, kind }
}

impl Flood {
    /// Sends so many events at a pace per second, beside the test; what comes back is how they were answered.
    pub(crate) fn pour(&self, door: SocketAddr, events: u64, rate: u64) -> JoinSet<Outcome> {
        let body = format!(r#"{{"type":"{}","data":{{"text":"{}"}}}}"#, self.kind, "x".repeat(400));
        let request = format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: {door}\r\nContent-Type: application/json\r\nX-Api-Key: {}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.key.expose(),
            body.len()
        );
        let load = Load {
            target: door,
            connections: 32,
            events: 0..events,
            rate: Some(rate),
            timeout: Duration::from_secs(5),
            retry_until_acked: false,
        };
        let ledger = Arc::new(Ledger::new(usize::try_from(events).unwrap(), 1));
        let mut pouring = JoinSet::new();
        pouring.spawn(async move {
            load.run(Arc::new(move |_, out| out.extend_from_slice(request.as_bytes())), &ledger).await
        });
        pouring
    }
}

/// Writes one webhook with its secret.
pub(crate) async fn add_webhook(
    conn: &mut PgConnection,
    database: &Database,
    tenant: TenantId,
    id: WebhookId,
    url: &str,
    kind: &str,
    secret: &Secret,
) {
    let fields = WebhookFields {
        name: url.to_owned(),
        url: url.to_owned(),
        events: vec![kind.to_owned()],
        dialect: Dialect::Standard,
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
    let place = Place { column: WEBHOOK_SECRET, row: id.uuid() };
    let sealed = database.keyring().seal(place, secret).unwrap();
    webhooks::insert(conn, tenant, id, &fields, &sealed, Clock::system().now()).await.unwrap();
}
