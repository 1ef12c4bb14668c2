//! The events of an order that has come further, and the step that follows of itself.

use busbar_domain::Timestamp;
use busbar_domain::event::NewEvent;
use busbar_domain::shop_order::ShopOrderState;
use busbar_storage::inbound::Received;
use busbar_storage::shop_orders::ShopOrder;
use busbar_systems::exact::announcement::{Cause, event};
use busbar_systems::exact::config::Config;
use busbar_systems::exact::outbound::{IN_PROGRESS, ProductOf, Progress, READY_TO_START};

/// Takes an order on to `state`, and further if the days of its production are set already; answers what is told of it.
pub(crate) fn advance(
    order: &mut ShopOrder,
    state: ShopOrderState,
    call: &Received,
    config: &Config,
    now: Timestamp,
) -> Vec<NewEvent> {
    let before = std::mem::replace(&mut order.state, state);
    let mut events = Vec::new();
    if before == state || state != ShopOrderState::ReadyToStart {
        return events;
    }
    events.push(tell(READY_TO_START, order, &config.notify.ready_to_start, call, now));
    if let Ok(ShopOrderState::InProgress) = state.scheduled(order.production) {
        order.state = ShopOrderState::InProgress;
        events.push(tell(IN_PROGRESS, order, &config.notify.in_progress, call, now));
    }
    events
}

fn tell(kind: &'static str, order: &ShopOrder, notify: &[String], call: &Received, now: Timestamp) -> NewEvent {
    let progress = Progress {
        work_order_id: order.id.uuid(),
        wo_number: Some(&order.wo_number),
        exact_shop_order_number: order.exact_number.as_deref().unwrap_or_default(),
        product: ProductOf {
            exact_item_id: &order.product.exact_item_id,
            item_code: &order.product.item_code,
            name: &order.product.name,
        },
        batch_size: order.batch_size,
        planned_start_date: order.planned_start,
        planned_end_date: order.planned_end,
        production_start_date: order.production.start,
        production_end_date: order.production.end,
        notify,
    };
    let cause = Cause { tenant: order.tenant, inbound: Some(call.id), trace: call.trace, at: now };
    event(kind, &order.wo_number, progress.payload(), cause)
}
