//! What the hub says to Exact's side: the events that it asks or tells with, and the answers to actions.
//!
//! Fields stand in the order of the contract, and are null where there is nothing to say.

use busbar_domain::Timestamp;
use busbar_domain::dialect::wire_millis;
use busbar_domain::shop_order::MaterialsStatus;
use bytes::Bytes;
use chrono::NaiveDate;
use serde_json::{Value, json};
use uuid::Uuid;

use super::code::{ActionRefusal, RowError};
use super::rows::Refused;

/// A new order shall be made at Exact.
pub const CREATE_REQUESTED: &str = "shopOrder.create.requested";
/// Every item of an order is complete, and so shall the order be at Exact.
pub const COMPLETION_REQUESTED: &str = "shopOrder.completion.requested";
/// An order's materials are complete.
pub const READY_TO_START: &str = "shopOrder.ready_to_start";
/// An order is in production.
pub const IN_PROGRESS: &str = "shopOrder.in_progress";

/// Every event of a shop order.
pub const EVENTS: [&str; 4] = [CREATE_REQUESTED, COMPLETION_REQUESTED, READY_TO_START, IN_PROGRESS];

/// A product as events tell it.
#[derive(Clone, Copy, Debug)]
pub struct ProductOf<'o> {
    /// Exact's id.
    pub exact_item_id: &'o str,
    /// The code that people know it by.
    pub item_code: &'o str,
    /// The name, as sent.
    pub name: &'o str,
}

/// An order that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct CreateRequested<'o> {
    /// The hub's id of the order.
    pub work_order_id: Uuid,
    /// The hub's number of the order.
    pub wo_number: &'o str,
    /// What is made.
    pub product: ProductOf<'o>,
    /// How many.
    pub batch_size: u32,
    /// When it is meant to begin.
    pub planned_start_date: Option<NaiveDate>,
    /// When it is meant to end.
    pub planned_end_date: Option<NaiveDate>,
    /// What else there is to say.
    pub notes: Option<&'o str>,
}

impl CreateRequested<'_> {
    /// The payload of [`CREATE_REQUESTED`].
    pub fn payload(&self) -> Bytes {
        bytes(&json!({
            "work_order_id": self.work_order_id,
            "wo_number": self.wo_number,
            "product": product(self.product),
            "batch_size": self.batch_size,
            "planned_start_date": self.planned_start_date,
            "planned_end_date": self.planned_end_date,
            "notes": self.notes,
        }))
    }
}

/// One item of a completed order.
#[derive(Clone, Copy, Debug)]
pub struct CompletedItem<'o> {
    /// Its serial number.
    pub serial_number: Option<&'o str>,
    /// The batch that it was produced in.
    pub batch_number: Option<&'o str>,
    /// When it was completed.
    pub completed_at: Timestamp,
}

/// An order all of whose items are complete.
#[derive(Clone, Debug)]
pub struct CompletionRequested<'o> {
    /// The hub's id of the order.
    pub work_order_id: Uuid,
    /// Exact's number of the order.
    pub exact_shop_order_number: &'o str,
    /// When the last item was completed.
    pub completed_at: Timestamp,
    /// Its items, by their place in the batch.
    pub items: Vec<CompletedItem<'o>>,
}

impl CompletionRequested<'_> {
    /// The payload of [`COMPLETION_REQUESTED`].
    pub fn payload(&self) -> Bytes {
        let item = |item: &CompletedItem<'_>| {
            json!({
                "serial_number": item.serial_number,
                "batch_number": item.batch_number,
                "completed_at": wire_millis(item.completed_at),
            })
        };
        bytes(&json!({
            "work_order_id": self.work_order_id,
            "exact_shop_order_number": self.exact_shop_order_number,
            "completed_items": self.items.len(),
            "completion_date": wire_millis(self.completed_at),
            "items": self.items.iter().map(item).collect::<Vec<_>>(),
        }))
    }
}

/// An order that has come a step further, and the roles that are to know.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'o> {
    /// The hub's id of the order.
    pub work_order_id: Uuid,
    /// The hub's number of the order, which one that Exact made may lack.
    pub wo_number: Option<&'o str>,
    /// Exact's number of the order.
    pub exact_shop_order_number: &'o str,
    /// What is made.
    pub product: ProductOf<'o>,
    /// How many.
    pub batch_size: u32,
    /// When it is meant to begin.
    pub planned_start_date: Option<NaiveDate>,
    /// When it is meant to end.
    pub planned_end_date: Option<NaiveDate>,
    /// The first day of its production.
    pub production_start_date: Option<NaiveDate>,
    /// The last day of its production.
    pub production_end_date: Option<NaiveDate>,
    /// The roles that the connector names for this step.
    pub notify: &'o [String],
}

impl Progress<'_> {
    /// The payload of [`READY_TO_START`] and of [`IN_PROGRESS`].
    pub fn payload(&self) -> Bytes {
        bytes(&json!({
            "work_order_id": self.work_order_id,
            "wo_number": self.wo_number,
            "exact_shop_order_number": self.exact_shop_order_number,
            "product": product(self.product),
            "batch_size": self.batch_size,
            "materials_issued_status": MaterialsStatus::Complete.as_str(),
            "planned_start_date": self.planned_start_date,
            "planned_end_date": self.planned_end_date,
            "production_start_date": self.production_start_date,
            "production_end_date": self.production_end_date,
            "notify": self.notify,
        }))
    }
}

/// The answer to `sync_products`: `written` rows, and what became of the others.
pub fn products_synced(written: usize, refused: &Refused) -> Bytes {
    synced("products", written, refused)
}

/// The answer to `sync_customers`: `written` rows, and what became of the others.
pub fn customers_synced(written: usize, refused: &Refused) -> Bytes {
    synced("customers", written, refused)
}

/// The answer to `sync_exact_work_order`.
pub fn work_order_synced(work_order_id: Uuid, exact_shop_order_number: &str) -> Bytes {
    bytes(&json!({
        "success": true,
        "message": "Shop order synced",
        "work_order_id": work_order_id,
        "exact_shop_order_number": exact_shop_order_number,
    }))
}

/// The answer to `assign_batch_numbers`: the items that were changed, and the rows that found none.
pub fn batches_assigned(updated: usize, status: MaterialsStatus, refused: &Refused) -> Bytes {
    let answer = json!({
        "success": true,
        "message": format!("Assigned batch numbers to {updated} items"),
        "updated_items": updated,
        "materials_issued_status": status.as_str(),
    });
    bytes(&with_refused(answer, refused))
}

/// The answer to an action that is accepted and not done yet; `status_url` tells when it is.
pub fn accepted(event_id: Uuid, status_url: &str) -> Bytes {
    bytes(&json!({ "success": true, "message": "accepted", "event_id": event_id, "status_url": status_url }))
}

/// The answer to an action that is refused.
pub fn refused(refusal: &ActionRefusal) -> Bytes {
    let mut answer = json!({ "success": false, "error": refusal.error, "code": refusal.code.as_str() });
    if !refusal.rows.is_empty() {
        answer["details"] = refusal.rows.iter().map(row_error).collect();
    }
    bytes(&answer)
}

fn synced(what: &str, written: usize, refused: &Refused) -> Bytes {
    let answer = json!({ "success": true, "message": format!("Synced {written} {what}"), "synced_count": written });
    bytes(&with_refused(answer, refused))
}

/// An answer is the documented one unless rows were refused.
fn with_refused(mut answer: Value, refused: &Refused) -> Value {
    if refused.count() > 0 {
        answer["failed_count"] = refused.count().into();
        answer["errors"] = refused.errors().iter().map(row_error).collect();
    }
    answer
}

fn row_error(row: &RowError) -> Value {
    json!({ "index": row.index, "code": row.code.as_str(), "error": row.error })
}

fn product(product: ProductOf<'_>) -> Value {
    json!({ "exact_item_id": product.exact_item_id, "item_code": product.item_code, "name": product.name })
}

/// Compact, as [`busbar_domain::json::compact`] writes it.
fn bytes(value: &Value) -> Bytes {
    value.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::code::Code;
    use busbar_domain::dialect::Dialect;
    use busbar_domain::event::EventType;
    use busbar_domain::json::compact;
    use chrono::DateTime;

    const ID: Uuid = Uuid::from_u128(0x3f0c_9a52_6c1e_4c53_9d2f_0b6a_7c1d_2e4f);
    const PRODUCT: ProductOf<'static> =
        ProductOf { exact_item_id: "abc123-uuid", item_code: "SDM-ECO-001", name: "SDM ECO Sensor Unit" };

    fn at(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn day(day: u32) -> Option<NaiveDate> {
        NaiveDate::from_ymd_opt(2024, 1, day)
    }

    fn text(bytes: &Bytes) -> &str {
        assert_eq!(compact(bytes).unwrap(), *bytes);
        std::str::from_utf8(bytes).unwrap()
    }

    fn refused_row() -> Refused {
        let mut refused = Refused::default();
        refused.push(RowError { index: 1, code: Code::MissingRequiredField, error: "products[1].name: x".to_owned() });
        refused
    }

    /// The page's body, with our id in the place of its.
    fn documented(page: &str) -> String {
        String::from_utf8(compact(page.replace("uuid-of-work-order", &ID.to_string()).as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_request_to_create_is_the_documented_one() {
        let request = CreateRequested {
            work_order_id: ID,
            wo_number: "PENDING-1703347200000",
            product: PRODUCT,
            batch_size: 10,
            planned_start_date: day(15),
            planned_end_date: day(20),
            notes: Some("Rush order"),
        };
        let body = Dialect::Exact.body(CREATE_REQUESTED, at("2024-01-10T14:30:00Z"), &request.payload());
        assert_eq!(String::from_utf8(body).unwrap(), documented(include_str!("fixtures/create_requested.json")));
        let bare = CreateRequested { planned_start_date: None, planned_end_date: None, notes: None, ..request };
        assert!(text(&bare.payload()).ends_with(r#""planned_start_date":null,"planned_end_date":null,"notes":null}"#));
    }

    #[test]
    fn a_request_to_complete_is_the_documented_one() {
        let item = CompletedItem {
            serial_number: Some("SDM-2024-0001"),
            batch_number: Some("BATCH-2024-001"),
            completed_at: at("2024-01-20T14:30:00Z"),
        };
        let request = CompletionRequested {
            work_order_id: ID,
            exact_shop_order_number: "SO-2024-001234",
            completed_at: at("2024-01-20T16:45:00Z"),
            items: vec![item],
        };
        let body = Dialect::Exact.body(COMPLETION_REQUESTED, at("2024-01-20T16:45:00Z"), &request.payload());
        let page = documented(include_str!("fixtures/completion_requested.json"));
        // The page shows one item of ten.
        assert_eq!(String::from_utf8(body).unwrap(), page.replace("\"completed_items\":10", "\"completed_items\":1"));
    }

    #[test]
    fn progress_tells_the_order_and_who_is_to_know() {
        let progress = Progress {
            work_order_id: ID,
            wo_number: Some("PENDING-1703347200000"),
            exact_shop_order_number: "SO-2024-001234",
            product: PRODUCT,
            batch_size: 10,
            planned_start_date: day(15),
            planned_end_date: None,
            production_start_date: None,
            production_end_date: None,
            notify: &["admin".to_owned()],
        };
        assert_eq!(
            text(&progress.payload()),
            r#"{"work_order_id":"3f0c9a52-6c1e-4c53-9d2f-0b6a7c1d2e4f","wo_number":"PENDING-1703347200000","exact_shop_order_number":"SO-2024-001234","product":{"exact_item_id":"abc123-uuid","item_code":"SDM-ECO-001","name":"SDM ECO Sensor Unit"},"batch_size":10,"materials_issued_status":"complete","planned_start_date":"2024-01-15","planned_end_date":null,"production_start_date":null,"production_end_date":null,"notify":["admin"]}"#
        );
        assert!(EVENTS.iter().all(|name| EventType::parse(name).is_ok()));
    }

    #[test]
    fn answers_are_the_documented_ones() {
        let none = Refused::default();
        assert_eq!(
            text(&products_synced(2, &none)),
            r#"{"success":true,"message":"Synced 2 products","synced_count":2}"#
        );
        assert_eq!(
            text(&customers_synced(1, &none)),
            r#"{"success":true,"message":"Synced 1 customers","synced_count":1}"#
        );
        assert_eq!(
            text(&work_order_synced(ID, "SO-2024-001234")),
            r#"{"success":true,"message":"Shop order synced","work_order_id":"3f0c9a52-6c1e-4c53-9d2f-0b6a7c1d2e4f","exact_shop_order_number":"SO-2024-001234"}"#
        );
        assert_eq!(
            text(&batches_assigned(3, MaterialsStatus::Complete, &none)),
            r#"{"success":true,"message":"Assigned batch numbers to 3 items","updated_items":3,"materials_issued_status":"complete"}"#
        );
        assert_eq!(
            text(&accepted(ID, "https://x/1")),
            r#"{"success":true,"message":"accepted","event_id":"3f0c9a52-6c1e-4c53-9d2f-0b6a7c1d2e4f","status_url":"https://x/1"}"#
        );
    }

    #[test]
    fn refused_rows_are_counted_and_told() {
        assert_eq!(
            text(&products_synced(2, &refused_row())),
            r#"{"success":true,"message":"Synced 2 products","synced_count":2,"failed_count":1,"errors":[{"index":1,"code":"MISSING_REQUIRED_FIELD","error":"products[1].name: x"}]}"#
        );
        let refusal = ActionRefusal::new(Code::InvalidAction, "There is no \"such\" action.");
        assert_eq!(
            text(&refused(&refusal)),
            r#"{"success":false,"error":"There is no \"such\" action.","code":"INVALID_ACTION"}"#
        );
        let rows = ActionRefusal { rows: refused_row().errors().to_vec(), ..refusal };
        assert!(text(&refused(&rows)).ends_with(
            r#""code":"INVALID_ACTION","details":[{"index":1,"code":"MISSING_REQUIRED_FIELD","error":"products[1].name: x"}]}"#
        ));
    }
}
