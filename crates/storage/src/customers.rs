//! Customers as Exact knows them, one row for each of its ids.

use std::collections::BTreeMap;

use busbar_domain::Timestamp;
use busbar_domain::id::{CustomerId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// A customer that is about to be written; what is not given stays as it is.
#[derive(Clone, Copy, Default)]
pub struct NewCustomer<'c> {
    /// Exact's id.
    pub exact_customer_id: &'c str,
    /// The name; an order may know the id only.
    pub name: Option<&'c str>,
    /// The Dutch name.
    pub name_nl: Option<&'c str>,
    /// An e-mail address.
    pub email: Option<&'c str>,
    /// A telephone number.
    pub phone: Option<&'c str>,
    /// Street and number.
    pub street: Option<&'c str>,
    /// Town.
    pub city: Option<&'c str>,
    /// Postal code.
    pub postal_code: Option<&'c str>,
    /// Country.
    pub country: Option<&'c str>,
    /// Whether it is in use; one that an order names for the first time is.
    pub is_active: Option<bool>,
}

/// It may name a person, so only the id prints.
impl std::fmt::Debug for NewCustomer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewCustomer").field("exact_customer_id", &self.exact_customer_id).finish_non_exhaustive()
    }
}

/// Two things said of one customer: the later one counts, as far as it says something.
fn merged<'c>(before: NewCustomer<'c>, later: NewCustomer<'c>) -> NewCustomer<'c> {
    NewCustomer {
        exact_customer_id: later.exact_customer_id,
        name: later.name.or(before.name),
        name_nl: later.name_nl.or(before.name_nl),
        email: later.email.or(before.email),
        phone: later.phone.or(before.phone),
        street: later.street.or(before.street),
        city: later.city.or(before.city),
        postal_code: later.postal_code.or(before.postal_code),
        country: later.country.or(before.country),
        is_active: later.is_active.or(before.is_active),
    }
}

/// Writes customers in one statement: new ones are made, known ones changed. Of two with one id the later one counts.
pub async fn upsert(
    conn: &mut PgConnection,
    customers: &[(TenantId, NewCustomer<'_>)],
    now: Timestamp,
) -> Result<(), Error> {
    // In the order of their keys, so that two writers never wait for each other.
    let mut last = BTreeMap::new();
    for (tenant, customer) in customers {
        let place = last.entry((*tenant, customer.exact_customer_id)).or_insert(*customer);
        *place = merged(*place, *customer);
    }
    if last.is_empty() {
        return Ok(());
    }
    let column = |of: for<'n> fn(&NewCustomer<'n>) -> Option<&'n str>| last.values().map(of).collect::<Vec<_>>();
    sqlx::query(UPSERT)
        .bind(last.keys().map(|_| CustomerId::new(now).uuid()).collect::<Vec<_>>())
        .bind(last.keys().map(|(tenant, _)| tenant.uuid()).collect::<Vec<_>>())
        .bind(last.keys().map(|(_, id)| *id).collect::<Vec<_>>())
        .bind(column(|one| one.name))
        .bind(column(|one| one.name_nl))
        .bind(column(|one| one.email))
        .bind(column(|one| one.phone))
        .bind(column(|one| one.street))
        .bind(column(|one| one.city))
        .bind(column(|one| one.postal_code))
        .bind(column(|one| one.country))
        .bind(last.values().map(|one| one.is_active).collect::<Vec<_>>())
        .bind(now)
        .execute(conn)
        .await?;
    Ok(())
}

// What is there is locked first, so that what is kept of it is what another has just written.
const UPSERT: &str = "
with k as materialized (
    select c.tenant_id, c.exact_customer_id, c.is_active from customers c
        join unnest($2::uuid[], $3::text[]) as w (tenant_id, exact_customer_id)
            on c.tenant_id = w.tenant_id and c.exact_customer_id = w.exact_customer_id
    order by c.tenant_id, c.exact_customer_id for update of c
)
insert into customers as c (id, tenant_id, exact_customer_id, name, name_nl, email, phone, street, city, postal_code,
    country, is_active, created_at, synced_at)
select n.id, n.tenant_id, n.exact_customer_id, n.name, n.name_nl, n.email, n.phone, n.street, n.city, n.postal_code,
    n.country, coalesce(n.is_active, k.is_active, true), $13, $13
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::bool[]) with ordinality
    as n (id, tenant_id, exact_customer_id, name, name_nl, email, phone, street, city, postal_code, country, is_active,
        turn)
left join k on k.tenant_id = n.tenant_id and k.exact_customer_id = n.exact_customer_id
order by n.turn
on conflict on constraint customers_key do update set
    name = coalesce(excluded.name, c.name), name_nl = coalesce(excluded.name_nl, c.name_nl),
    email = coalesce(excluded.email, c.email), phone = coalesce(excluded.phone, c.phone),
    street = coalesce(excluded.street, c.street), city = coalesce(excluded.city, c.city),
    postal_code = coalesce(excluded.postal_code, c.postal_code), country = coalesce(excluded.country, c.country),
    is_active = excluded.is_active, synced_at = excluded.synced_at";

/// One customer as it is listed.
#[derive(Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct CustomerRecord {
    /// Its id.
    pub id: Uuid,
    /// Exact's id.
    pub exact_customer_id: String,
    /// The name; none while only an order has named it, by its id.
    pub name: Option<String>,
    /// The Dutch name.
    pub name_nl: Option<String>,
    /// An e-mail address.
    pub email: Option<String>,
    /// A telephone number.
    pub phone: Option<String>,
    /// Street and number.
    pub street: Option<String>,
    /// Town.
    pub city: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// Country.
    pub country: Option<String>,
    /// Whether it is in use.
    pub is_active: bool,
    /// When Exact spoke of it last.
    pub synced_at: Timestamp,
}

/// It may name a person, so only the ids print.
impl std::fmt::Debug for CustomerRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CustomerRecord").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Customers of `tenant` with ids below `before`, newest first; the one with this id at Exact, if it is given.
pub async fn list(
    conn: &mut PgConnection,
    tenant: TenantId,
    exact_customer_id: Option<&str>,
    before: Uuid,
    limit: i64,
) -> Result<Vec<CustomerRecord>, Error> {
    let found = sqlx::query_as(
        "select id, exact_customer_id, name, name_nl, email, phone, street, city, postal_code, country, is_active,
             synced_at
         from customers where tenant_id = $1 and id < $2 and ($4::text is null or exact_customer_id = $4)
         order by id desc limit $3",
    )
    .bind(tenant.uuid())
    .bind(before)
    .bind(limit)
    .bind(exact_customer_id)
    .persistent(false)
    .fetch_all(conn);
    Ok(found.await?)
}
