//! `assign_batch_numbers`: which order and which of its items are meant, and what becomes of them.

use busbar_domain::Timestamp;
use busbar_storage::inbound::Received;
use busbar_storage::shop_orders::Item;
use busbar_systems::exact::rows::Refused;
use busbar_systems::exact::{ActionRefusal, BatchAssignment, Code, Config, ItemAssignment, RowError, outbound, stored};

use crate::exact::progress::advance;
use crate::exact::world::{Draft, Outcome, World};

/// Gives items their batches and the order its status; pure.
pub(super) fn decide(
    world: &World,
    call: &Received,
    sent: &BatchAssignment,
    config: &Config,
    now: Timestamp,
) -> Result<Outcome, ActionRefusal> {
    let mut draft = find(world, call, sent)?.clone();
    let state = draft.order.state.materials_issued(sent.materials_issued_status).map_err(|_| {
        let (state, status) = (draft.order.state.as_str(), sent.materials_issued_status.as_str());
        ActionRefusal::backwards(format!("materials_issued_status: The order is {state}; it cannot become {status}."))
    })?;
    let (mut updated, mut refused) = (0, Refused::default());
    for (index, assignment) in sent.items.iter().enumerate() {
        match assign(&mut draft, assignment) {
            Ok(is_changed) => updated += usize::from(is_changed),
            Err((code, field, sentence)) => {
                let error = format!("batch_assignments[{index}].{field}: {sentence}");
                refused.push(RowError { index, code, error });
            }
        }
    }
    if let Some(first) = refused.errors().first()
        && refused.count() == sent.items.len()
    {
        let refusal = ActionRefusal::new(first.code, first.error.clone());
        return Err(ActionRefusal { rows: refused.errors().to_vec(), ..refusal });
    }
    draft.order.materials = sent.materials_issued_status;
    draft.order.connector = Some(call.connector);
    let events = advance(&mut draft.order, state, call, config, now);
    let answer = outbound::batches_assigned(updated, sent.materials_issued_status, &refused);
    Ok(Outcome { draft: Some(draft), events, answer })
}

fn find<'w>(world: &'w World, call: &Received, sent: &BatchAssignment) -> Result<&'w Draft, ActionRefusal> {
    let none = |field: &str, name: &str| {
        ActionRefusal::new(Code::WorkOrderNotFound, format!("{field}: There is no order {name}."))
    };
    let by_number = |number: &String| {
        let known = world.by_exact_number(call.tenant, number);
        known.ok_or_else(|| none("exact_shop_order_number", number))
    };
    let Some(text) = &sent.work_order_id else {
        return by_number(sent.exact_shop_order_number.as_ref().unwrap_or(&String::new()));
    };
    let known = text.parse().ok().and_then(|id| world.by_id(call.tenant, id));
    let known = known.ok_or_else(|| none("work_order_id", text))?;
    if let Some(number) = &sent.exact_shop_order_number
        && known.order.exact_number.as_ref() != Some(number)
    {
        by_number(number)?;
        let error = "work_order_id and exact_shop_order_number name different orders.";
        return Err(ActionRefusal::new(Code::Conflict, error));
    }
    Ok(known)
}

/// Why one row finds no item.
type Unassigned = (Code, &'static str, String);

/// Gives one item its batch; answers whether that has changed anything.
fn assign(draft: &mut Draft, sent: &ItemAssignment) -> Result<bool, Unassigned> {
    let at = place(draft, sent)?;
    let Some(item) = draft.items.get_mut(at) else {
        return Err((Code::InvalidField, "position_in_batch", "There is no such item.".to_owned()));
    };
    let before = item.clone();
    if sent.serial_number.is_some() {
        item.serial_number.clone_from(&sent.serial_number);
    }
    item.batch_number = Some(sent.batch_number.clone());
    if !sent.materials.is_empty() {
        item.materials = Some(stored::batches_text(&sent.materials));
    }
    let is_changed = *item != before;
    if is_changed {
        draft.touched.insert(before.position);
    }
    Ok(is_changed)
}

/// Where the item stands that a row means: the one with the serial number, or in the place, which must agree.
fn place(draft: &Draft, sent: &ItemAssignment) -> Result<usize, Unassigned> {
    let size = draft.order.batch_size;
    let has_serial = |item: &Item| sent.serial_number.is_some() && item.serial_number == sent.serial_number;
    let by_serial = draft.items.iter().position(has_serial);
    let Some(position) = sent.position_in_batch else {
        let serial = sent.serial_number.as_deref().unwrap_or_default();
        let none = || (Code::InvalidField, "serial_number", format!("The order has no item {serial}."));
        return by_serial.ok_or_else(none);
    };
    if position > size {
        return Err((Code::InvalidField, "position_in_batch", format!("The order has {size} items only.")));
    }
    let at = draft.items.iter().position(|item| item.position == position);
    let at = at.ok_or_else(|| (Code::InvalidField, "position_in_batch", "There is no such item.".to_owned()))?;
    let disagree = |sentence: String| Err((Code::Conflict, "serial_number", sentence));
    match (&sent.serial_number, by_serial, &draft.items[at].serial_number) {
        (Some(serial), Some(other), _) if other != at => {
            disagree(format!("{serial} is item {}, not item {position}.", draft.items[other].position))
        }
        (Some(serial), None, Some(known)) => disagree(format!("Item {position} is {known}, not {serial}.")),
        _ => Ok(at),
    }
}
