//! Actions of Exact: read, decided in order, written in one transaction with their events and their answers.
//!
//! A refused action is processed like any other; its answer says why. Orders are locked before anything is decided from
//! them; one that is not there is guarded by its unique numbers, and whoever loses that race decides again.

mod assign;
mod progress;
mod sync;
mod world;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use busbar_domain::Timestamp;
use busbar_domain::id::{ConnectorId, ShopOrderId};
use busbar_domain::inbound::{Answer, System};
use busbar_runtime::Parts;
use busbar_storage::access::Connectors;
use busbar_storage::customers::NewCustomer;
use busbar_storage::inbound::{Ended, Received};
use busbar_storage::products::{self, NewProduct, ProductKey};
use busbar_storage::shop_orders::{self, Key};
use busbar_storage::{Error, PgConnection};
use busbar_systems::exact::{Action, ActionRefusal, Config, Customer, Product, Rows, outbound, stored};
use bytes::Bytes;

use crate::exact::world::{Outcome, World};
use crate::inbound::{Decide, Decision, Refused, panicked};
use crate::metric;

/// What the caller is told whose call is given up for no fault of its own.
const REGRET: &str =
    r#"{"success":false,"error":"Something went wrong on our side; it has been logged.","code":"INTERNAL"}"#;

/// Processes the actions that Exact's side sends.
pub(crate) struct Actions {
    connectors: Connectors,
}

/// One call as far as it could be read.
enum Read {
    Action(Action),
    Refused(ActionRefusal),
    Panicked,
}

/// The settings of the connectors that were called.
type Configs = HashMap<ConnectorId, Arc<Config>>;

impl Actions {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self { connectors: Connectors::new(parts.database.clone(), parts.changes.clone()) }
    }

    async fn configs(&self, calls: &[Received]) -> Result<Configs, Error> {
        let mut configs = Configs::new();
        for call in calls {
            if configs.contains_key(&call.connector) {
                continue;
            }
            let connector = self.connectors.find_any(call.connector).await?;
            let stored = connector.map(|connector| Config::parse(&stored::for_actions(&connector.config)));
            let config = stored.and_then(Result::ok).unwrap_or_else(|| {
                tracing::error!(connector = %call.connector, "the settings of a connector cannot be read");
                Config::default()
            });
            configs.insert(call.connector, Arc::new(config));
        }
        Ok(configs)
    }
}

impl Decide for Actions {
    fn system(&self) -> System {
        System::Exact
    }

    async fn decide(
        &self,
        conn: &mut PgConnection,
        calls: &[Received],
        now: Timestamp,
    ) -> Result<Vec<Decision>, Refused> {
        let configs = self.configs(calls).await?;
        let read: Vec<Read> = calls.iter().map(|call| read(call, &configs[&call.connector])).collect();
        let mut world = load(conn, calls, &read, now).await?;
        let mut customers = Vec::new();
        let mut decisions = Vec::with_capacity(calls.len());
        for (call, read) in calls.iter().zip(&read) {
            let decision = decide(&mut world, call, read, &configs[&call.connector], now);
            if decision.answer.as_ref().is_some_and(|answer| answer.status == 200) {
                customers.extend(customers_of(read).map(|customer| (call.tenant, customer)));
            }
            count(read, decision.answer.as_ref());
            decisions.push(decision);
        }
        world.write(conn, &customers, now).await?;
        Ok(decisions)
    }

    fn regret(&self) -> Option<Answer> {
        Some(Answer { status: 500, body: Bytes::from_static(REGRET.as_bytes()) })
    }
}

/// Reads one call; a panic in it is the call's own failure.
fn read(call: &Received, config: &Config) -> Read {
    match catch_unwind(AssertUnwindSafe(|| Action::parse(&call.body, config))) {
        Ok(Ok(action)) => Read::Action(action),
        Ok(Err(refusal)) => Read::Refused(refusal),
        Err(_) => Read::Panicked,
    }
}

/// Locks and reads what the actions are decided from, products after they are written.
async fn load(conn: &mut PgConnection, calls: &[Received], read: &[Read], now: Timestamp) -> Result<World, Error> {
    let (mut keys, mut wanted) = (Vec::new(), Vec::new());
    // The number that a new order would get may be another's already.
    let own: Vec<Option<String>> = read
        .iter()
        .map(|read| match read {
            Read::Action(Action::SyncWorkOrder(order)) => Some(sync::own_number(order)),
            Read::Action(_) | Read::Refused(_) | Read::Panicked => None,
        })
        .collect();
    for ((call, read), own) in calls.iter().zip(read).zip(&own) {
        let Read::Action(action) = read else { continue };
        match action {
            Action::SyncWorkOrder(order) => {
                keys.push(Key {
                    tenant: call.tenant,
                    id: order.work_order_id.as_deref().and_then(|id| id.parse().ok()),
                    exact_number: Some(&order.exact_shop_order_number),
                    wo_number: own.as_deref(),
                });
                wanted.push(ProductKey {
                    tenant: call.tenant,
                    exact_item_id: Some(&order.product.exact_item_id),
                    item_code: Some(&order.product.item_code),
                });
            }
            Action::AssignBatches(assignment) => keys.push(Key {
                tenant: call.tenant,
                id: assignment.work_order_id.as_deref().and_then(|id| id.parse().ok()),
                exact_number: assignment.exact_shop_order_number.as_deref(),
                wo_number: None,
            }),
            Action::SyncProducts(_) | Action::SyncCustomers(_) => {}
        }
    }
    let mut world = World::new(shop_orders::lock(conn, &keys).await?);
    products::upsert(conn, &new_products(calls, read), now).await?;
    for (key, product) in wanted.iter().zip(products::find(conn, &wanted).await?) {
        world.know_product(*key, product);
    }
    let needed: Vec<ShopOrderId> =
        calls.iter().zip(read).flat_map(|(call, read)| needs_items(&world, call, read)).collect();
    world.know_items(shop_orders::lock_items(conn, &needed).await?, &needed);
    Ok(world)
}

/// The stored orders whose items an action is decided from.
fn needs_items(world: &World, call: &Received, read: &Read) -> Vec<ShopOrderId> {
    match read {
        Read::Action(Action::AssignBatches(assignment)) => {
            let id = assignment.work_order_id.as_deref().and_then(|id| id.parse().ok());
            world.named(call.tenant, id, assignment.exact_shop_order_number.as_deref(), None)
        }
        Read::Action(Action::SyncWorkOrder(order)) => {
            let id = order.work_order_id.as_deref().and_then(|id| id.parse().ok());
            world.named(call.tenant, id, Some(&order.exact_shop_order_number), order.wo_number.as_deref())
        }
        Read::Action(Action::SyncProducts(_) | Action::SyncCustomers(_)) | Read::Refused(_) | Read::Panicked => {
            Vec::new()
        }
    }
}

fn new_products<'r>(calls: &[Received], read: &'r [Read]) -> Vec<NewProduct<'r>> {
    let mut products = Vec::new();
    for (call, read) in calls.iter().zip(read) {
        let Read::Action(Action::SyncProducts(Rows { good, .. })) = read else { continue };
        products.extend(good.iter().map(|row| new_product(call, &row.value)));
    }
    products
}

fn new_product<'p>(call: &Received, product: &'p Product) -> NewProduct<'p> {
    NewProduct {
        tenant: call.tenant,
        exact_item_id: &product.exact_item_id,
        item_code: &product.item_code,
        name: &product.name,
        name_nl: product.name_nl.as_deref(),
        description: product.description.as_deref(),
        product_type: product.product_type.as_str(),
        is_active: product.is_active,
        item_group: product.item_group.as_deref(),
        barcode: product.barcode.as_deref(),
        stock: product.stock.as_ref().map(busbar_systems::exact::Number::as_str),
    }
}

/// The customers that an action tells of.
fn customers_of(read: &Read) -> Box<dyn Iterator<Item = NewCustomer<'_>> + Send + '_> {
    match read {
        Read::Action(Action::SyncCustomers(rows)) => Box::new(rows.good.iter().map(|row| new_customer(&row.value))),
        Read::Action(Action::SyncWorkOrder(order)) => {
            let named = order.customer.as_ref().and_then(|customer| {
                let exact_customer_id = customer.exact_customer_id.as_deref()?;
                Some(NewCustomer { exact_customer_id, name: customer.name.as_deref(), ..NewCustomer::default() })
            });
            Box::new(named.into_iter())
        }
        Read::Action(Action::SyncProducts(_) | Action::AssignBatches(_)) | Read::Refused(_) | Read::Panicked => {
            Box::new(std::iter::empty())
        }
    }
}

fn new_customer(customer: &Customer) -> NewCustomer<'_> {
    let address = customer.address.as_ref();
    NewCustomer {
        exact_customer_id: &customer.exact_customer_id,
        name: Some(&customer.name),
        name_nl: customer.name_nl.as_deref(),
        email: customer.email.as_deref(),
        phone: customer.phone.as_deref(),
        street: address.and_then(|address| address.street.as_deref()),
        city: address.and_then(|address| address.city.as_deref()),
        postal_code: address.and_then(|address| address.postal_code.as_deref()),
        country: address.and_then(|address| address.country.as_deref()),
        is_active: Some(customer.is_active),
    }
}

/// What one call comes to; a panic in the decision changes nothing of the world.
fn decide(world: &mut World, call: &Received, read: &Read, config: &Config, now: Timestamp) -> Decision {
    let outcome = match read {
        Read::Action(action) => {
            let decided = catch_unwind(AssertUnwindSafe(|| outcome(world, call, action, config, now)));
            decided.map_err(drop)
        }
        Read::Refused(refusal) => Ok(Err(refusal.clone())),
        Read::Panicked => Err(()),
    };
    let (events, ended, answer) = match outcome {
        Ok(Ok(outcome)) => {
            let (events, body) = world.apply(outcome);
            (events, Ended::Processed, Some(Answer { status: 200, body }))
        }
        Ok(Err(refusal)) => {
            let answer = Answer { status: refusal.http_status, body: outbound::refused(&refusal) };
            (Vec::new(), Ended::Processed, Some(answer))
        }
        Err(()) => {
            let ended = panicked(call, now);
            let regret = Answer { status: 500, body: Bytes::from_static(REGRET.as_bytes()) };
            let is_dead = matches!(ended, Ended::Dead { .. });
            (Vec::new(), ended, is_dead.then_some(regret))
        }
    };
    Decision { call: call.id, events, ended, answer }
}

/// What an action changes, and what is answered; pure.
fn outcome(
    world: &World,
    call: &Received,
    action: &Action,
    config: &Config,
    now: Timestamp,
) -> Result<Outcome, ActionRefusal> {
    match action {
        Action::SyncProducts(rows) => Ok(Outcome::answer(outbound::products_synced(rows.good.len(), &rows.refused))),
        Action::SyncCustomers(rows) => Ok(Outcome::answer(outbound::customers_synced(rows.good.len(), &rows.refused))),
        Action::SyncWorkOrder(order) => sync::decide(world, call, order, config, now),
        Action::AssignBatches(assignment) => assign::decide(world, call, assignment, config, now),
    }
}

fn count(read: &Read, answer: Option<&Answer>) {
    let action = match read {
        Read::Action(action) => action.kind().as_str(),
        Read::Refused(_) | Read::Panicked => "unreadable",
    };
    let status = answer.map_or(0, |answer| answer.status);
    metrics::counter!(metric::ACTIONS, "action" => action, "status" => status.to_string()).increment(1);
}
