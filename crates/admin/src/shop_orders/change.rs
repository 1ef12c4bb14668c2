//! What people do with an order: set its days, complete its items, ask Exact for it once more.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, patch, post, web};
use busbar_domain::Timestamp;
use busbar_domain::event::NewEvent;
use busbar_domain::id::{ShopOrderId, TenantId, WebhookId};
use busbar_domain::shop_order::{InvalidTransition, Production, ShopOrderState};
use busbar_messaging::Queue;
use busbar_runtime::Problem;
use busbar_storage::accept::Owed;
use busbar_storage::due::WAKE_GRACE;
use busbar_storage::shop_orders::{self, Item, Key, ShopOrder};
use busbar_storage::{PgConnection, connectors, delivery_log, event_log, settle};
use busbar_systems::exact::announcement::event;
use busbar_systems::exact::outbound::{
    COMPLETION_REQUESTED, CompletedItem, CompletionRequested, IN_PROGRESS, ProductOf, Progress,
};
use busbar_systems::exact::{Config, stored};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::OrderDetailView;
use super::{MAX_NOTES, cause, date, in_order, text};
use crate::caller::{Authorized, scope};
use crate::desk::{At, Desk};
use crate::error::ApiError;
use crate::fields::{Faults, Given};

/// The most deliveries of one request that are looked at.
const MAX_OWED: i64 = 1000;

/// What changes of an order; what is left out stays, null takes away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OrderChange {
    /// The first day of its production.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Date)]
    production_start_date: Given<String>,
    /// The last day of its production; with both set, an order that is ready is in production.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Date)]
    production_end_date: Given<String>,
    /// What else there is to say.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    notes: Given<String>,
}

/// A request that was sent once more.
#[derive(Serialize, ToSchema)]
struct RequestedAgain {
    /// The order.
    id: Uuid,
    /// The new deliveries, each under the `webhook-id` of the one that it repeats.
    deliveries: Vec<Uuid>,
}

impl From<InvalidTransition> for ApiError {
    fn from(invalid: InvalidTransition) -> Self {
        Problem::conflict("INVALID_TRANSITION", format!("{invalid}.")).into()
    }
}

async fn lock(conn: &mut PgConnection, tenant: TenantId, id: ShopOrderId) -> Result<ShopOrder, ApiError> {
    let key = Key { tenant, id: Some(id), exact_number: None, wo_number: None };
    shop_orders::lock(conn, &[key]).await?.pop().ok_or_else(ApiError::not_found)
}

/// The roles that hear of `order` being in production, as the connector says through which Exact spoke of it.
async fn roles(conn: &mut PgConnection, order: &ShopOrder) -> Result<Vec<String>, ApiError> {
    let record = match order.connector {
        Some(connector) => connectors::find(conn, order.tenant, connector).await?,
        None => None,
    };
    let config = record.and_then(|record| Config::parse(&stored::for_actions(&record.config)).ok());
    Ok(config.unwrap_or_default().notify.in_progress)
}

fn in_progress(order: &ShopOrder, notify: &[String], now: Timestamp) -> NewEvent {
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
    event(IN_PROGRESS, &order.wo_number, progress.payload(), cause(order.tenant, now))
}

fn completion(order: &ShopOrder, items: &[Item], now: Timestamp) -> NewEvent {
    let completed = |item: &'_ Item| item.completed_at.unwrap_or(now);
    let items = items
        .iter()
        .map(|item| CompletedItem {
            serial_number: item.serial_number.as_deref(),
            batch_number: item.batch_number.as_deref(),
            completed_at: completed(item),
        })
        .collect();
    let request = CompletionRequested {
        work_order_id: order.id.uuid(),
        exact_shop_order_number: order.exact_number.as_deref().unwrap_or_default(),
        completed_at: now,
        items,
    };
    event(COMPLETION_REQUESTED, &order.wo_number, request.payload(), cause(order.tenant, now))
}

/// Changes an order; with both days of its production set, one that is ready to start is in production.
#[utoipa::path(tag = "exact", responses(
    (status = 200, body = OrderDetailView),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`INVALID_TRANSITION`: the order is completed"),
    (status = 422, body = Problem, description = "A field is invalid"),
))]
#[patch("/shop-orders/{id}")]
pub(crate) async fn change_shop_order(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
    body: web::Json<OrderChange>,
) -> Result<HttpResponse, ApiError> {
    let (id, now) = (ShopOrderId::from(*id), desk.now());
    let (order, items, owed) = desk
        .write(async |conn| {
            let mut order = lock(conn, caller.tenant, id).await?;
            let before = order.state;
            change(&mut order, &body)?;
            let mut owed = Owed::default();
            if order.state == ShopOrderState::InProgress && before != order.state {
                let event = in_progress(&order, &roles(conn, &order).await?, now);
                owed = settle::publish(conn, desk.plans(), vec![event], now).await?;
            }
            shop_orders::save(conn, &[&order], now).await?;
            order.updated_at = now;
            Ok((order, shop_orders::list_items(conn, id).await?, owed))
        })
        .await?;
    desk.wake(&owed);
    Ok(HttpResponse::Ok().json(OrderDetailView::new(&desk, order, items)))
}

fn change(order: &mut ShopOrder, body: &OrderChange) -> Result<(), ApiError> {
    let mut faults = Faults::default();
    let mut day = |pointer, given: &Given<String>, known| match given {
        Given::Absent => known,
        Given::Null => None,
        Given::Value(text) => date(&mut faults, pointer, Some(text)),
    };
    let start = day("/production_start_date", &body.production_start_date, order.production.start);
    let end = day("/production_end_date", &body.production_end_date, order.production.end);
    in_order(&mut faults, "/production_end_date", start, end);
    match &body.notes {
        Given::Absent => {}
        Given::Null => order.notes = None,
        Given::Value(notes) => order.notes = text(&mut faults, "/notes", Some(notes), MAX_NOTES),
    }
    faults.check()?;
    let production = Production { start, end };
    if production != order.production {
        order.state = order.state.scheduled(production)?;
        order.production = production;
    }
    Ok(())
}

/// Completes one item. With the last one the order is complete, and Exact is asked once to complete it, too.
#[utoipa::path(tag = "exact", responses(
    (status = 200, body = OrderDetailView),
    (status = 404, body = Problem, description = "No such order, or no such item"),
    (status = 409, body = Problem, description = "`INVALID_TRANSITION`: the order is not in production"),
))]
#[post("/shop-orders/{id}/items/{position}/complete")]
pub(crate) async fn complete_shop_order_item(
    desk: At,
    caller: Authorized<scope::Admin>,
    path: web::Path<(Uuid, u32)>,
) -> Result<HttpResponse, ApiError> {
    let (id, position) = path.into_inner();
    let (id, now) = (ShopOrderId::from(id), desk.now());
    let (order, items, owed) =
        desk.write(async |conn| complete(conn, &desk, (caller.tenant, id), position, now).await).await?;
    desk.wake(&owed);
    Ok(HttpResponse::Ok().json(OrderDetailView::new(&desk, order, items)))
}

async fn complete(
    conn: &mut PgConnection,
    desk: &Desk,
    (tenant, id): (TenantId, ShopOrderId),
    position: u32,
    now: Timestamp,
) -> Result<(ShopOrder, Vec<Item>, Owed), ApiError> {
    let mut order = lock(conn, tenant, id).await?;
    let mut items = shop_orders::list_items(conn, id).await?;
    let item = items.iter_mut().find(|item| item.position == position).ok_or_else(ApiError::not_found)?;
    let is_repeat = item.completed_at.is_some();
    item.completed_at = item.completed_at.or(Some(now));
    let complete = items.iter().filter(|item| item.completed_at.is_some()).count();
    let complete = u32::try_from(complete).unwrap_or(u32::MAX);
    // A repeat changes nothing, unless the order became smaller meanwhile and this is all that it waits for.
    if is_repeat && !(order.state == ShopOrderState::InProgress && complete == order.batch_size) {
        return Ok((order, items, Owed::default()));
    }
    order.state = order.state.items_completed(complete, order.batch_size)?;
    shop_orders::complete_item(conn, id, position, now).await?;
    let mut owed = Owed::default();
    if order.state == ShopOrderState::Completed {
        order.completion_requested_at = Some(now);
        let event = completion(&order, &items, now);
        owed = settle::publish(conn, desk.plans(), vec![event], now).await?;
    }
    shop_orders::save(conn, &[&order], now).await?;
    order.updated_at = now;
    Ok((order, items, owed))
}

/// Sends the request for an order that Exact has not answered once more: the same event under the same `webhook-id`.
#[utoipa::path(tag = "exact", responses(
    (status = 202, body = RequestedAgain),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`ORDER_ANSWERED`, `NOT_REQUESTED`, `NOBODY_ASKED` or `DELIVERY_OPEN`"),
))]
#[post("/shop-orders/{id}/request-again")]
pub(crate) async fn request_shop_order_again(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let (id, now) = (ShopOrderId::from(*id), desk.now());
    let due_at = if desk.publisher().takes(Queue::Deliveries) { now + WAKE_GRACE } else { now };
    let act = delivery_log::Act { tenant: caller.tenant, actor: caller.actor, now, due_at };
    let made = desk.write(async |conn| ask_again(conn, id, &act).await).await?;
    desk.publisher().wake(Queue::Deliveries, &made, None);
    Ok(HttpResponse::Accepted().json(RequestedAgain { id: id.uuid(), deliveries: made }))
}

async fn ask_again(conn: &mut PgConnection, id: ShopOrderId, act: &delivery_log::Act) -> Result<Vec<Uuid>, ApiError> {
    let conflict = |code, detail: &str| ApiError::from(Problem::conflict(code, detail));
    let order = lock(conn, act.tenant, id).await?;
    if order.state != ShopOrderState::Pending {
        return Err(conflict("ORDER_ANSWERED", "Exact has answered; the order has its number."));
    }
    let none = || conflict("NOT_REQUESTED", "The order was never asked for, or so long ago that its event is gone.");
    let request = order.request_event.ok_or_else(none)?;
    let detail = event_log::find(conn, act.tenant, request).await?.ok_or_else(none)?;
    let owed = event_log::owed(conn, act.tenant, &[detail.made()], MAX_OWED, MAX_OWED).await?;
    // The newest delivery of each webhook: whatever went before it has ended.
    let mut newest: BTreeMap<WebhookId, _> = BTreeMap::new();
    for delivery in owed {
        let known = newest.entry(delivery.webhook).or_insert(delivery.id);
        *known = delivery.id.max(*known);
    }
    if newest.is_empty() {
        return Err(conflict("NOBODY_ASKED", "No webhook heard of the request when it was made."));
    }
    let mut made = Vec::new();
    for delivery in newest.into_values() {
        // What is still on its way is not sent twice, and what has no receiver any more not at all.
        if let Ok(replay) = delivery_log::replay(conn, delivery, act).await? {
            made.push(replay.uuid());
        }
    }
    if made.is_empty() {
        return Err(conflict("DELIVERY_OPEN", "The request is still on its way, or its receiver is gone."));
    }
    Ok(made)
}
