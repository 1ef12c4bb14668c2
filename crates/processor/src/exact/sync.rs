//! `sync_exact_work_order`: which order is meant, and what becomes of it.

use busbar_domain::Timestamp;
use busbar_domain::id::ShopOrderId;
use busbar_domain::shop_order::{MaterialsStatus, Production, ShopOrderState};
use busbar_storage::inbound::Received;
use busbar_storage::products::Product;
use busbar_storage::shop_orders::{Item, ShopOrder};
use busbar_systems::exact::{ActionRefusal, Code, Config, WorkOrder, outbound, stored};

use crate::exact::progress::advance;
use crate::exact::world::{Draft, Outcome, World};

/// What an order's number begins with that Exact has made and given no number of ours.
const MADE_THERE: &str = "WO-";

/// Makes or changes the order; pure.
pub(super) fn decide(
    world: &World,
    call: &Received,
    sent: &WorkOrder,
    config: &Config,
    now: Timestamp,
) -> Result<Outcome, ActionRefusal> {
    let product = world.product(call.tenant, &sent.product.exact_item_id, &sent.product.item_code);
    let found = find(world, call, sent)?;
    let product = product.ok_or_else(|| {
        let (id, code) = (&sent.product.exact_item_id, &sent.product.item_code);
        let error = format!("product.exact_item_id: There is no product {id}, and none with the code {code}.");
        ActionRefusal::new(Code::ProductNotFound, error)
    })?;
    let mut draft = match found {
        Some(known) => known.clone(),
        None => Draft::new(made(world, call, sent, product, now)?),
    };
    resize(&mut draft, sent.batch_size)?;
    let order = &mut draft.order;
    let state = order.state.synced(sent.materials_issued_status).map_err(|_| backwards(order))?;
    take_over(order, call, sent, product, now);
    let events = advance(order, state, call, config, now);
    let answer = outbound::work_order_synced(order.id.uuid(), &sent.exact_shop_order_number);
    Ok(Outcome { draft: Some(draft), events, answer })
}

/// The order that is meant: the one with this id, else with Exact's number, else with ours; all that find one agree.
fn find<'w>(world: &'w World, call: &Received, sent: &WorkOrder) -> Result<Option<&'w Draft>, ActionRefusal> {
    let by_id = match &sent.work_order_id {
        Some(text) => {
            let known = text.parse().ok().and_then(|id| world.by_id(call.tenant, id));
            Some(known.ok_or_else(|| {
                ActionRefusal::new(Code::WorkOrderNotFound, format!("work_order_id: There is no order {text}."))
            })?)
        }
        None => None,
    };
    let by_exact = world.by_exact_number(call.tenant, &sent.exact_shop_order_number);
    let by_wo = sent.wo_number.as_deref().and_then(|number| world.by_wo_number(call.tenant, number));
    let found = by_id.or(by_exact).or(by_wo);
    let ids = [by_id, by_exact, by_wo].into_iter().flatten().map(|draft| draft.order.id);
    if ids.into_iter().any(|id| found.is_some_and(|found| found.order.id != id)) {
        let error = "work_order_id, exact_shop_order_number and wo_number name different orders.";
        return Err(ActionRefusal::new(Code::Conflict, error));
    }
    if let Some(number) = found.and_then(|found| found.order.exact_number.as_deref())
        && number != sent.exact_shop_order_number
    {
        let error = format!("exact_shop_order_number: This order is {number} at Exact already.");
        return Err(ActionRefusal::new(Code::Conflict, error));
    }
    Ok(found)
}

/// The number of ours that an order gets if it is new.
pub(super) fn own_number(sent: &WorkOrder) -> String {
    sent.wo_number.clone().unwrap_or_else(|| format!("{MADE_THERE}{}", sent.exact_shop_order_number))
}

/// A new order that Exact has made.
fn made(
    world: &World,
    call: &Received,
    sent: &WorkOrder,
    product: &Product,
    now: Timestamp,
) -> Result<ShopOrder, ActionRefusal> {
    let wo_number = own_number(sent);
    if world.by_wo_number(call.tenant, &wo_number).is_some() {
        let error = format!("wo_number: There is another order {wo_number}.");
        return Err(ActionRefusal::new(Code::Conflict, error));
    }
    Ok(ShopOrder {
        id: ShopOrderId::new(now),
        tenant: call.tenant,
        connector: Some(call.connector),
        wo_number,
        exact_number: None,
        exact_link: None,
        state: ShopOrderState::Pending,
        product: product.clone(),
        customer: None,
        customer_name: None,
        batch_size: sent.batch_size,
        planned_start: None,
        planned_end: None,
        production: Production::default(),
        notes: None,
        materials_summary: None,
        materials: MaterialsStatus::Pending,
        requested_at: None,
        request_event: None,
        answered_at: None,
        completion_requested_at: None,
        created_at: now,
        updated_at: now,
    })
}

/// Makes the batch as large as it is now; items of which something is known are not given up.
fn resize(draft: &mut Draft, size: u32) -> Result<(), ActionRefusal> {
    let before = draft.order.batch_size;
    if size == before {
        return Ok(());
    }
    let is_in_use = |item: &Item| item.position > size && !item.is_blank();
    if draft.order.state == ShopOrderState::Completed || draft.items.iter().any(is_in_use) {
        let error = format!("batch_size: This order has {before} items, which cannot become {size} any more.");
        return Err(ActionRefusal::new(Code::Conflict, error));
    }
    draft.items.retain(|item| item.position <= size);
    draft.items.extend((before + 1..=size).map(Item::new));
    draft.order.batch_size = size;
    Ok(())
}

/// Takes over what was sent; what was not stays as it is.
fn take_over(order: &mut ShopOrder, call: &Received, sent: &WorkOrder, product: &Product, now: Timestamp) {
    order.connector = Some(call.connector);
    order.exact_number = Some(sent.exact_shop_order_number.clone());
    order.exact_link = Some(sent.exact_shop_order_link.clone());
    order.product = product.clone();
    if order.requested_at.is_some() && order.answered_at.is_none() {
        order.answered_at = Some(now);
    }
    if let Some(customer) = &sent.customer {
        if customer.exact_customer_id.is_some() {
            order.customer.clone_from(&customer.exact_customer_id);
        }
        if customer.name.is_some() {
            order.customer_name.clone_from(&customer.name);
        }
    }
    order.planned_start = sent.planned_start_date.or(order.planned_start);
    order.planned_end = sent.planned_end_date.or(order.planned_end);
    if let Some(summary) = &sent.materials_summary {
        order.materials_summary = Some(stored::summary_text(summary));
    }
    order.materials = sent.materials_issued_status.unwrap_or(order.materials);
    if sent.notes.is_some() {
        order.notes.clone_from(&sent.notes);
    }
}

fn backwards(order: &ShopOrder) -> ActionRefusal {
    let state = order.state.as_str();
    ActionRefusal::backwards(format!("materials_issued_status: The order is {state} and does not go back."))
}
