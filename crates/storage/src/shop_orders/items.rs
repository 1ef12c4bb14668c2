//! The items of an order, by their places in its batch.

use std::collections::HashMap;

use busbar_domain::Timestamp;
use busbar_domain::id::{ShopOrderId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// One item of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its place in the batch, from 1.
    pub position: u32,
    /// Its serial number.
    pub serial_number: Option<String>,
    /// The batch that it is produced in.
    pub batch_number: Option<String>,
    /// JSON: its materials with their batches.
    pub materials: Option<String>,
    /// When it was completed.
    pub completed_at: Option<Timestamp>,
}

impl Item {
    /// An item of which nothing is known.
    pub const fn new(position: u32) -> Self {
        Self { position, serial_number: None, batch_number: None, materials: None, completed_at: None }
    }

    /// Whether nothing is known of it.
    pub fn is_blank(&self) -> bool {
        *self == Self::new(self.position)
    }
}

type ItemRow = (Uuid, i32, Option<String>, Option<String>, Option<String>, Option<Timestamp>);

fn item((_, position, serial_number, batch_number, materials, completed_at): ItemRow) -> Item {
    Item { position: position.unsigned_abs(), serial_number, batch_number, materials, completed_at }
}

/// Makes the items of `orders` from one place to another, both counted.
pub async fn insert_items(conn: &mut PgConnection, orders: &[(TenantId, ShopOrderId, u32, u32)]) -> Result<(), Error> {
    if orders.is_empty() {
        return Ok(());
    }
    let place = |place: u32| i32::try_from(place).unwrap_or(i32::MAX);
    sqlx::query(
        "insert into shop_order_items (order_id, position, tenant_id)
         select o.id, generate_series(o.first, o.last), o.tenant_id
         from unnest($1::uuid[], $2::uuid[], $3::int4[], $4::int4[]) as o (tenant_id, id, first, last)",
    )
    .bind(orders.iter().map(|order| order.0.uuid()).collect::<Vec<_>>())
    .bind(orders.iter().map(|order| order.1.uuid()).collect::<Vec<_>>())
    .bind(orders.iter().map(|order| place(order.2)).collect::<Vec<_>>())
    .bind(orders.iter().map(|order| place(order.3)).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// The items of `orders`, which this transaction has locked, each order's by their places.
pub async fn lock_items(
    conn: &mut PgConnection,
    orders: &[ShopOrderId],
) -> Result<HashMap<ShopOrderId, Vec<Item>>, Error> {
    let mut found: HashMap<ShopOrderId, Vec<Item>> = HashMap::new();
    if orders.is_empty() {
        return Ok(found);
    }
    let rows: Vec<ItemRow> = sqlx::query_as(
        "select order_id, position, serial_number, batch_number, materials, completed_at from shop_order_items
         where order_id = any($1) order by order_id, position",
    )
    .bind(orders.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    for row in rows {
        found.entry(row.0.into()).or_default().push(item(row));
    }
    Ok(found)
}

/// The items of one order by their places.
pub async fn list_items(conn: &mut PgConnection, order: ShopOrderId) -> Result<Vec<Item>, Error> {
    Ok(lock_items(conn, &[order]).await?.remove(&order).unwrap_or_default())
}

/// Writes items of orders that this transaction has locked.
pub async fn save_items(conn: &mut PgConnection, items: &[(ShopOrderId, &Item)]) -> Result<(), Error> {
    if items.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update shop_order_items i set serial_number = n.serial_number, batch_number = n.batch_number,
             materials = n.materials, completed_at = n.completed_at
         from unnest($1::uuid[], $2::int4[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
             as n (order_id, position, serial_number, batch_number, materials, completed_at)
         where i.order_id = n.order_id and i.position = n.position",
    )
    .bind(items.iter().map(|(order, _)| order.uuid()).collect::<Vec<_>>())
    .bind(items.iter().map(|(_, item)| i32::try_from(item.position).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(items.iter().map(|(_, item)| item.serial_number.as_deref()).collect::<Vec<_>>())
    .bind(items.iter().map(|(_, item)| item.batch_number.as_deref()).collect::<Vec<_>>())
    .bind(items.iter().map(|(_, item)| item.materials.as_deref()).collect::<Vec<_>>())
    .bind(items.iter().map(|(_, item)| item.completed_at).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes the items of `orders`, which this transaction has locked, behind their last places.
pub async fn delete_items_beyond(conn: &mut PgConnection, orders: &[(ShopOrderId, u32)]) -> Result<(), Error> {
    if orders.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "delete from shop_order_items i using unnest($1::uuid[], $2::int4[]) as o (id, last)
         where i.order_id = o.id and i.position > o.last",
    )
    .bind(orders.iter().map(|(order, _)| order.uuid()).collect::<Vec<_>>())
    .bind(orders.iter().map(|(_, last)| i32::try_from(*last).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Completes one item of an order that this transaction has locked; answers when it was, `None` if there is no such item.
///
/// An item that is complete stays as it is.
pub async fn complete_item(
    conn: &mut PgConnection,
    order: ShopOrderId,
    position: u32,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let completed = sqlx::query_scalar(
        "update shop_order_items set completed_at = coalesce(completed_at, $3) where order_id = $1 and position = $2
         returning completed_at",
    )
    .bind(order.uuid())
    .bind(i32::try_from(position).unwrap_or(i32::MAX))
    .bind(now)
    .fetch_optional(conn);
    Ok(completed.await?)
}

/// How many items of `orders` are complete; orders of which none is are left out.
pub async fn count_items(conn: &mut PgConnection, orders: &[ShopOrderId]) -> Result<HashMap<ShopOrderId, u32>, Error> {
    let counted: Vec<(Uuid, i64)> = sqlx::query_as(
        "select order_id, count(*) from shop_order_items where order_id = any($1) and completed_at is not null
         group by order_id",
    )
    .bind(orders.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(counted.into_iter().map(|(id, count)| (id.into(), u32::try_from(count).unwrap_or(u32::MAX))).collect())
}
