//! What the clock finds of orders: answers of Exact that are overdue, and productions that are to begin.

use busbar_domain::Timestamp;
use busbar_domain::id::ShopOrderId;
use chrono::NaiveDate;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Row, ShopOrder, orders};
use crate::Error;

/// Locks orders that were asked for before `before`, that Exact has not answered, and that have not been reported.
pub async fn lock_overdue(conn: &mut PgConnection, before: Timestamp, limit: i64) -> Result<Vec<ShopOrder>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "select o.id, o.tenant_id, o.connector_id, o.wo_number, o.exact_shop_order_number, o.exact_shop_order_link, o.state,
             o.product_id, p.exact_item_id, p.item_code, p.name as product_name, c.exact_customer_id, o.customer_name,
             o.batch_size, o.planned_start_date, o.planned_end_date, o.production_start_date, o.production_end_date,
             o.notes, o.materials_summary, o.materials_issued_status, o.requested_at, o.request_event_id,
             o.answered_at, o.completion_requested_at, o.created_at, o.updated_at
         from shop_orders o join products p on p.id = o.product_id left join customers c on c.id = o.customer_id
         where o.state = 'PENDING' and o.requested_at < $1 and o.overdue_reported_at is null
         order by o.id limit $2 for update of o skip locked",
    )
    .bind(before)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    orders(rows)
}

/// Locks orders that are ready to start, are meant to by `until`, and have not been reminded of.
pub async fn lock_starting(conn: &mut PgConnection, until: NaiveDate, limit: i64) -> Result<Vec<ShopOrder>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "select o.id, o.tenant_id, o.connector_id, o.wo_number, o.exact_shop_order_number, o.exact_shop_order_link, o.state,
             o.product_id, p.exact_item_id, p.item_code, p.name as product_name, c.exact_customer_id, o.customer_name,
             o.batch_size, o.planned_start_date, o.planned_end_date, o.production_start_date, o.production_end_date,
             o.notes, o.materials_summary, o.materials_issued_status, o.requested_at, o.request_event_id,
             o.answered_at, o.completion_requested_at, o.created_at, o.updated_at
         from shop_orders o join products p on p.id = o.product_id left join customers c on c.id = o.customer_id
         where o.state = 'READY_TO_START' and o.start_reminded_at is null and o.planned_start_date <= $1
         order by o.id limit $2 for update of o skip locked",
    )
    .bind(until)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    orders(rows)
}

/// Takes note that these orders' missing answers were reported.
pub async fn mark_overdue_reported(conn: &mut PgConnection, ids: &[ShopOrderId], now: Timestamp) -> Result<(), Error> {
    sqlx::query("update shop_orders set overdue_reported_at = $2 where id = any($1)")
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<Uuid>>())
        .bind(now)
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes note that these orders' start was reminded of.
pub async fn mark_start_reminded(conn: &mut PgConnection, ids: &[ShopOrderId], now: Timestamp) -> Result<(), Error> {
    sqlx::query("update shop_orders set start_reminded_at = $2 where id = any($1)")
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<Uuid>>())
        .bind(now)
        .execute(conn)
        .await?;
    Ok(())
}

/// How many orders wait for Exact longer than they may.
pub async fn count_overdue(conn: &mut PgConnection, before: Timestamp) -> Result<i64, Error> {
    let counted = sqlx::query_scalar("select count(*) from shop_orders where state = 'PENDING' and requested_at < $1")
        .bind(before)
        .fetch_one(conn);
    Ok(counted.await?)
}
