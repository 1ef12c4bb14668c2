//! Writing orders: new ones, which a unique key may refuse, and changed ones, which their writer has locked.

use busbar_domain::Timestamp;
use busbar_domain::id::EventId;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::ShopOrder;
use crate::Error;

/// Writes new orders and answers the ids of those whose numbers nobody else has.
///
/// Who does not find all of its orders among them decides again: another has made one of them meanwhile.
pub async fn insert(conn: &mut PgConnection, orders: &[&ShopOrder]) -> Result<Vec<Uuid>, Error> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    // In the order of their numbers, so that two writers never wait for each other.
    let mut sorted = orders.to_vec();
    sorted.sort_unstable_by(|a, b| {
        (a.tenant, &a.exact_number, &a.wo_number).cmp(&(b.tenant, &b.exact_number, &b.wo_number))
    });
    let made = sqlx::query_scalar(
        "insert into shop_orders (id, tenant_id, connector_id, wo_number, exact_shop_order_number, exact_shop_order_link,
             state, product_id, customer_id, customer_name, batch_size, planned_start_date, planned_end_date,
             production_start_date, production_end_date, notes, materials_summary, materials_issued_status,
             requested_at, request_event_id, answered_at, completion_requested_at, created_at, updated_at)
         select n.id, n.tenant_id, n.connector_id, n.wo_number, n.exact_number, n.exact_link, n.state, n.product_id,
             c.id, n.customer_name, n.batch_size, n.planned_start, n.planned_end, n.production_start, n.production_end,
             n.notes, n.materials_summary, n.materials, n.requested_at, n.request_event, n.answered_at,
             n.completion_requested_at, n.created_at, n.updated_at
         from jsonb_to_recordset($1::text::jsonb) as n (turn bigint, id uuid, tenant_id uuid, connector_id uuid,
             wo_number text, exact_number text, exact_link text, state text, product_id uuid, customer text,
             customer_name text, batch_size integer, planned_start date, planned_end date, production_start date,
             production_end date, notes text, materials_summary text, materials text, requested_at timestamptz,
             request_event uuid, answered_at timestamptz, completion_requested_at timestamptz, created_at timestamptz,
             updated_at timestamptz)
         left join customers c on c.tenant_id = n.tenant_id and c.exact_customer_id = n.customer
         order by n.turn
         on conflict do nothing
         returning id",
    )
    .bind(rows(&sorted))
    .fetch_all(conn);
    Ok(made.await?)
}

/// Writes orders that this transaction has locked.
pub async fn save(conn: &mut PgConnection, orders: &[&ShopOrder], now: Timestamp) -> Result<(), Error> {
    if orders.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update shop_orders o set connector_id = n.connector_id, exact_shop_order_number = n.exact_number,
             exact_shop_order_link = n.exact_link, state = n.state, product_id = n.product_id,
             customer_id = (select c.id from customers c
                            where c.tenant_id = n.tenant_id and c.exact_customer_id = n.customer),
             customer_name = n.customer_name, batch_size = n.batch_size, planned_start_date = n.planned_start,
             planned_end_date = n.planned_end, production_start_date = n.production_start,
             production_end_date = n.production_end, notes = n.notes, materials_summary = n.materials_summary,
             materials_issued_status = n.materials, answered_at = n.answered_at,
             completion_requested_at = n.completion_requested_at, updated_at = $2
         from jsonb_to_recordset($1::text::jsonb) as n (id uuid, tenant_id uuid, connector_id uuid, exact_number text,
             exact_link text, state text, product_id uuid, customer text, customer_name text, batch_size integer,
             planned_start date, planned_end date, production_start date, production_end date, notes text,
             materials_summary text, materials text, answered_at timestamptz, completion_requested_at timestamptz)
         where o.id = n.id",
    )
    .bind(rows(orders))
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Orders as JSON, one object each; the text of the materials stays a text.
fn rows(orders: &[&ShopOrder]) -> String {
    Value::Array(orders.iter().enumerate().map(|(turn, order)| row(turn, order)).collect()).to_string()
}

fn row(turn: usize, order: &ShopOrder) -> Value {
    json!({
        "turn": turn,
        "id": order.id.uuid(),
        "tenant_id": order.tenant.uuid(),
        "connector_id": order.connector.map(Uuid::from),
        "wo_number": order.wo_number,
        "exact_number": order.exact_number,
        "exact_link": order.exact_link,
        "state": order.state.as_str(),
        "product_id": order.product.id.uuid(),
        "customer": order.customer,
        "customer_name": order.customer_name,
        "batch_size": order.batch_size,
        "planned_start": order.planned_start,
        "planned_end": order.planned_end,
        "production_start": order.production.start,
        "production_end": order.production.end,
        "notes": order.notes,
        "materials_summary": order.materials_summary,
        "materials": order.materials.as_str(),
        "requested_at": order.requested_at,
        "request_event": order.request_event.map(EventId::uuid),
        "answered_at": order.answered_at,
        "completion_requested_at": order.completion_requested_at,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
    })
}
