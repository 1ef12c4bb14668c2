//! `assign_batch_numbers`: materials have been issued at Exact, each with its batch, for the items of one order.

use std::collections::HashSet;

use busbar_domain::shop_order::MaterialsStatus;

use super::code::Wrong;
use super::fields::{Fields, code, count, missing, status};
use super::rows::elements;
use super::work_order::MAX_BATCH_SIZE;
use crate::refusal::{DUPLICATE_FIELD, INVALID_VALUE, REQUIRED, fault};

/// Batch numbers for the items of one order, and the status that its materials have with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchAssignment {
    /// The hub's id of the order, as sent; a text that is no UUID names no order.
    pub work_order_id: Option<String>,
    /// Exact's number of the order; one of both is there.
    pub exact_shop_order_number: Option<String>,
    /// How much of the order's materials has been issued, which is stored as sent.
    pub materials_issued_status: MaterialsStatus,
    /// Item by item; none is there twice.
    pub items: Vec<ItemAssignment>,
}

/// The batch of one item, which is found by its serial number, by its place, or by both if they agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemAssignment {
    /// Its place in the order's batch, from 1.
    pub position_in_batch: Option<u32>,
    /// Its serial number; one of both is there.
    pub serial_number: Option<String>,
    /// The batch that it is produced in.
    pub batch_number: String,
    /// The batches of what it is made of.
    pub materials: Vec<MaterialBatch>,
}

/// A material and the batch that it was taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaterialBatch {
    /// The material's code.
    pub material_code: String,
    /// The batch.
    pub batch_number: String,
}

impl BatchAssignment {
    /// Reads the action; the first field at fault refuses it.
    pub(super) fn read(mut fields: Fields<'_>) -> Result<Self, Wrong> {
        let work_order_id = fields.optional(&["work_order_id"], code)?;
        let exact_shop_order_number = fields.optional(&["exact_shop_order_number"], code)?;
        if work_order_id.is_none() && exact_shop_order_number.is_none() {
            let sentence = "This field or exact_shop_order_number is required.";
            return Err(Wrong::at("work_order_id", fault(REQUIRED, sentence)));
        }
        let materials_issued_status = fields.required(&["materials_issued_status"], status)?;
        let items = elements(&mut fields, ITEMS, ItemAssignment::read)?.ok_or_else(|| missing(ITEMS))?;
        once_each(&items)?;
        Ok(Self { work_order_id, exact_shop_order_number, materials_issued_status, items })
    }
}

const ITEMS: &str = "batch_assignments";

impl ItemAssignment {
    fn read(mut fields: Fields<'_>) -> Result<Self, Wrong> {
        let position_in_batch = fields.optional(&["position_in_batch"], count::<{ u32::MAX }>)?;
        let serial_number = fields.optional(&["serial_number"], code)?;
        if position_in_batch.is_none() && serial_number.is_none() {
            return Err(missing("position_in_batch"));
        }
        Ok(Self {
            position_in_batch,
            serial_number,
            batch_number: fields.required(&["batch_number"], code)?,
            materials: elements(&mut fields, "materials", MaterialBatch::read)?.unwrap_or_default(),
        })
    }
}

impl MaterialBatch {
    fn read(mut fields: Fields<'_>) -> Result<Self, Wrong> {
        Ok(Self {
            material_code: fields.required(&["material_code"], code)?,
            batch_number: fields.required(&["batch_number"], code)?,
        })
    }
}

/// Refuses two assignments to one item, of which one would be lost, and more of them than an order can have.
fn once_each(items: &[ItemAssignment]) -> Result<(), Wrong> {
    if items.len() > MAX_BATCH_SIZE as usize {
        let sentence = format!("This field may have at most {MAX_BATCH_SIZE} elements.");
        return Err(Wrong::at(ITEMS, (INVALID_VALUE, sentence.into())));
    }
    let (mut positions, mut serials) = (HashSet::new(), HashSet::new());
    for (index, item) in items.iter().enumerate() {
        let twice = match (item.position_in_batch, &item.serial_number) {
            (Some(position), _) if !positions.insert(position) => "position_in_batch",
            (_, Some(serial)) if !serials.insert(serial) => "serial_number",
            _ => continue,
        };
        let fault = fault(DUPLICATE_FIELD, "This item has an assignment already.");
        return Err(Wrong::at(twice, fault).at_index(index).under(ITEMS));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sample() -> Value {
        serde_json::from_str(include_str!("fixtures/assign_batch_numbers.json")).unwrap()
    }

    fn read(body: &Value) -> Result<BatchAssignment, String> {
        BatchAssignment::read(Fields::read(body.to_string().as_bytes()).unwrap()).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn an_item_is_found_by_its_place_or_by_its_serial_number() {
        let body = json!({
            "exact_shop_order_number": " SO-1 ", "materials_issued_status": "partial", "batch_assignments": [
                {"position_in_batch": 1, "batch_number": "B"},
                {"serial_number": "S-2", "batch_number": "B", "materials": null},
                {"position_in_batch": 3, "serial_number": "S-3", "batch_number": "B", "materials": []},
            ],
        });
        let assignment = read(&body).unwrap();
        assert_eq!(assignment.exact_shop_order_number.as_deref(), Some("SO-1"));
        let found: Vec<_> =
            assignment.items.iter().map(|item| (item.position_in_batch, item.serial_number.as_deref())).collect();
        assert_eq!(found, [(Some(1), None), (None, Some("S-2")), (Some(3), Some("S-3"))]);
    }

    #[test]
    fn the_field_at_fault_is_named() {
        let required = "This field is required.";
        let status = "This field must be pending, partial or complete.";
        let place = "This field must be a whole number of at least 1.";
        let twice = "This item has an assignment already.";
        for (pointer, value, path, sentence) in [
            ("/materials_issued_status", Value::Null, "materials_issued_status", required),
            ("/materials_issued_status", json!("all"), "materials_issued_status", status),
            ("/materials_issued_status", json!(""), "materials_issued_status", status),
            ("/batch_assignments", Value::Null, "batch_assignments", required),
            ("/batch_assignments", json!({}), "batch_assignments", "This field must be an array."),
            ("/batch_assignments/1/position_in_batch", json!(0), "batch_assignments[1].position_in_batch", place),
            ("/batch_assignments/1/position_in_batch", json!(1.5), "batch_assignments[1].position_in_batch", place),
            ("/batch_assignments/1/position_in_batch", json!("2"), "batch_assignments[1].position_in_batch", place),
            ("/batch_assignments/1/position_in_batch", json!(1), "batch_assignments[1].position_in_batch", twice),
            ("/batch_assignments/2/serial_number", json!("SDM-2024-0001"), "batch_assignments[2].serial_number", twice),
            ("/batch_assignments/2/batch_number", Value::Null, "batch_assignments[2].batch_number", required),
            ("/batch_assignments/0", json!({"batch_number": "B"}), "batch_assignments[0].position_in_batch", required),
            (
                "/batch_assignments/0/materials/0/batch_number",
                Value::Null,
                "batch_assignments[0].materials[0].batch_number",
                required,
            ),
        ] {
            let mut body = sample();
            *body.pointer_mut(pointer).unwrap() = value;
            assert_eq!(read(&body).unwrap_err(), format!("{path}: {sentence}"));
        }
    }

    #[test]
    fn an_order_must_be_named() {
        let mut body = sample();
        body["work_order_id"] = Value::Null;
        assert!(read(&body).is_ok());
        body["exact_shop_order_number"] = json!(" ");
        assert_eq!(read(&body).unwrap_err(), "work_order_id: This field or exact_shop_order_number is required.");
    }

    #[test]
    fn a_status_alone_may_be_told() {
        let mut body = sample();
        body["batch_assignments"] = json!([]);
        assert_eq!(read(&body).unwrap().items, []);
    }
}
