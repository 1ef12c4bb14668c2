//! Items such as Zapier finds, written into both envelopes; made from their number, so that every run has the same.

use serde_json::{Map, Value, json};

/// One item, with its members in the order in which they are printed.
pub(crate) type Item = Map<String, Value>;

/// The body `{"json": …}` with `items`.
pub(crate) fn as_json(items: &[Item]) -> Vec<u8> {
    let inner = json!({
        "items": items,
        "skiptoken": "",
        "Ratelimit": {"Daily Limit": 5000, "Daily Remaining": 4964, "Minutely Limit": 60},
        "_zap_search_was_found_status": true,
    });
    json!({ "json": inner.to_string() }).to_string().into_bytes()
}

/// The body `{"data": …}` with the same items, printed as Zapier prints them: nothing is escaped.
pub(crate) fn as_text(items: &[Item]) -> Vec<u8> {
    let items = items.iter().map(printed).collect::<Vec<_>>().join(", ");
    let printed = format!(
        "Ratelimit: {{'Daily Limit': 5000, 'Minutely Limit': 60}}\n_zap_search_was_found_status: True\nitems: [{items}]\nskiptoken: "
    );
    json!({ "data": printed, "action": "sync_products" }).to_string().into_bytes()
}

fn printed(item: &Item) -> String {
    let member = |(key, value): (&String, &Value)| match value {
        Value::Null => format!("'{key}': None"),
        Value::Bool(true) => format!("'{key}': True"),
        Value::Bool(false) => format!("'{key}': False"),
        Value::String(text) => format!("'{key}': '{text}'"),
        other => format!("'{key}': {other}"),
    };
    format!("{{{}}}", item.iter().map(member).collect::<Vec<_>>().join(", "))
}

/// An item with twenty keys, as Exact has them.
pub(crate) fn item(number: u16) -> Item {
    let description = match number {
        n if n % 300 == 7 => format!("Pijp 2'' x {n}''"),
        n if n % 170 == 11 => format!("Flens DN{n}(2\") PN16 RVS"),
        n if n % 11 == 3 => format!("Ring {n}\" zwart \\ EPDM, {{los}}"),
        n if n % 6 == 1 => format!("Gehäuse Ø{n} – blau µ"),
        n => format!("Sensor unit type {n}, None left: see 'box' {}", n % 31),
    };
    let code = if number == 1000 { format!("\t{number:06}-A") } else { format!("{:06}-{}", number, number % 97) };
    let stock = match number {
        n if n % 295 == 4 => json!(2544.5),
        n if n % 64 == 9 => json!(-65),
        n => json!(n % 500),
    };
    let guid = |kind: u16, n: u16| format!("{kind:08x}-1c2d-4e5f-8a9b-{n:012x}");
    let barcode = if number % 13 < 7 { Value::Null } else { json!(format!("8712345{number:06}")) };
    let mut item = Map::new();
    let mut set = |key: &str, value: Value| item.insert(key.to_owned(), value);
    set("AverageCost", json!(f64::from(number) / 8.0));
    set("Barcode", barcode);
    set("Code", json!(code));
    set("CostPriceCurrency", json!("EUR"));
    set("CostPriceNew", Value::Null);
    set("CostPriceStandard", json!(number % 777));
    set("Description", json!(description));
    if number % 170 == 11 {
        set(&format!("Description_DN{number}"), json!("2\""));
    }
    for (at, account) in (0..).zip(["GLCosts", "GLRevenue", "GLStock"]) {
        set(account, json!(guid(0xacc0 + at, at)));
        set(&format!("{account}Code"), json!(format!("{}", 7000 + at)));
        set(&format!("{account}Description"), json!("Omzet"));
    }
    set("ID", json!(guid(0x17e3, number)));
    set("ItemGroup", json!(guid(0x6a0d, number % 31)));
    set("StandardSalesPrice", json!(f64::from(number) / 4.0));
    set("Stock", stock);
    item
}
