//! Shop orders that the clock has to do with: answers of Exact that do not come, and productions that are to begin.

use busbar_domain::Timestamp;
use busbar_domain::id::ShopOrderId;
use busbar_domain::shop_order_report::{Reported, overdue, start_reminder};
use busbar_runtime::settings::Settings;
use busbar_storage::accept::Owed;
use busbar_storage::access::Plans;
use busbar_storage::shop_orders::{self, ShopOrder};
use busbar_storage::{Database, Error, settle};
use chrono::TimeDelta;

use crate::metric;

/// The most orders of each kind that one look reports: an order can be as large as the call that made it.
const MOST: i64 = 50;

pub(crate) struct Orders {
    /// How long Exact may take to answer.
    patience: TimeDelta,
    /// How long before its planned start an order is reminded of.
    ahead: TimeDelta,
}

impl Orders {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            patience: TimeDelta::seconds(settings.scheduler.shop_order_overdue_seconds.into()),
            ahead: TimeDelta::days(settings.scheduler.shop_order_remind_days.into()),
        }
    }

    /// Reports each order once, in the transaction that takes note of it; answers what that owes.
    pub(crate) async fn look(&self, database: &Database, plans: &Plans, now: Timestamp) -> Result<Owed, Error> {
        let mut tx = database.begin().await?;
        let late = shop_orders::lock_overdue(&mut tx, now - self.patience, MOST).await?;
        let starting = shop_orders::lock_starting(&mut tx, (now + self.ahead).date_naive(), MOST).await?;
        let waiting = shop_orders::count_overdue(&mut tx, now - self.patience).await?;
        #[expect(clippy::cast_precision_loss, reason = "orders are counted in thousands")]
        metrics::gauge!(metric::ORDERS_OVERDUE).set(waiting as f64);
        let mut events = Vec::with_capacity(late.len() + starting.len());
        for order in &late {
            tracing::warn!(order = %order.id, wo_number = order.wo_number, "Exact has not answered for a shop order");
            events.push(overdue(reported(order), order.requested_at.unwrap_or(now), now));
        }
        events.extend(starting.iter().map(|order| start_reminder(reported(order), order.planned_start, now)));
        let ids = |orders: &[ShopOrder]| orders.iter().map(|order| order.id).collect::<Vec<ShopOrderId>>();
        shop_orders::mark_overdue_reported(&mut tx, &ids(&late), now).await?;
        shop_orders::mark_start_reminded(&mut tx, &ids(&starting), now).await?;
        let owed = settle::publish(&mut tx, plans, events, now).await?;
        tx.commit().await?;
        Ok(owed)
    }
}

fn reported(order: &ShopOrder) -> Reported<'_> {
    Reported {
        tenant: order.tenant,
        id: order.id,
        wo_number: &order.wo_number,
        exact_number: order.exact_number.as_deref(),
    }
}
