//! Both envelopes give the same rows, or say which one they cannot give.

use std::time::Instant;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::samples::{Item, as_json, as_text, item};
use crate::exact::code::ActionRefusal;
use crate::exact::product::ProductType;
use crate::exact::{Action, Config, Product, Rows};

/// As many items as a catalogue in the field has.
const CATALOGUE: u16 = 2361;

fn parse(body: &[u8]) -> Result<Rows<Product>, ActionRefusal> {
    let config = Config { default_product_type: Some(ProductType::Sensor), ..Config::default() };
    match Action::parse(body, &config)? {
        Action::SyncProducts(rows) => Ok(rows),
        other => panic!("these are products: {other:?}"),
    }
}

/// What became of each row, by its index; the errors of a body whose rows are all bad are those of its rows.
fn rows(body: &[u8], count: usize) -> Vec<Option<Product>> {
    let mut rows = vec![None; count];
    match parse(body) {
        Ok(parsed) => {
            assert_eq!(parsed.good.len() + parsed.refused.count(), count);
            for row in parsed.good {
                rows[row.index] = Some(row.value);
            }
        }
        Err(refusal) => assert_eq!(refusal.rows.len(), count, "{refusal:?}"),
    }
    rows
}

#[test]
fn a_whole_catalogue_is_the_same_in_both_envelopes() {
    let items: Vec<Item> = (0..CATALOGUE).map(item).collect();
    let (json, text) = (as_json(&items), as_text(&items));
    for body in [&json, &text] {
        assert!((1_200_000..1_800_000).contains(&body.len()), "{} bytes", body.len());
    }
    let first = Instant::now();
    let from_json = parse(&json).unwrap();
    let second = Instant::now();
    let from_text = parse(&text).unwrap();
    let took = [second - first, second.elapsed()];
    assert_eq!((from_json.good.len(), from_json.refused.count()), (usize::from(CATALOGUE), 0));
    assert_eq!(from_text, from_json);
    for (item, row) in items.iter().zip(&from_json.good) {
        assert_eq!(item["Description"], json!(row.value.name));
        assert_eq!(item["Stock"].to_string(), row.value.stock.as_ref().unwrap().to_string());
        assert_eq!(item["Barcode"], json!(row.value.barcode));
    }
    assert_eq!(from_json.good[1000].value.item_code, "001000-A");
    // A machine that is busy with other tests is slow, but time that grew with the square would be minutes.
    assert!(took.iter().all(|took| took.as_millis() < 2000), "{took:?}");
}

#[test]
fn a_text_that_looks_like_the_list_costs_its_own_row() {
    let mut items: Vec<Item> = (0..50).map(item).collect();
    let doubtful = ["x', 'Code': 'y", "x'}, {'AverageCost': 'y", "x', 'Colour': 'red", "x': y", "x', 'ID': "];
    for (at, text) in doubtful.into_iter().enumerate() {
        items[at * 9 + 2]["Description"] = json!(text);
    }
    let (from_json, from_text) = (rows(&as_json(&items), 50), rows(&as_text(&items), 50));
    for (at, (json, text)) in from_json.iter().zip(&from_text).enumerate() {
        assert!(json.is_some());
        let spoilt = at % 9 == 2 && at / 9 < doubtful.len();
        assert_eq!(*text, if spoilt { None } else { json.clone() }, "{at}");
    }
}

#[test]
fn boundaries_without_end_take_no_longer_than_other_text() {
    for noise in ["': ", ", 'a': 1", "}, {'a': 1", "', 'Code': '", "'", "}]\n"] {
        let data = format!("items: [{{'a': 1{}}}]", noise.repeat(1_500_000 / noise.len()));
        let body = json!({ "data": data }).to_string();
        let began = Instant::now();
        assert!(parse(body.as_bytes()).is_err());
        assert!(began.elapsed().as_secs() < 5, "{noise}");
    }
}

/// Texts with everything that the printed list is made of.
fn text() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        4 => "[a-zA-Z0-9 éø€\t\\\\\"]{0,6}",
        1 => prop::sample::select(vec![
            "'", "''", "', '", "': ", "': '", ", ", "{", "}", "}, {'", "'}, {'", "'}]\n", "}]", "[", "None", "True",
            "', 'Code': '", "', 'Description': '", "', 'Barcode': None, '", "', 'Stock': 5, '", "', 'ID': ",
            "', 'Colour': '", "', 'GLCosts': '", "', 'Description_X': '", "', 'Code_Y': 'z", "DN50(2\")", "_",
            "'}, {'AverageCost': 1, '", "'}, {'Barcode': '", "'}, {'ID': '", "\nitems: [{'", "skiptoken: ", "\\'", "\0",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(fragment, 0..7).prop_map(|fragments| fragments.concat())
}

/// One item in the order that Zapier prints, or in the order of our own documents, with every key or the six.
fn any_item(whole: bool, sorted: bool) -> impl Strategy<Value = Item> {
    let barcode = prop_oneof![Just(Value::Null), text().prop_map(Value::from)];
    let stock =
        prop_oneof![any::<i32>().prop_map(Value::from), (-1e6..1e6_f64).prop_map(Value::from), Just(Value::Null)];
    (any::<u16>(), text(), text(), text(), text(), barcode, stock).prop_map(
        move |(number, id, code, description, group, barcode, stock)| {
            let mut members = vec![
                ("ID", json!(id)),
                ("Code", json!(code)),
                ("Description", json!(description)),
                ("ItemGroup", json!(group)),
                ("Barcode", barcode),
                ("Stock", stock),
            ];
            if sorted {
                members.sort_by_key(|(key, _)| *key);
            }
            if !whole {
                return members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            }
            let mut item = item(number);
            item.retain(|key, _| !key.contains('_'));
            for (key, value) in members {
                item[key] = value;
            }
            item
        },
    )
}

fn any_items() -> impl Strategy<Value = Vec<Item>> {
    (any::<bool>(), any::<bool>()).prop_flat_map(|(whole, sorted)| prop::collection::vec(any_item(whole, sorted), 1..6))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_text_is_ever_altered(items in any_items()) {
        let from_json = rows(&as_json(&items), items.len());
        let (given, first_refused) = given(&as_text(&items));
        // A text that looks like two objects may be told as two rows, so what is behind it may have another index.
        let mut sent = from_json.iter().flatten();
        prop_assert!(given.iter().all(|row| sent.any(|sent| sent == row)), "{:?} of {:?}", given, items);
        let kept = from_json.iter().zip(&given).take_while(|(sent, row)| sent.as_ref() == Some(*row)).count();
        prop_assert_eq!(first_refused.unwrap_or(items.len()), kept, "{:?}", items);
    }
}

/// The rows that are given, in order, and the index of the first one that is not.
fn given(body: &[u8]) -> (Vec<Product>, Option<usize>) {
    let (given, refused) = match parse(body) {
        Ok(rows) => (rows.good, rows.refused.errors().to_vec()),
        Err(refusal) => (Vec::new(), refusal.rows),
    };
    (given.into_iter().map(|row| row.value).collect(), refused.first().map(|error| error.index))
}

#[test]
fn a_sample_is_what_it_says() {
    let quoted = Map::from_iter([("A".to_owned(), json!("it's")), ("B".to_owned(), Value::Null)]);
    let body: Value = serde_json::from_slice(&as_text(&[quoted])).unwrap();
    assert!(body["data"].as_str().unwrap().contains("\nitems: [{'A': 'it's', 'B': None}]\n"));
}
