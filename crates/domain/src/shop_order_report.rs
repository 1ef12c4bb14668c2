//! What the hub reports of shop orders by the clock: that Exact leaves one unanswered, and that one is to begin.

use bytes::Bytes;
use chrono::NaiveDate;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::dialect::wire_time;
use crate::event::{EventType, Label, NewEvent};
use crate::id::{EventId, ShopOrderId, TenantId};
use crate::trace::TraceContext;

/// Exact was asked for an order and has not answered for too long.
pub const OVERDUE: &str = "shopOrder.overdue";
/// An order that is ready to start is meant to begin soon, or was meant to begin already.
pub const START_REMINDER: &str = "shopOrder.start_reminder";

/// The order that is reported.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'o> {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its id.
    pub id: ShopOrderId,
    /// Our own number of it.
    pub wo_number: &'o str,
    /// Exact's number of it.
    pub exact_number: Option<&'o str>,
}

/// Exact has left an order unanswered since `since`.
pub fn overdue(order: Reported<'_>, since: Timestamp, now: Timestamp) -> NewEvent {
    let data = json!({
        "work_order_id": order.id.uuid(),
        "wo_number": order.wo_number,
        "waiting_since": wire_time(since),
    });
    event(OVERDUE, order, &data, now)
}

/// An order that is ready is meant to begin on `start`.
pub fn start_reminder(order: Reported<'_>, start: Option<NaiveDate>, now: Timestamp) -> NewEvent {
    let data = json!({
        "work_order_id": order.id.uuid(),
        "wo_number": order.wo_number,
        "exact_shop_order_number": order.exact_number,
        "planned_start_date": start,
    });
    event(START_REMINDER, order, &data, now)
}

fn event(kind: &str, order: Reported<'_>, data: &Value, now: Timestamp) -> NewEvent {
    #[expect(clippy::expect_used, reason = "the names stand in this file and are tested")]
    let kind = EventType::parse(kind).expect("the names of these events are event types");
    NewEvent {
        id: EventId::new(now),
        tenant: order.tenant,
        kind,
        subject: Label::parse(order.wo_number).ok(),
        project: None,
        ordering_key: None,
        occurred_at: now,
        payload: Bytes::from(data.to_string()),
        trace: TraceContext::root(),
        inbound: None,
        hops: 0,
        once: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_order() {
        let now = crate::Clock::system().now();
        let order = Reported {
            tenant: TenantId::new(now),
            id: ShopOrderId::new(now),
            wo_number: "PENDING-1",
            exact_number: Some("SO-1"),
        };
        let late = overdue(order, now, now);
        assert_eq!((late.kind.as_str(), late.subject.unwrap().as_str()), (OVERDUE, "PENDING-1"));
        let soon = start_reminder(order, NaiveDate::from_ymd_opt(2024, 1, 15), now);
        let data: Value = serde_json::from_slice(&soon.payload).unwrap();
        assert_eq!(
            (&data["exact_shop_order_number"], &data["planned_start_date"]),
            (&json!("SO-1"), &json!("2024-01-15"))
        );
    }
}
