//! Locking the orders that a batch decides from, in key order.

use busbar_domain::id::{ShopOrderId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Row, ShopOrder, orders};
use crate::Error;

/// What an order is known by; each name that is given may find one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'k> {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its id.
    pub id: Option<ShopOrderId>,
    /// Exact's number of it.
    pub exact_number: Option<&'k str>,
    /// Our own number of it.
    pub wo_number: Option<&'k str>,
}

/// Locks every order that one of `keys` names, and answers them as they are then.
pub async fn lock(conn: &mut PgConnection, keys: &[Key<'_>]) -> Result<Vec<ShopOrder>, Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select o.id from shop_orders o where o.id in (
             select s.id from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[])
                 as k (tenant_id, id, exact_number, wo_number)
             join shop_orders s on s.tenant_id = k.tenant_id
                 and (s.id = k.id or s.exact_shop_order_number = k.exact_number or s.wo_number = k.wo_number))
         order by o.id for update",
    )
    .bind(keys.iter().map(|key| key.tenant.uuid()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.id.map(Uuid::from)).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.exact_number).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.wo_number).collect::<Vec<_>>())
    .fetch_all(&mut *conn)
    .await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // Read after the locks are held, so that nothing of it is older than they are.
    let rows: Vec<Row> = sqlx::query_as(
        "select o.id, o.tenant_id, o.connector_id, o.wo_number, o.exact_shop_order_number, o.exact_shop_order_link, o.state,
             o.product_id, p.exact_item_id, p.item_code, p.name as product_name, c.exact_customer_id, o.customer_name,
             o.batch_size, o.planned_start_date, o.planned_end_date, o.production_start_date, o.production_end_date,
             o.notes, o.materials_summary, o.materials_issued_status, o.requested_at, o.request_event_id,
             o.answered_at, o.completion_requested_at, o.created_at, o.updated_at
         from shop_orders o join products p on p.id = o.product_id left join customers c on c.id = o.customer_id
         where o.id = any($1) order by o.id",
    )
    .bind(ids)
    .fetch_all(conn)
    .await?;
    orders(rows)
}
