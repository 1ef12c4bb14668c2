//! What every handler works with: the database, the clock, the rules for outgoing URLs, the way to wake deliveries.

use std::sync::Arc;

use actix_web::web::Data;
use busbar_domain::id::TenantId;
use busbar_domain::{Clock, Timestamp};
use busbar_egress::Policy;
use busbar_messaging::{Publisher, Queue};
use busbar_storage::accept::Owed;
use busbar_storage::access::{Callers, Plans};
use busbar_storage::snapshot::{self, Changes};
use busbar_storage::{Database, Error, PgConnection};
use chrono::TimeDelta;
use secrecy::SecretString;

use crate::error::ApiError;

/// What the management API is made of.
pub struct Options {
    /// The database.
    pub database: Database,
    /// The corrected clock.
    pub clock: Clock,
    /// Changes of configuration, as far as they were heard of.
    pub changes: Changes,
    /// How long a shop order may wait for Exact until it is overdue.
    pub shop_order_patience: TimeDelta,
    /// Which URLs a webhook may have.
    pub policy: Policy,
    /// Where the outside world reaches the door.
    pub ingress_url: String,
    /// The platform operator's key that the settings give.
    pub operator_key: Option<SecretString>,
    /// Wakes test pings.
    pub publisher: Publisher,
    /// The `OpenAPI` document of the public door, as JSON.
    pub public_openapi: &'static str,
}

/// The shared state of all handlers; a clone shares it.
#[derive(Clone)]
pub struct Desk {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    callers: Callers,
    plans: Plans,
}

impl Desk {
    /// A desk made of `options`.
    pub fn new(options: Options) -> Self {
        let callers = Callers::new(options.database.clone(), options.changes.clone());
        let plans = Plans::new(options.database.clone(), options.changes.clone());
        Self { inner: Arc::new(Inner { options, callers, plans }) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.options.clock.now()
    }

    pub(crate) fn database(&self) -> &Database {
        &self.inner.options.database
    }

    pub(crate) fn callers(&self) -> &Callers {
        &self.inner.callers
    }

    pub(crate) fn plans(&self) -> &Plans {
        &self.inner.plans
    }

    pub(crate) fn shop_order_patience(&self) -> TimeDelta {
        self.inner.options.shop_order_patience
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.inner.options.policy
    }

    pub(crate) fn operator_key(&self) -> Option<&SecretString> {
        self.inner.options.operator_key.as_ref()
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.inner.options.publisher
    }

    pub(crate) fn public_openapi(&self) -> &'static str {
        self.inner.options.public_openapi
    }

    /// `path` as the outside world reaches it at the door.
    pub(crate) fn inbound_url(&self, path: &str) -> String {
        format!("{}{path}", self.inner.options.ingress_url.trim_end_matches('/'))
    }

    /// Reads with one connection.
    pub(crate) async fn read<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, ApiError> {
        let mut conn = self.database().pool().acquire().await.map_err(Error::from)?;
        Ok(work(&mut conn).await?)
    }

    /// Changes what is no configuration, in one transaction.
    pub(crate) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut tx = self.database().pool().begin().await.map_err(Error::from)?;
        let done = work(&mut tx).await?;
        tx.commit().await.map_err(Error::from)?;
        Ok(done)
    }

    /// Wakes what events owe that were just published.
    pub(crate) fn wake(&self, owed: &Owed) {
        self.publisher().wake(Queue::Deliveries, &owed.deliveries, None);
        self.publisher().wake(Queue::Jobs, &owed.spreading, None);
    }

    /// Changes the configuration of `tenant` in one transaction, which tells every process about it.
    pub(crate) async fn change<T>(
        &self,
        tenant: TenantId,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut tx = self.database().pool().begin().await.map_err(Error::from)?;
        let done = work(&mut tx).await?;
        snapshot::bump(&mut tx, tenant, self.now()).await?;
        tx.commit().await.map_err(Error::from)?;
        Ok(done)
    }
}

/// The desk as handlers take it.
pub(crate) type At = Data<Desk>;
