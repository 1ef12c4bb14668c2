//! Orders as people look at them.

use busbar_domain::id::{ShopOrderId, TenantId};
use busbar_domain::shop_order::ShopOrderState;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Row, ShopOrder, orders};
use crate::Error;

/// Which orders are listed.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'f> {
    /// In this state only.
    pub state: Option<ShopOrderState>,
    /// With this number of Exact's only.
    pub exact_number: Option<&'f str>,
    /// With this number of ours only.
    pub wo_number: Option<&'f str>,
    /// With ids below this one.
    pub before: Uuid,
    /// At most this many.
    pub limit: i64,
}

/// Orders of `tenant`, newest first.
pub async fn list(conn: &mut PgConnection, tenant: TenantId, filter: &Filter<'_>) -> Result<Vec<ShopOrder>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "select o.id, o.tenant_id, o.connector_id, o.wo_number, o.exact_shop_order_number, o.exact_shop_order_link, o.state,
             o.product_id, p.exact_item_id, p.item_code, p.name as product_name, c.exact_customer_id, o.customer_name,
             o.batch_size, o.planned_start_date, o.planned_end_date, o.production_start_date, o.production_end_date,
             o.notes, o.materials_summary, o.materials_issued_status, o.requested_at, o.request_event_id,
             o.answered_at, o.completion_requested_at, o.created_at, o.updated_at
         from shop_orders o join products p on p.id = o.product_id left join customers c on c.id = o.customer_id
         where o.tenant_id = $1 and o.id < $2 and ($4::text is null or o.state = $4)
             and ($5::text is null or o.exact_shop_order_number = $5) and ($6::text is null or o.wo_number = $6)
         order by o.id desc limit $3",
    )
    .bind(tenant.uuid())
    .bind(filter.before)
    .bind(filter.limit)
    .bind(filter.state.map(ShopOrderState::as_str))
    .bind(filter.exact_number)
    .bind(filter.wo_number)
    .persistent(false)
    .fetch_all(conn)
    .await?;
    orders(rows)
}

/// The order with this id.
pub async fn find(conn: &mut PgConnection, tenant: TenantId, id: ShopOrderId) -> Result<Option<ShopOrder>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "select o.id, o.tenant_id, o.connector_id, o.wo_number, o.exact_shop_order_number, o.exact_shop_order_link, o.state,
             o.product_id, p.exact_item_id, p.item_code, p.name as product_name, c.exact_customer_id, o.customer_name,
             o.batch_size, o.planned_start_date, o.planned_end_date, o.production_start_date, o.production_end_date,
             o.notes, o.materials_summary, o.materials_issued_status, o.requested_at, o.request_event_id,
             o.answered_at, o.completion_requested_at, o.created_at, o.updated_at
         from shop_orders o join products p on p.id = o.product_id left join customers c on c.id = o.customer_id
         where o.tenant_id = $1 and o.id = $2",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .fetch_optional(conn)
    .await?;
    row.map(ShopOrder::try_from).transpose()
}
