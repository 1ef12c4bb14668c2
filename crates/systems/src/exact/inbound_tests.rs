//! Tables for the four actions, their envelopes, and their codes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::exact::product::ProductType;
use crate::exact::work_order::{CustomerReference, ProductReference};
use busbar_domain::shop_order::MaterialsStatus;

fn config() -> Config {
    Config { default_product_type: Some(ProductType::Sensor), ..Config::default() }
}

fn parse(body: &Value) -> Result<Action, ActionRefusal> {
    Action::parse(body.to_string().as_bytes(), &config())
}

fn products(body: &Value) -> Rows<Product> {
    match parse(body) {
        Ok(Action::SyncProducts(rows)) => rows,
        other => panic!("these are products: {other:?}"),
    }
}

fn refused(body: &Value) -> (Code, String) {
    let refusal = parse(body).unwrap_err();
    (refusal.code, refusal.error)
}

fn sample(text: &str) -> Action {
    Action::parse(text.as_bytes(), &Config::default()).unwrap()
}

#[test]
fn the_documented_products_are_read() {
    let Action::SyncProducts(rows) = sample(include_str!("fixtures/sync_products.json")) else { panic!() };
    assert_eq!((rows.good.len(), rows.refused.count()), (2, 0));
    let product = &rows.good[1].value;
    assert_eq!(
        (product.exact_item_id.as_str(), product.item_code.as_str()),
        ("def456-uuid-from-exact", "SENSOR-TMP-002")
    );
    assert_eq!(product.name_nl.as_deref(), Some("Temperatuursensor Module"));
    assert_eq!((product.product_type, product.is_active, &product.stock), (ProductType::Sensor, true, &None));
}

#[test]
fn the_documented_order_is_read() {
    let Action::SyncWorkOrder(order) = sample(include_str!("fixtures/sync_exact_work_order.json")) else { panic!() };
    assert_eq!(order.exact_shop_order_number, "SO-2024-001234");
    assert_eq!(order.wo_number.as_deref(), Some("PENDING-1703347200000"));
    let (id, item_code) = ("abc123-uuid-from-exact".to_owned(), "SDM-ECO-001".to_owned());
    assert_eq!(order.product, ProductReference { exact_item_id: id, item_code });
    let (id, name) = (Some("cust-001".to_owned()), Some("Acme Corporation".to_owned()));
    assert_eq!(order.customer, Some(CustomerReference { exact_customer_id: id, name }));
    assert_eq!(order.planned_end_date.unwrap().to_string(), "2024-01-20");
    assert_eq!((order.batch_size, order.materials_issued_status), (10, Some(MaterialsStatus::Pending)));
    let summary = order.materials_summary.unwrap();
    assert_eq!((summary.items.len(), summary.items[0].status), (2, Some(MaterialsStatus::Partial)));
    assert_eq!(summary.shortage.unwrap().as_str(), "15");
    assert_eq!(order.notes.as_deref(), Some("Priority order for Q1 delivery"));
}

#[test]
fn the_documented_assignment_is_read() {
    let Action::AssignBatches(assignment) = sample(include_str!("fixtures/assign_batch_numbers.json")) else {
        panic!()
    };
    assert_eq!(assignment.work_order_id.as_deref(), Some("uuid-of-work-order"));
    assert_eq!(assignment.materials_issued_status, MaterialsStatus::Complete);
    assert_eq!(assignment.items.len(), 3);
    assert_eq!(assignment.items[2].materials[0].batch_number, "MAT-BATCH-A2");
}

#[test]
fn the_documented_customers_are_read() {
    let Action::SyncCustomers(rows) = sample(include_str!("fixtures/sync_customers.json")) else { panic!() };
    let customer = &rows.good[0].value;
    assert_eq!(customer.exact_customer_id, "cust-001-uuid");
    assert_eq!(customer.address.as_ref().unwrap().postal_code.as_deref(), Some("1012 AB"));
}

#[test]
fn an_action_must_be_named_and_known() {
    for missing in [json!({}), json!({"action": null}), json!({"action": " "}), json!({"products": []})] {
        assert_eq!(refused(&missing), (Code::MissingRequiredField, "action: This field is required.".to_owned()));
    }
    for unknown in [json!("sync_everything"), json!("SYNC_PRODUCTS"), json!(7), json!(["sync_products"])] {
        let (code, error) = refused(&json!({"action": unknown, "products": []}));
        assert_eq!(code, Code::InvalidAction);
        assert!(error.contains("sync_products, sync_exact_work_order"), "{error}");
    }
    assert!(refused(&json!({"action": "x".repeat(5000)})).1.len() < 300);
    assert_eq!(refused(&json!({"action": "sync_products"})).1, "products: This field is required.");
    assert_eq!(refused(&json!({"action": "sync_customers"})).1, "customers: This field is required.");
}

#[test]
fn a_body_that_is_no_object_is_no_json_of_ours() {
    for body in ["", "{", "[]", "\"text\"", "null", "{\"action\":}"] {
        let refusal = Action::parse(body.as_bytes(), &config()).unwrap_err();
        assert_eq!((refusal.code, refusal.http_status), (Code::InvalidJson, 400), "{body}");
    }
}

#[test]
fn one_bad_row_of_three_is_told_and_the_others_are_read() {
    let rows = products(&json!({"action": "sync_products", "products": [
        {"exact_item_id": "a", "item_code": "A", "name": "a", "product_type": "MLA"},
        {"exact_item_id": "b", "name": "b", "product_type": "MLA"},
        {"exact_item_id": "c", "item_code": "C", "name": "c"},
    ]}));
    assert_eq!(rows.good.iter().map(|row| row.index).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(rows.refused.count(), 1);
    let error = &rows.refused.errors()[0];
    assert_eq!((error.index, error.code), (1, Code::MissingRequiredField));
    assert_eq!(error.error, "products[1].item_code: This field is required.");
    assert_eq!(rows.good[1].value.product_type, ProductType::Sensor);
}

#[test]
fn without_any_product_type_a_row_is_refused() {
    let body = json!({"action": "sync_products", "products": [{"exact_item_id": "a", "item_code": "A", "name": "a"}]});
    let refusal = Action::parse(body.to_string().as_bytes(), &Config::default()).unwrap_err();
    assert_eq!(refusal.code, Code::MissingRequiredField);
    assert_eq!(refusal.error, "products[0].product_type: This field is required.");
    assert_eq!((refusal.rows.len(), refusal.http_status), (1, 400));
}

#[test]
fn the_sample_of_the_form_is_read() {
    let rows = products(&json!({"action": "sync_products", "Items": [{
        "Items ID": "a", "Items Code": "A", "Items Description": "2\" pipe", "Items Item Group": "g",
        "Items Barcode": "871", "Items Stock": 4,
    }]}));
    let product = &rows.good[0].value;
    assert_eq!((product.name.as_str(), product.barcode.as_deref()), ("2\" pipe", Some("871")));
}

#[test]
fn an_envelope_of_json_holds_a_body() {
    let items = json!({"items": [{"ID": "a", "Code": "\tA", "Description": "é"}], "skiptoken": ""}).to_string();
    let rows = products(&json!({"json": items}));
    assert_eq!((rows.good[0].value.item_code.as_str(), rows.good[0].value.name.as_str()), ("A", "é"));
    assert_eq!(products(&json!({"action": "sync_products", "json": items})), rows);
    assert_eq!(products(&json!({"json": serde_json::from_str::<Value>(&items).unwrap()})), rows);
    let customers = include_str!("fixtures/sync_customers.json");
    assert_eq!(parse(&json!({"json": customers})).unwrap().kind(), Kind::SyncCustomers);
    assert_eq!(
        parse(&json!({"json": customers, "customers": []})).unwrap_err().error,
        "action: This field is required."
    );
    for (inner, code) in [
        (json!("{"), Code::InvalidJson),
        (json!("[]"), Code::InvalidJson),
        (json!(7), Code::InvalidField),
        (json!("{}"), Code::MissingRequiredField),
    ] {
        assert_eq!(refused(&json!({"json": inner})).0, code, "{inner}");
    }
}

#[test]
fn an_envelope_of_text_holds_a_list() {
    let printed = "Ratelimit: {'Daily Limit': 5000}\n_zap_search_was_found_status: True\nitems: [{'Barcode': None, 'Code': 'A', 'Description': 'Pipe 2''', 'ID': 'a', 'ItemGroup': 'g', 'Stock': -65.5}]\nskiptoken: ";
    let rows = products(&json!({"data": printed, "action": "sync_products"}));
    let product = &rows.good[0].value;
    assert_eq!((product.name.as_str(), &product.barcode), ("Pipe 2''", &None));
    assert_eq!(product.stock.as_ref().unwrap().as_str(), "-65.5");
    assert_eq!(products(&json!({"data": printed})), rows);
    let (code, error) = refused(&json!({"data": printed, "action": "sync_customers"}));
    assert_eq!(
        (code, error.as_str()),
        (Code::InvalidField, "data: A list that is printed as text may hold products only.")
    );
    assert_eq!(refused(&json!({"data": "all of it"})).0, Code::InvalidField);
    assert_eq!(refused(&json!({"data": [1]})).1, "data: This field must be a string.");
    assert_eq!(products(&json!({"data": "items: []"})).good, []);
    let doubtful = printed.replace("2'''", "2'', 'Code': 'B'");
    let (code, error) = refused(&json!({"data": doubtful}));
    assert_eq!(code, Code::InvalidField);
    assert!(error.starts_with("items[0]: This item cannot be read for certain"), "{error}");
}

#[test]
fn a_field_of_an_envelope_beside_an_open_list_is_a_stray_one() {
    let row = json!({"exact_item_id": "a", "item_code": "A", "name": "a"});
    let rows = products(&json!({"action": "sync_products", "products": [row], "json": "{", "data": 7}));
    assert_eq!(rows.good.len(), 1);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), text in any::<String>(), printed in "[':, {}\\[\\]\nA-C1N]{0,80}") {
        let _ = Action::parse(&bytes, &config());
        for field in ["action", "json", "data", "products", "batch_assignments"] {
            for text in [&text, &printed] {
                let _ = parse(&json!({field: text}));
            }
        }
        let _ = parse(&json!({"data": format!("items: [{printed}]")}));
        let _ = parse(&json!({"data": format!("items: [{{'A': {printed}}}]")}));
    }
}
