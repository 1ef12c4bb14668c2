//! The tasks of one round, quick ones each time and slow ones every few seconds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use busbar_domain::inbound::System;
use busbar_domain::{Clock, operational};
use busbar_messaging::{Publisher, Queue};
use busbar_runtime::Parts;
use busbar_runtime::settings::Settings;
use busbar_storage::accept::Owed;
use busbar_storage::access::Plans;
use busbar_storage::{Database, Error, circuits, due, idempotency, order, partitions, settle, snapshot, webhooks};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::metric;
use crate::orders::Orders;

/// How often the slow tasks run.
const SLOW: Duration = Duration::from_secs(10);
/// How often ordering keys are looked after.
const ORDER: Duration = Duration::from_secs(5);
/// The most rounds of one task before the others have their turn.
const MOST_TURNS: usize = 20;
/// Why a webhook is broken whose receiver has failed for days.
const FAILING: &str = "failing";

pub(crate) struct Tasks {
    database: Database,
    clock: Clock,
    publisher: Publisher,
    plans: Plans,
    /// The most rows of one statement.
    batch: i64,
    weeks_ahead: i32,
    /// How long a webhook may fail until it is broken.
    broken_after: TimeDelta,
    orders: Orders,
    slow_at: Instant,
    order_at: Instant,
}

impl Tasks {
    pub(crate) fn new(settings: &Settings, parts: &Parts, publisher: Publisher) -> Self {
        Self {
            database: parts.database.clone(),
            clock: parts.clock.clone(),
            publisher,
            plans: Plans::new(parts.database.clone(), parts.changes.clone()),
            batch: i64::from(settings.scheduler.batch),
            weeks_ahead: i32::try_from(settings.scheduler.partition_weeks_ahead).unwrap_or(4),
            broken_after: TimeDelta::hours(settings.scheduler.broken_after_hours.into()),
            orders: Orders::new(settings),
            slow_at: Instant::now(),
            order_at: Instant::now(),
        }
    }

    /// Runs what is due now.
    pub(crate) async fn round(&mut self) -> Result<(), Error> {
        self.wake_deliveries().await?;
        self.wake_inbound().await?;
        self.wake_spreading().await?;
        let oldest = due::oldest(&mut *self.connection().await?, self.clock.now()).await?;
        metrics::gauge!(metric::OLDEST, "kind" => "deliveries").set(oldest.deliveries);
        metrics::gauge!(metric::OLDEST, "kind" => "inbound").set(oldest.inbound);
        metrics::gauge!(metric::OLDEST, "kind" => "spreading").set(oldest.spreading);
        if Instant::now() >= self.order_at {
            self.order_at = Instant::now() + ORDER;
            self.repair_order().await?;
        }
        if Instant::now() >= self.slow_at {
            self.slow_at = Instant::now() + SLOW;
            self.slow().await?;
        }
        Ok(())
    }

    /// Wakes due deliveries that nothing goes before, tenants in turn, for as long as the queue takes them.
    async fn wake_deliveries(&self) -> Result<(), Error> {
        for _ in 0..MOST_TURNS {
            if !self.publisher.takes(Queue::Deliveries) {
                return Ok(());
            }
            let now = self.clock.now();
            let mut connection = self.connection().await?;
            let woken = due::release_live(&mut connection, now, self.batch).await?;
            let released = woken.len();
            self.wake(Queue::Deliveries, "deliveries", woken);
            if released < usize::try_from(self.batch).unwrap_or(usize::MAX) {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn wake_inbound(&self) -> Result<(), Error> {
        let ready = System::ALL.into_iter().filter_map(Queue::inbound).all(|queue| self.publisher.takes(queue));
        if !ready {
            return Ok(());
        }
        let due = due::release_inbound(&mut *self.connection().await?, self.clock.now(), self.batch).await?;
        let mut by_queue: HashMap<Queue, Vec<Uuid>> = HashMap::new();
        for (system, id) in due {
            if let Some(queue) = System::parse(&system).and_then(Queue::inbound) {
                by_queue.entry(queue).or_default().push(id);
            } else {
                tracing::error!(system, %id, "a call of a system that nobody processes");
            }
        }
        for (queue, ids) in by_queue {
            self.wake(queue, "inbound", ids);
        }
        Ok(())
    }

    async fn wake_spreading(&self) -> Result<(), Error> {
        if !self.publisher.takes(Queue::Jobs) {
            return Ok(());
        }
        let due = due::release_spreading(&mut *self.connection().await?, self.clock.now(), self.batch).await?;
        self.wake(Queue::Jobs, "spreading", due);
        Ok(())
    }

    /// Wakes what stands first in an order and was not released when its predecessor ended.
    async fn repair_order(&self) -> Result<(), Error> {
        let released = order::repair(&mut *self.connection().await?, self.clock.now(), self.batch).await?;
        self.wake(Queue::Deliveries, "order", released);
        Ok(())
    }

    fn wake(&self, queue: Queue, kind: &'static str, mut ids: Vec<Uuid>) {
        ids.sort_unstable();
        metrics::counter!(metric::WOKEN, "kind" => kind).increment(ids.len() as u64);
        self.publisher.wake(queue, &ids, None);
    }

    async fn slow(&self) -> Result<(), Error> {
        let mut connection = self.connection().await?;
        let now = self.clock.now();
        let made = partitions::make(&mut connection, now, self.weeks_ahead).await?;
        if made > 0 {
            tracing::info!(made, "partitions were made ahead");
        }
        let used = partitions::rest_is_used(&mut connection).await?;
        if used {
            tracing::error!("rows lie in a default partition; partitions were not made in time");
        }
        metrics::gauge!(metric::REST_USED).set(f64::from(u8::from(used)));
        for _ in 0..MOST_TURNS {
            let trimmed = due::trim_first_seen(&mut connection, now, self.batch).await?;
            let answers = idempotency::trim(&mut connection, now, self.batch).await?;
            let lanes = order::trim(&mut connection, now, self.batch).await?;
            let cancelled = due::cancel_held_of_deleted(&mut connection, now, self.batch).await?;
            if [trimmed, answers, lanes, cancelled].into_iter().max() < Some(self.batch.unsigned_abs()) {
                break;
            }
        }
        circuits::trim(&mut connection, now, self.batch).await?;
        drop(connection);
        self.break_failing().await?;
        let owed = self.orders.look(&self.database, &self.plans, now).await?;
        self.wake(Queue::Deliveries, "deliveries", owed.deliveries);
        self.wake(Queue::Jobs, "spreading", owed.spreading);
        Ok(())
    }

    /// Breaks webhooks that have failed for days, each in a transaction of its own.
    async fn break_failing(&self) -> Result<(), Error> {
        for _ in 0..self.batch {
            let now = self.clock.now();
            let mut tx = self.database.begin().await?;
            let failing = circuits::lock_failing(&mut tx, now - self.broken_after, now, 1).await?;
            let Some(&(tenant, webhook)) = failing.first() else { return Ok(()) };
            let mut owed = Owed::default();
            if webhooks::break_active(&mut tx, webhook, FAILING, now).await? {
                tracing::warn!(%webhook, "a receiver has failed for too long; its webhook is disabled");
                snapshot::bump(&mut tx, tenant, now).await?;
                let event = operational::webhook_disabled(tenant, webhook, FAILING, now);
                owed = settle::publish(&mut tx, &self.plans, vec![event], now).await?;
            }
            circuits::close(&mut tx, webhook).await?;
            tx.commit().await?;
            self.wake(Queue::Deliveries, "deliveries", owed.deliveries);
            self.wake(Queue::Jobs, "spreading", owed.spreading);
        }
        Ok(())
    }

    async fn connection(&self) -> Result<busbar_storage::Pooled, Error> {
        self.database.acquire().await
    }
}
