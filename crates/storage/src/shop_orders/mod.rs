//! Shop orders and their items: locked by who decides from them, written in batches, read as people look at them.
//!
//! An order's row guards its items: who changes an item has locked its order.

mod items;
mod lock;
mod log;
mod upkeep;
mod write;

pub use items::{
    Item, complete_item, count_items, delete_items_beyond, insert_items, list_items, lock_items, save_items,
};
pub use lock::{Key, lock};
pub use log::{Filter, find, list};
pub use upkeep::{count_overdue, lock_overdue, lock_starting, mark_overdue_reported, mark_start_reminded};
pub use write::{insert, save};

use busbar_domain::Timestamp;
use busbar_domain::id::{ConnectorId, EventId, ShopOrderId, TenantId};
use busbar_domain::shop_order::{MaterialsStatus, Production, ShopOrderState};
use chrono::NaiveDate;
use uuid::Uuid;

use crate::Error;
use crate::products::Product;

/// One shop order.
#[derive(Clone, PartialEq, Eq)]
pub struct ShopOrder {
    /// Its id, which Exact's side calls `work_order_id`.
    pub id: ShopOrderId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The connector through which Exact spoke of it last.
    pub connector: Option<ConnectorId>,
    /// Our own number of it.
    pub wo_number: String,
    /// Exact's number of it.
    pub exact_number: Option<String>,
    /// Where a person sees it at Exact.
    pub exact_link: Option<String>,
    /// How far it has come.
    pub state: ShopOrderState,
    /// What is made.
    pub product: Product,
    /// Exact's id of the customer.
    pub customer: Option<String>,
    /// The customer's name, as the order tells it.
    pub customer_name: Option<String>,
    /// How many are made.
    pub batch_size: u32,
    /// When it is meant to begin.
    pub planned_start: Option<NaiveDate>,
    /// When it is meant to end.
    pub planned_end: Option<NaiveDate>,
    /// When it is produced.
    pub production: Production,
    /// What else there is to say.
    pub notes: Option<String>,
    /// JSON: how much of its materials there is.
    pub materials_summary: Option<String>,
    /// How much of its materials has been issued.
    pub materials: MaterialsStatus,
    /// When Exact was asked to make it.
    pub requested_at: Option<Timestamp>,
    /// With which event.
    pub request_event: Option<EventId>,
    /// When Exact answered.
    pub answered_at: Option<Timestamp>,
    /// When Exact was asked to complete it.
    pub completion_requested_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// Customer and notes may name a person, so they do not print.
impl std::fmt::Debug for ShopOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShopOrder")
            .field("id", &self.id)
            .field("wo_number", &self.wo_number)
            .field("exact_number", &self.exact_number)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    connector_id: Option<Uuid>,
    wo_number: String,
    exact_shop_order_number: Option<String>,
    exact_shop_order_link: Option<String>,
    state: String,
    product_id: Uuid,
    exact_item_id: String,
    item_code: String,
    product_name: String,
    exact_customer_id: Option<String>,
    customer_name: Option<String>,
    batch_size: i32,
    planned_start_date: Option<NaiveDate>,
    planned_end_date: Option<NaiveDate>,
    production_start_date: Option<NaiveDate>,
    production_end_date: Option<NaiveDate>,
    notes: Option<String>,
    materials_summary: Option<String>,
    materials_issued_status: String,
    requested_at: Option<Timestamp>,
    request_event_id: Option<Uuid>,
    answered_at: Option<Timestamp>,
    completion_requested_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl TryFrom<Row> for ShopOrder {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let broken = |what| Error::Inconsistent { table: "shop_orders", row: row.id.to_string(), what };
        Ok(Self {
            state: ShopOrderState::parse(&row.state).ok_or_else(|| broken("state"))?,
            materials: MaterialsStatus::parse(&row.materials_issued_status)
                .ok_or_else(|| broken("materials_issued_status"))?,
            batch_size: u32::try_from(row.batch_size).map_err(|_| broken("batch_size"))?,
            id: row.id.into(),
            tenant: row.tenant_id.into(),
            connector: row.connector_id.map(ConnectorId::from),
            wo_number: row.wo_number,
            exact_number: row.exact_shop_order_number,
            exact_link: row.exact_shop_order_link,
            product: Product {
                id: row.product_id.into(),
                exact_item_id: row.exact_item_id,
                item_code: row.item_code,
                name: row.product_name,
            },
            customer: row.exact_customer_id,
            customer_name: row.customer_name,
            planned_start: row.planned_start_date,
            planned_end: row.planned_end_date,
            production: Production { start: row.production_start_date, end: row.production_end_date },
            notes: row.notes,
            materials_summary: row.materials_summary,
            requested_at: row.requested_at,
            request_event: row.request_event_id.map(EventId::from),
            answered_at: row.answered_at,
            completion_requested_at: row.completion_requested_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Reads rows, all of them or none.
fn orders(rows: Vec<Row>) -> Result<Vec<ShopOrder>, Error> {
    rows.into_iter().map(ShopOrder::try_from).collect()
}
