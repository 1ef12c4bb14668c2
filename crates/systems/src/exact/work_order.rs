//! `sync_exact_work_order`: a shop order that Exact has made, or that it now knows by a number.

use std::fmt;

use busbar_domain::shop_order::MaterialsStatus;
use chrono::NaiveDate;

use super::code::Wrong;
use super::fields::{Fields, code, count, date, link, missing, number, object, status, words};
use super::number::Number;
use super::rows::elements;

/// The largest batch, which bounds the items that one order is made of.
pub const MAX_BATCH_SIZE: u32 = 10_000;

/// A shop order as Exact tells it.
///
/// It is matched by `work_order_id`, else by its number, else by `wo_number`; an order that none of them finds is new.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkOrder {
    /// The hub's id of the order, as sent; a text that is no UUID names no order.
    pub work_order_id: Option<String>,
    /// Exact's number of the order.
    pub exact_shop_order_number: String,
    /// Where a person sees it at Exact.
    pub exact_shop_order_link: String,
    /// The hub's number of the order, for one that was asked for here.
    pub wo_number: Option<String>,
    /// What is made.
    pub product: ProductReference,
    /// How many are made: 1 to [`MAX_BATCH_SIZE`].
    pub batch_size: u32,
    /// For whom.
    pub customer: Option<CustomerReference>,
    /// When it is meant to begin.
    pub planned_start_date: Option<NaiveDate>,
    /// When it is meant to end.
    pub planned_end_date: Option<NaiveDate>,
    /// How much of its materials there is.
    pub materials_summary: Option<MaterialsSummary>,
    /// How much of its materials has been issued.
    pub materials_issued_status: Option<MaterialsStatus>,
    /// What else there is to say, as sent.
    pub notes: Option<String>,
}

/// A product by both of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductReference {
    /// Exact's id, which counts first.
    pub exact_item_id: String,
    /// The code that people know it by.
    pub item_code: String,
}

/// A customer as far as an order tells.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerReference {
    /// Exact's id; without it the name is only text.
    pub exact_customer_id: Option<String>,
    /// The name, as sent.
    pub name: Option<String>,
}

/// How much of an order's materials there is; numbers are as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaterialsSummary {
    /// What there will be.
    pub projected_stock: Option<Number>,
    /// What there is.
    pub in_stock: Option<Number>,
    /// What there is too little.
    pub shortage: Option<Number>,
    /// Material by material.
    pub items: Vec<Material>,
}

/// One material of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// Its code.
    pub material_code: String,
    /// Its name, as sent.
    pub material_name: Option<String>,
    /// How much the order needs.
    pub required_qty: Option<Number>,
    /// How much of that there is.
    pub available_qty: Option<Number>,
    /// How much of it has been issued.
    pub status: Option<MaterialsStatus>,
}

/// Customer and notes may name a person, so they do not print.
impl fmt::Debug for WorkOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkOrder")
            .field("work_order_id", &self.work_order_id)
            .field("exact_shop_order_number", &self.exact_shop_order_number)
            .field("wo_number", &self.wo_number)
            .field("product", &self.product)
            .field("batch_size", &self.batch_size)
            .field("materials_issued_status", &self.materials_issued_status)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CustomerReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomerReference").field("exact_customer_id", &self.exact_customer_id).finish_non_exhaustive()
    }
}

impl WorkOrder {
    /// Reads the action; the first field at fault refuses it.
    pub(super) fn read(mut fields: Fields<'_>) -> Result<Self, Wrong> {
        Ok(Self {
            work_order_id: fields.optional(&["work_order_id"], code)?,
            exact_shop_order_number: fields.required(&["exact_shop_order_number"], code)?,
            exact_shop_order_link: fields.required(&["exact_shop_order_link"], link)?,
            wo_number: fields.optional(&["wo_number"], code)?,
            product: match fields.optional(&["product"], object)? {
                Some(product) => ProductReference::read(product).map_err(|wrong| wrong.under("product"))?,
                None => return Err(missing("product.exact_item_id")),
            },
            batch_size: fields.required(&["batch_size"], count::<MAX_BATCH_SIZE>)?,
            customer: match fields.optional(&["customer"], object)? {
                Some(customer) => CustomerReference::read(customer).map_err(|wrong| wrong.under("customer"))?,
                None => None,
            },
            planned_start_date: fields.optional(&["planned_start_date"], date)?,
            planned_end_date: fields.optional(&["planned_end_date"], date)?,
            materials_summary: match fields.optional(&["materials_summary"], object)? {
                Some(summary) => {
                    Some(MaterialsSummary::read(summary).map_err(|wrong| wrong.under("materials_summary"))?)
                }
                None => None,
            },
            materials_issued_status: fields.optional(&["materials_issued_status"], status)?,
            notes: fields.optional(&["notes"], words)?,
        })
    }
}

impl ProductReference {
    fn read(mut fields: Fields<'_>) -> Result<Self, Wrong> {
        Ok(Self {
            exact_item_id: fields.required(&["exact_item_id"], code)?,
            item_code: fields.required(&["item_code"], code)?,
        })
    }
}

impl CustomerReference {
    /// `None` where the object says nothing.
    fn read(mut fields: Fields<'_>) -> Result<Option<Self>, Wrong> {
        let exact_customer_id = fields.optional(&["exact_customer_id"], code)?;
        let name = fields.optional(&["name"], words)?;
        let says_something = exact_customer_id.is_some() || name.is_some();
        Ok(says_something.then_some(Self { exact_customer_id, name }))
    }
}

impl MaterialsSummary {
    fn read(mut fields: Fields<'_>) -> Result<Self, Wrong> {
        Ok(Self {
            projected_stock: fields.optional(&["projected_stock"], number)?,
            in_stock: fields.optional(&["in_stock"], number)?,
            shortage: fields.optional(&["shortage"], number)?,
            items: elements(&mut fields, "items", Material::read)?.unwrap_or_default(),
        })
    }
}

impl Material {
    fn read(mut fields: Fields<'_>) -> Result<Self, Wrong> {
        Ok(Self {
            material_code: fields.required(&["material_code"], code)?,
            material_name: fields.optional(&["material_name"], words)?,
            required_qty: fields.optional(&["required_qty"], number)?,
            available_qty: fields.optional(&["available_qty"], number)?,
            status: fields.optional(&["status"], status)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sample() -> Value {
        serde_json::from_str(include_str!("fixtures/sync_exact_work_order.json")).unwrap()
    }

    fn read(body: &Value) -> Result<WorkOrder, String> {
        WorkOrder::read(Fields::read(body.to_string().as_bytes()).unwrap()).map_err(|wrong| wrong.to_string())
    }

    fn with(pointer: &str, value: Value) -> Value {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut body = sample();
        body.pointer_mut(parent).unwrap()[name] = value;
        body
    }

    #[test]
    fn what_is_optional_may_be_missing_null_or_blank() {
        let least = json!({
            "exact_shop_order_number": "SO-1", "exact_shop_order_link": "https://x/1", "batch_size": 1,
            "product": {"exact_item_id": "i", "item_code": "c"},
        });
        let order = read(&least).unwrap();
        assert_eq!((order.wo_number.as_deref(), order.customer.as_ref(), order.batch_size), (None, None, 1));
        let mut blank = least.clone();
        for (name, value) in [
            ("wo_number", json!(" ")),
            ("customer", json!({"exact_customer_id": "", "name": null})),
            ("planned_start_date", json!("")),
            ("materials_summary", Value::Null),
            ("materials_issued_status", Value::Null),
            ("notes", json!("")),
            ("work_order_id", json!("")),
            ("invoice", json!([1])),
        ] {
            blank[name] = value;
        }
        assert_eq!(read(&blank).unwrap(), order);
    }

    #[test]
    fn the_field_at_fault_is_named() {
        let required = "This field is required.";
        let date = "This field must be a date such as 2024-01-15.";
        let status = "This field must be pending, partial or complete.";
        let size = "This field must be a whole number from 1 to 10000.";
        for (pointer, value, path, sentence) in [
            ("/exact_shop_order_number", Value::Null, "exact_shop_order_number", required),
            ("/exact_shop_order_link", json!(""), "exact_shop_order_link", required),
            ("/product", Value::Null, "product.exact_item_id", required),
            ("/product", json!({}), "product.exact_item_id", required),
            ("/product/item_code", Value::Null, "product.item_code", required),
            ("/product", json!("SDM"), "product", "This must be an object of whole Unicode text."),
            ("/batch_size", Value::Null, "batch_size", required),
            ("/batch_size", json!(0), "batch_size", size),
            ("/batch_size", json!(-1), "batch_size", size),
            ("/batch_size", json!("x"), "batch_size", size),
            ("/batch_size", json!(10_001), "batch_size", size),
            ("/planned_start_date", json!("2024-13-01"), "planned_start_date", date),
            ("/planned_end_date", json!(20_240_115), "planned_end_date", "This field must be a string."),
            ("/materials_issued_status", json!("issued"), "materials_issued_status", status),
            ("/materials_issued_status", json!(1), "materials_issued_status", status),
            ("/materials_summary/items/1/status", json!("done"), "materials_summary.items[1].status", status),
            (
                "/materials_summary/items/0/material_code",
                json!(" "),
                "materials_summary.items[0].material_code",
                required,
            ),
            ("/materials_summary/items", json!({}), "materials_summary.items", "This field must be an array."),
            ("/customer/name", json!(7), "customer.name", "This field must be a string."),
        ] {
            assert_eq!(read(&with(pointer, value)).unwrap_err(), format!("{path}: {sentence}"));
        }
    }

    #[test]
    fn a_status_of_the_field_is_read_as_the_documented_one() {
        let order = read(&with("/materials_issued_status", json!("not_issued"))).unwrap();
        assert_eq!(order.materials_issued_status, Some(MaterialsStatus::Pending));
    }

    #[test]
    fn nobody_is_named_in_a_log() {
        let order = read(&sample()).unwrap();
        let printed = format!("{order:?} {:?}", order.customer);
        assert!(!printed.contains("Acme") && !printed.contains("Priority"));
    }
}
