//! The catalogue: products as Exact knows them, one row for each of its ids.

use std::collections::BTreeMap;

use busbar_domain::Timestamp;
use busbar_domain::id::{ProductId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// A product that is about to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewProduct<'p> {
    /// Whose catalogue it belongs to.
    pub tenant: TenantId,
    /// Exact's id.
    pub exact_item_id: &'p str,
    /// The code that people know it by.
    pub item_code: &'p str,
    /// The name.
    pub name: &'p str,
    /// The Dutch name; what is not given stays as it is.
    pub name_nl: Option<&'p str>,
    /// What it is.
    pub description: Option<&'p str>,
    /// Its kind.
    pub product_type: &'p str,
    /// Whether it is in use.
    pub is_active: bool,
    /// The id of its group at Exact.
    pub item_group: Option<&'p str>,
    /// The code on its label.
    pub barcode: Option<&'p str>,
    /// How much of it there is: a decimal number, as sent.
    pub stock: Option<&'p str>,
}

/// Writes products in one statement: new ones are made, known ones changed. Of two with one id the later one counts.
pub async fn upsert(conn: &mut PgConnection, products: &[NewProduct<'_>], now: Timestamp) -> Result<(), Error> {
    // In the order of their keys, so that two writers never wait for each other.
    let last: BTreeMap<_, _> =
        products.iter().map(|product| ((product.tenant, product.exact_item_id), product)).collect();
    if last.is_empty() {
        return Ok(());
    }
    let texts =
        |of: for<'n> fn(&NewProduct<'n>) -> Option<&'n str>| last.values().map(|one| of(one)).collect::<Vec<_>>();
    sqlx::query(UPSERT)
        .bind(last.values().map(|_| ProductId::new(now).uuid()).collect::<Vec<_>>())
        .bind(last.values().map(|one| one.tenant.uuid()).collect::<Vec<_>>())
        .bind(last.values().map(|one| one.exact_item_id).collect::<Vec<_>>())
        .bind(last.values().map(|one| one.item_code).collect::<Vec<_>>())
        .bind(last.values().map(|one| one.name).collect::<Vec<_>>())
        .bind(texts(|one| one.name_nl))
        .bind(texts(|one| one.description))
        .bind(last.values().map(|one| one.product_type).collect::<Vec<_>>())
        .bind(last.values().map(|one| one.is_active).collect::<Vec<_>>())
        .bind(texts(|one| one.item_group))
        .bind(texts(|one| one.barcode))
        .bind(texts(|one| one.stock))
        .bind(now)
        .execute(conn)
        .await?;
    Ok(())
}

const UPSERT: &str = "
insert into products as p (id, tenant_id, exact_item_id, item_code, name, name_nl, description, product_type,
    is_active, item_group, barcode, stock, created_at, synced_at)
select n.id, n.tenant_id, n.exact_item_id, n.item_code, n.name, n.name_nl, n.description, n.product_type,
    n.is_active, n.item_group, n.barcode, n.stock::numeric, $13, $13
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::bool[], $10::text[], $11::text[], $12::text[]) with ordinality
    as n (id, tenant_id, exact_item_id, item_code, name, name_nl, description, product_type, is_active, item_group,
        barcode, stock, turn)
order by n.turn
on conflict on constraint products_key do update set
    item_code = excluded.item_code, name = excluded.name, name_nl = coalesce(excluded.name_nl, p.name_nl),
    description = coalesce(excluded.description, p.description), product_type = excluded.product_type,
    is_active = excluded.is_active, item_group = coalesce(excluded.item_group, p.item_group),
    barcode = coalesce(excluded.barcode, p.barcode), stock = coalesce(excluded.stock, p.stock),
    synced_at = excluded.synced_at";

/// A product as orders refer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its id.
    pub id: ProductId,
    /// Exact's id.
    pub exact_item_id: String,
    /// The code that people know it by.
    pub item_code: String,
    /// The name.
    pub name: String,
}

/// What a product is looked for by: Exact's id counts first, the code where that finds none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProductKey<'k> {
    /// In whose catalogue.
    pub tenant: TenantId,
    /// Exact's id.
    pub exact_item_id: Option<&'k str>,
    /// The code.
    pub item_code: Option<&'k str>,
}

/// The products that `keys` find, each in the place of its key.
pub async fn find(conn: &mut PgConnection, keys: &[ProductKey<'_>]) -> Result<Vec<Option<Product>>, Error> {
    let mut found = vec![None; keys.len()];
    if keys.is_empty() {
        return Ok(found);
    }
    let rows: Vec<(i64, Uuid, String, String, String)> = sqlx::query_as(
        "select k.turn, p.id, p.exact_item_id, p.item_code, p.name
         from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality as k (tenant_id, exact_item_id, item_code, turn)
         cross join lateral (
             select p.* from products p
             where p.tenant_id = k.tenant_id and (p.exact_item_id = k.exact_item_id or p.item_code = k.item_code)
             order by (p.exact_item_id = k.exact_item_id) desc nulls last, p.id limit 1) p",
    )
    .bind(keys.iter().map(|key| key.tenant.uuid()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.exact_item_id).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.item_code).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    for (turn, id, exact_item_id, item_code, name) in rows {
        let at = usize::try_from(turn - 1).unwrap_or(usize::MAX);
        if let Some(place) = found.get_mut(at) {
            *place = Some(Product { id: id.into(), exact_item_id, item_code, name });
        }
    }
    Ok(found)
}

/// One product as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ProductRecord {
    /// Its id.
    pub id: Uuid,
    /// Exact's id.
    pub exact_item_id: String,
    /// The code that people know it by.
    pub item_code: String,
    /// The name.
    pub name: String,
    /// The Dutch name.
    pub name_nl: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// Its kind.
    pub product_type: String,
    /// Whether it is in use.
    pub is_active: bool,
    /// The id of its group at Exact.
    pub item_group: Option<String>,
    /// The code on its label.
    pub barcode: Option<String>,
    /// How much of it there is: a decimal number, as sent.
    pub stock: Option<String>,
    /// When Exact spoke of it last.
    pub synced_at: Timestamp,
}

/// Which products are listed.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'f> {
    /// With this id at Exact only.
    pub exact_item_id: Option<&'f str>,
    /// With this code only.
    pub item_code: Option<&'f str>,
    /// With ids below this one.
    pub before: Uuid,
    /// At most this many.
    pub limit: i64,
}

/// Products of `tenant`, newest first.
pub async fn list(conn: &mut PgConnection, tenant: TenantId, filter: &Filter<'_>) -> Result<Vec<ProductRecord>, Error> {
    let found = sqlx::query_as(
        "select id, exact_item_id, item_code, name, name_nl, description, product_type, is_active, item_group, barcode,
             stock::text as stock, synced_at
         from products where tenant_id = $1 and id < $2 and ($4::text is null or exact_item_id = $4)
             and ($5::text is null or item_code = $5)
         order by id desc limit $3",
    )
    .bind(tenant.uuid())
    .bind(filter.before)
    .bind(filter.limit)
    .bind(filter.exact_item_id)
    .bind(filter.item_code)
    .persistent(false)
    .fetch_all(conn);
    Ok(found.await?)
}
