//! Orders as they are shown.

use busbar_domain::shop_order::ShopOrderState;
use busbar_storage::shop_orders::{Item, ShopOrder};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::desk::Desk;

/// An order.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderView {
    /// Its id, which Exact's side calls `work_order_id`.
    id: Uuid,
    /// Our own number of it.
    wo_number: String,
    /// Exact's number of it; null until Exact has answered.
    exact_shop_order_number: Option<String>,
    /// Where a person sees it at Exact.
    exact_shop_order_link: Option<String>,
    /// `PENDING`, `PLANNED`, `PARTIAL_MATERIALS`, `READY_TO_START`, `IN_PROGRESS` or `COMPLETED`.
    status: &'static str,
    /// What is made.
    product: OrderedProduct,
    /// How many are made.
    batch_size: u32,
    /// For whom.
    customer: Option<OrderingCustomer>,
    /// When it is meant to begin.
    planned_start_date: Option<NaiveDate>,
    /// When it is meant to end.
    planned_end_date: Option<NaiveDate>,
    /// The first day of its production.
    production_start_date: Option<NaiveDate>,
    /// The last day of its production.
    production_end_date: Option<NaiveDate>,
    /// What else there is to say.
    notes: Option<String>,
    /// How much of its materials there is, as Exact has sent it.
    #[schema(value_type = Option<Object>)]
    materials_summary: Option<Box<RawValue>>,
    /// `pending`, `partial` or `complete`.
    materials_issued_status: &'static str,
    /// Since when Exact's answer is waited for; null where none is.
    waiting_since: Option<DateTime<Utc>>,
    /// Whether that is longer than it should be.
    overdue: bool,
    /// When Exact was asked to complete it.
    completion_requested_at: Option<DateTime<Utc>>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was changed last.
    updated_at: DateTime<Utc>,
}

/// The product of an order.
#[derive(Serialize, ToSchema)]
struct OrderedProduct {
    /// Exact's id.
    exact_item_id: String,
    /// The code that people know it by.
    item_code: String,
    /// The name.
    name: String,
}

/// The customer of an order.
#[derive(Serialize, ToSchema)]
struct OrderingCustomer {
    /// Exact's id.
    exact_customer_id: Option<String>,
    /// The name, as the order tells it.
    name: Option<String>,
}

/// An order with its items.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderDetailView {
    #[serde(flatten)]
    order: OrderView,
    /// How many of its items are complete.
    completed_items: usize,
    /// Its items, by their places.
    items: Vec<ItemView>,
}

/// An item of an order.
#[derive(Serialize, ToSchema)]
struct ItemView {
    /// Its place in the batch, from 1.
    position_in_batch: u32,
    /// Its serial number.
    serial_number: Option<String>,
    /// The batch that it is produced in.
    batch_number: Option<String>,
    /// Its materials with their batches.
    #[schema(value_type = Vec<Object>)]
    materials: Option<Box<RawValue>>,
    /// When it was completed.
    completed_at: Option<DateTime<Utc>>,
}

impl OrderView {
    pub(crate) fn new(desk: &Desk, order: ShopOrder) -> Self {
        let is_waiting = order.state == ShopOrderState::Pending && order.answered_at.is_none();
        let waiting_since = order.requested_at.filter(|_| is_waiting);
        let says_customer = order.customer.is_some() || order.customer_name.is_some();
        Self {
            id: order.id.uuid(),
            wo_number: order.wo_number,
            exact_shop_order_number: order.exact_number,
            exact_shop_order_link: order.exact_link,
            status: order.state.as_str(),
            product: OrderedProduct {
                exact_item_id: order.product.exact_item_id,
                item_code: order.product.item_code,
                name: order.product.name,
            },
            batch_size: order.batch_size,
            customer: says_customer
                .then_some(OrderingCustomer { exact_customer_id: order.customer, name: order.customer_name }),
            planned_start_date: order.planned_start,
            planned_end_date: order.planned_end,
            production_start_date: order.production.start,
            production_end_date: order.production.end,
            notes: order.notes,
            materials_summary: order.materials_summary.and_then(|text| RawValue::from_string(text).ok()),
            materials_issued_status: order.materials.as_str(),
            waiting_since,
            overdue: waiting_since.is_some_and(|since| since + desk.shop_order_patience() < desk.now()),
            completion_requested_at: order.completion_requested_at,
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
}

impl OrderDetailView {
    pub(crate) fn new(desk: &Desk, order: ShopOrder, items: Vec<Item>) -> Self {
        Self {
            order: OrderView::new(desk, order),
            completed_items: items.iter().filter(|item| item.completed_at.is_some()).count(),
            items: items.into_iter().map(ItemView::from).collect(),
        }
    }
}

impl From<Item> for ItemView {
    fn from(item: Item) -> Self {
        let materials = item.materials.unwrap_or_else(|| "[]".to_owned());
        Self {
            position_in_batch: item.position,
            serial_number: item.serial_number,
            batch_number: item.batch_number,
            materials: RawValue::from_string(materials).ok(),
            completed_at: item.completed_at,
        }
    }
}
