//! What a body asks for: one of four actions, in the documented shape or in one of Zapier's envelopes.
//!
//! Reading decides nothing that needs a database: whether an order or a product exists is the processor's question.

use busbar_domain::json;

use super::assignment::BatchAssignment;
use super::code::{ActionRefusal, Code, Wrong};
use super::config::Config;
use super::customer::{self, Customer};
use super::envelope::{self, Envelope};
use super::fields::{Fields, missing};
use super::product::{self, Product};
use super::rows::{self, Rows};
use super::work_order::WorkOrder;
use crate::members::{Members, text};
use crate::refusal::{INVALID_VALUE, Unreadable, fault};

/// The most characters of an unknown action's name that are told.
const MAX_NAME: usize = 100;

/// The actions that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `sync_products`.
    SyncProducts,
    /// `sync_exact_work_order`.
    SyncWorkOrder,
    /// `assign_batch_numbers`.
    AssignBatches,
    /// `sync_customers`.
    SyncCustomers,
}

impl Kind {
    /// Every action, in the order of the contract.
    pub const ALL: [Self; 4] = [Self::SyncProducts, Self::SyncWorkOrder, Self::AssignBatches, Self::SyncCustomers];

    /// The action's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SyncProducts => "sync_products",
            Self::SyncWorkOrder => "sync_exact_work_order",
            Self::AssignBatches => "assign_batch_numbers",
            Self::SyncCustomers => "sync_customers",
        }
    }

    /// Reads an action's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One action, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Products are made or changed.
    SyncProducts(Rows<Product>),
    /// A shop order is made or changed.
    SyncWorkOrder(Box<WorkOrder>),
    /// Items of a shop order get their batches.
    AssignBatches(BatchAssignment),
    /// Customers are made or changed.
    SyncCustomers(Rows<Customer>),
}

impl Action {
    /// Reads a body with the connector's settings.
    pub fn parse(body: &[u8], config: &Config) -> Result<Self, ActionRefusal> {
        let compact = json::compact(body).map_err(Unreadable::Json)?;
        let mut fields = Fields::from(Members::read(&compact)?);
        let kind = kind(&mut fields)?;
        match envelope::open(&mut fields)? {
            None => Self::read(kind.ok_or_else(|| missing("action"))?, fields, config),
            Some(Envelope::Body(inner)) => {
                let mut fields = Fields::from(Members::read(&inner)?);
                let inner_kind = self::kind(&mut fields)?;
                let kind = kind.or(inner_kind).or_else(|| found(&fields)).ok_or_else(|| missing("action"))?;
                Self::read(kind, fields, config)
            }
            Some(Envelope::List(list)) => match kind.unwrap_or(Kind::SyncProducts) {
                Kind::SyncProducts => rows::read(list, |row| printed_product(row, config)).map(Self::SyncProducts),
                Kind::SyncWorkOrder | Kind::AssignBatches | Kind::SyncCustomers => {
                    let sentence = "A list that is printed as text may hold products only.";
                    Err(Wrong::at("data", fault(INVALID_VALUE, sentence)).into())
                }
            },
        }
    }

    /// Which action it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::SyncProducts(_) => Kind::SyncProducts,
            Self::SyncWorkOrder(_) => Kind::SyncWorkOrder,
            Self::AssignBatches(_) => Kind::AssignBatches,
            Self::SyncCustomers(_) => Kind::SyncCustomers,
        }
    }

    fn read(kind: Kind, mut fields: Fields<'_>, config: &Config) -> Result<Self, ActionRefusal> {
        match kind {
            Kind::SyncProducts => {
                let listed = rows::listed(&mut fields, product::LISTS)?;
                let read = |row| rows::row(row, |fields| Product::read(fields, config));
                rows::read(listed, read).map(Self::SyncProducts)
            }
            Kind::SyncWorkOrder => Ok(Self::SyncWorkOrder(Box::new(WorkOrder::read(fields)?))),
            Kind::AssignBatches => Ok(Self::AssignBatches(BatchAssignment::read(fields)?)),
            Kind::SyncCustomers => {
                let listed = rows::listed(&mut fields, customer::LISTS)?;
                rows::read(listed, |row| rows::row(row, Customer::read)).map(Self::SyncCustomers)
            }
        }
    }
}

/// The action that a body names; `None` if it names none.
fn kind(fields: &mut Fields<'_>) -> Result<Option<Kind>, ActionRefusal> {
    let Some(value) = fields.optional(&["action"], |value| Ok(Some(value)))? else { return Ok(None) };
    let name = text(value).unwrap_or(value.get().into());
    if name.trim().is_empty() {
        return Ok(None);
    }
    Kind::parse(&name).map(Some).ok_or_else(|| {
        let told: String = name.chars().take(MAX_NAME).collect();
        let known = Kind::ALL.map(Kind::as_str).join(", ");
        ActionRefusal::new(Code::InvalidAction, format!("action: There is no {told}; the known ones are {known}."))
    })
}

/// The action of an envelope that names none: what Zapier finds at Exact are items.
fn found(fields: &Fields<'_>) -> Option<Kind> {
    product::LISTS.iter().any(|name| fields.has(name)).then_some(Kind::SyncProducts)
}

fn printed_product(row: Result<Vec<u8>, Wrong>, config: &Config) -> Result<Product, Wrong> {
    let row = row?;
    Product::read(Fields::read(&row).map_err(|fault| Wrong::at("", fault))?, config)
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
