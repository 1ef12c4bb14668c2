//! The orders that a batch decides from, as they are after what has been decided so far; written at the end.

use std::collections::{BTreeSet, HashMap};

use busbar_domain::Timestamp;
use busbar_domain::event::NewEvent;
use busbar_domain::id::{ShopOrderId, TenantId};
use busbar_storage::customers::{self, NewCustomer};
use busbar_storage::products::{Product, ProductKey};
use busbar_storage::shop_orders::{self, Item, ShopOrder};
use busbar_storage::{Error, PgConnection};
use bytes::Bytes;

use crate::inbound::Refused;

/// One order and what is to be written of it.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) order: ShopOrder,
    /// Its items by their places; empty where nobody decides from them.
    pub(crate) items: Vec<Item>,
    /// The places of items that have changed.
    pub(crate) touched: BTreeSet<u32>,
    /// How many items are stored.
    stored: u32,
    /// Whether the order itself is stored.
    is_stored: bool,
    is_changed: bool,
}

impl Draft {
    /// An order that is not stored yet, with all its items.
    pub(crate) fn new(order: ShopOrder) -> Self {
        let items = (1..=order.batch_size).map(Item::new).collect();
        Self { order, items, touched: BTreeSet::new(), stored: 0, is_stored: false, is_changed: true }
    }

    fn stored(order: ShopOrder) -> Self {
        let stored = order.batch_size;
        Self { order, items: Vec::new(), touched: BTreeSet::new(), stored, is_stored: true, is_changed: false }
    }
}

/// What an action comes to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The order as it is from now on.
    pub(crate) draft: Option<Draft>,
    pub(crate) events: Vec<NewEvent>,
    pub(crate) answer: Bytes,
}

impl Outcome {
    /// An action that changes no order.
    pub(crate) const fn answer(answer: Bytes) -> Self {
        Self { draft: None, events: Vec::new(), answer }
    }
}

/// What a batch is decided from.
#[derive(Debug)]
pub(crate) struct World {
    orders: Vec<Draft>,
    products: HashMap<(TenantId, String, String), Product>,
}

impl World {
    pub(crate) fn new(orders: Vec<ShopOrder>) -> Self {
        Self { orders: orders.into_iter().map(Draft::stored).collect(), products: HashMap::new() }
    }

    pub(crate) fn know_product(&mut self, key: ProductKey<'_>, product: Option<Product>) {
        if let (Some(id), Some(code), Some(product)) = (key.exact_item_id, key.item_code, product) {
            self.products.insert((key.tenant, id.to_owned(), code.to_owned()), product);
        }
    }

    pub(crate) fn know_items(&mut self, mut items: HashMap<ShopOrderId, Vec<Item>>, of: &[ShopOrderId]) {
        for draft in self.orders.iter_mut().filter(|draft| of.contains(&draft.order.id)) {
            draft.items = items.remove(&draft.order.id).unwrap_or_default();
        }
    }

    pub(crate) fn product(&self, tenant: TenantId, exact_item_id: &str, item_code: &str) -> Option<&Product> {
        self.products.get(&(tenant, exact_item_id.to_owned(), item_code.to_owned()))
    }

    pub(crate) fn by_id(&self, tenant: TenantId, id: ShopOrderId) -> Option<&Draft> {
        self.of(tenant).find(|draft| draft.order.id == id)
    }

    pub(crate) fn by_exact_number(&self, tenant: TenantId, number: &str) -> Option<&Draft> {
        self.of(tenant).find(|draft| draft.order.exact_number.as_deref() == Some(number))
    }

    pub(crate) fn by_wo_number(&self, tenant: TenantId, number: &str) -> Option<&Draft> {
        self.of(tenant).find(|draft| draft.order.wo_number == number)
    }

    /// The orders that any of these names finds.
    pub(crate) fn named(
        &self,
        tenant: TenantId,
        id: Option<ShopOrderId>,
        exact_number: Option<&str>,
        wo_number: Option<&str>,
    ) -> Vec<ShopOrderId> {
        let found = [
            id.and_then(|id| self.by_id(tenant, id)),
            exact_number.and_then(|number| self.by_exact_number(tenant, number)),
            wo_number.and_then(|number| self.by_wo_number(tenant, number)),
        ];
        found.into_iter().flatten().map(|draft| draft.order.id).collect()
    }

    fn of(&self, tenant: TenantId) -> impl Iterator<Item = &Draft> {
        self.orders.iter().filter(move |draft| draft.order.tenant == tenant)
    }

    /// Lets an outcome come true for what is decided after it; answers its events and its answer.
    pub(crate) fn apply(&mut self, outcome: Outcome) -> (Vec<NewEvent>, Bytes) {
        if let Some(mut draft) = outcome.draft {
            draft.is_changed = true;
            match self.orders.iter_mut().find(|known| known.order.id == draft.order.id) {
                Some(known) => *known = draft,
                None => self.orders.push(draft),
            }
        }
        (outcome.events, outcome.answer)
    }

    /// Writes what has changed: customers, orders, items.
    pub(crate) async fn write(
        &self,
        conn: &mut PgConnection,
        customers: &[(TenantId, NewCustomer<'_>)],
        now: Timestamp,
    ) -> Result<(), Refused> {
        customers::upsert(conn, customers, now).await?;
        let changed = || self.orders.iter().filter(|draft| draft.is_changed);
        let orders = |is_stored| {
            changed().filter(move |draft| draft.is_stored == is_stored).map(|draft| &draft.order).collect::<Vec<_>>()
        };
        let new = orders(false);
        if shop_orders::insert(conn, &new).await?.len() < new.len() {
            return Err(Refused::Overtaken);
        }
        let saved = shop_orders::save(conn, &orders(true), now).await;
        if let Err(Error::Constraint { constraint }) = &saved
            && constraint.starts_with("shop_orders_by_")
        {
            return Err(Refused::Overtaken);
        }
        saved?;
        let shrunk: Vec<_> = changed()
            .filter(|draft| draft.order.batch_size < draft.stored)
            .map(|draft| (draft.order.id, draft.order.batch_size))
            .collect();
        shop_orders::delete_items_beyond(conn, &shrunk).await?;
        let grown: Vec<_> = changed()
            .filter(|draft| draft.order.batch_size > draft.stored)
            .map(|draft| (draft.order.tenant, draft.order.id, draft.stored + 1, draft.order.batch_size))
            .collect();
        shop_orders::insert_items(conn, &grown).await?;
        let touched: Vec<_> = changed()
            .flat_map(|draft| {
                let is_touched = |item: &&Item| draft.touched.contains(&item.position);
                draft.items.iter().filter(is_touched).map(|item| (draft.order.id, item))
            })
            .collect();
        shop_orders::save_items(conn, &touched).await?;
        Ok(())
    }
}
