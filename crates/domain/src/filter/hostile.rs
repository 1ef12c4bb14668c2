//! Nothing that a subscriber writes or an event holds makes a filter hang, exhaust memory or panic.

use std::time::{Duration, Instant};

use cel::common::ast::Expr;
use proptest::prelude::*;

use super::tests::facts;
use super::*;

#[test]
fn length_is_bounded() {
    let long = |bytes: usize| format!("true //{}", "x".repeat(bytes - 7));
    assert!(Filter::parse(&long(MAX_FILTER_LEN)).is_ok());
    assert_eq!(Filter::parse(&long(MAX_FILTER_LEN + 1)), Err(InvalidFilter::TooLong));
}

#[test]
fn nesting_is_bounded() {
    let wrapped =
        |levels: usize, open: &str, close: &str| format!("{}true{}", open.repeat(levels), close.repeat(levels));
    assert!(Filter::parse(&wrapped(30, "(", ")")).is_ok());
    for filter in [
        wrapped(33, "(", ")"),
        wrapped(490, "(", ")"),
        wrapped(300, "size(", ")")[..900].to_owned(),
        wrapped(199, "1 == ", ""),
        format!("event.data{} == 1", ".a".repeat(32)),
        format!("event.data{} == 1", "[0]".repeat(32)),
        format!("1{} > 0", " + 1".repeat(32)),
        format!("{}true", "true ? true : ".repeat(60)),
    ] {
        assert_eq!(Filter::parse(&filter), Err(InvalidFilter::TooNested), "{filter}");
    }
    assert!(Filter::parse(&format!("event.data{} == 1", ".a".repeat(29))).is_ok());
    assert!(Filter::parse(&vec!["event.data.a == 1"; 40].join(" || ")).is_ok());
}

#[test]
fn no_walk_lies_within_or_behind_another() {
    let mut nested = "true".to_owned();
    for _ in 0..10 {
        nested = format!("event.data.all(x, {nested})");
    }
    for filter in [
        nested.as_str(),
        "event.data.exists(x, x.exists(y, y == 1))",
        "event.data.filter(x, x.open).exists(x, x.qty > 1)",
        "[event.data.map(x, x)].exists(x, x == [])",
        "['a'].map(x, x + x).map(x, x + x).map(x, x + x).size() > 0",
    ] {
        assert_eq!(Filter::parse(filter), Err(InvalidFilter::TooNested), "{filter}");
    }
}

#[test]
fn a_payload_of_any_depth_is_read_as_far_as_it_goes() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(Filter::parse("event.data[0][0][0] == [[]]").unwrap().passes(&facts(deep(5).as_bytes())));
    assert!(Filter::parse("event.data[0][0].size() == 1").unwrap().passes(&facts(deep(200_000).as_bytes())));
}

/// A JSON array of 100 KiB.
fn large_array(element: impl Fn(usize) -> String) -> String {
    let mut array = String::from("[");
    for at in 0.. {
        array.push_str(&element(at));
        if array.len() > 100 * 1024 {
            break;
        }
        array.push(',');
    }
    array + "]"
}

#[test]
fn a_large_payload_is_walked_quickly() {
    let small = large_array(|at| at.to_string());
    let items = large_array(|at| format!("{{\"sku\":\"A-{at}\",\"qty\":{at}}}"));
    let payload = format!("{{\"numbers\":{small},\"items\":{items},\"last\":\"A-9\"}}");
    let facts = facts(payload.as_bytes());
    for (filter, heard) in [
        ("event.data.numbers.exists(n, n == -1)", false),
        ("event.data.numbers.all(n, n >= 0)", true),
        ("has(event.data.items) && event.data.items.exists(i, i.qty < 0 && i.sku.startsWith('A'))", false),
        ("event.data.items.exists(i, i.sku == event.data.last)", true),
        ("event.data.items.all(i, !has(event.data.missing) && has(event.data.items) && has(event.data.last))", true),
        ("-1 in event.data.numbers", false),
        ("event.data.items.filter(i, i.qty < 10).size() == 10", true),
    ] {
        let filter = Filter::parse(filter).unwrap();
        // The best of three, since other tests take the processor away.
        let took = (0..3).map(|_| {
            let start = Instant::now();
            assert_eq!(filter.passes(&facts), heard, "{filter:?}");
            start.elapsed()
        });
        assert!(took.min() < Some(Duration::from_millis(100)), "{filter:?}");
    }
}

#[test]
fn a_filter_that_asks_for_too_much_is_false_and_soon() {
    let text = "x".repeat(50 * 1024);
    let payload = format!("{{\"list\":{},\"text\":\"{text}\"}}", large_array(|_| "1".to_owned()));
    let facts = facts(payload.as_bytes());
    let copies = |part: &str, with: &str| vec![part; 800 / (part.len() + with.len())].join(with);
    for filter in [
        "event.data.list.all(x, x in event.data.list)".to_owned(),
        "event.data.list.map(x, event.data.list).size() > 0".to_owned(),
        "event.data.list.map(x, event.data.text + 'x').size() > 0".to_owned(),
        "event.data.list.all(x, event.data.text.size() > 0)".to_owned(),
        "event.data.list.all(x, !(event.data.missing == x) || true)".to_owned(),
        "event.data.list.all(x, event.data == event.data)".to_owned(),
        "event.data.list.all(x, !has([event.data][0].missing))".to_owned(),
        "event.data.list.all(x, event.data.list + 1 == 1 || true)".to_owned(),
        format!("event.data.list.map(x, [{}]).size() > 0", copies("x", ",")),
        format!("[{}].size() > 0", copies("event.data", ",")),
        format!("({}).size() > 0", vec!["event.data.list"; 25].join(" + ")),
    ] {
        let filter = Filter::parse(&filter).unwrap();
        let start = Instant::now();
        assert!(!filter.passes(&facts), "{filter:?}");
        assert!(start.elapsed() < Duration::from_secs(2), "{filter:?} took {:?}", start.elapsed());
    }
}

#[test]
fn a_panic_within_counts_as_false() {
    let unfinished = Expression { id: 1, expr: Expr::Unspecified };
    let filter = Filter { text: "".into(), expression: Arc::new(unfinished) };
    assert!(!filter.passes(&facts(b"{}")));
    assert_eq!(contained(|| -> bool { panic!("on purpose") }), None);
}

fn any_words() -> impl Strategy<Value = String> {
    let words: &[&str] = &[
        "event",
        ".type",
        ".data",
        ".a",
        "[0]",
        "['a']",
        " == ",
        " < ",
        " + ",
        " / ",
        " && ",
        " || ",
        "!",
        "-",
        " ? ",
        " : ",
        " in ",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        "1",
        "1.5",
        "2u",
        "'a'",
        "\"",
        "b'x'",
        "null",
        ".exists(x, ",
        "x",
        "has(",
        "size(",
        ".startsWith(",
        "\\",
        "\n",
        "ö",
        "`",
    ];
    prop::collection::vec(prop::sample::select(words), 0..24).prop_map(|words| words.concat())
}

fn any_expression() -> impl Strategy<Value = String> {
    let leaves: &[&str] = &[
        "event",
        "event.type",
        "event.project",
        "event.occurred_at",
        "event.data",
        "event.data.a",
        "event.data.b",
        "event.data.list",
        "event.data.missing",
        "has(event.data.a)",
        "x",
        "0",
        "1",
        "-1",
        "1.5",
        "2u",
        "1e308",
        "null",
        "true",
        "'a'",
        "''",
        "'-1'",
        "'12h'",
        "b'\\xff'",
        "'Europe/Berlin'",
        "9223372036854775807",
        "[]",
        "{}",
        "int",
        "double('NaN')",
        "double('infinity')",
        "18446744073709551615u",
        "timestamp('9999-12-31T23:59:59Z')",
        "timestamp('0001-01-01T00:00:00Z')",
        "duration('315576000000s')",
        "duration('-1ns')",
    ];
    let joints: &[&str] = &[
        "# == $",
        "# != $",
        "# < $",
        "# >= $",
        "# + $",
        "# - $",
        "# * $",
        "# / $",
        "# % $",
        "# && $",
        "# || $",
        "# in $",
        "!#",
        "-#",
        "# ? $ : true",
        "#[$]",
        "[#, $]",
        "{#: $}",
        "(#).a",
        "has((#).a)",
        "size(#)",
        "int(#)",
        "uint(#)",
        "double(#)",
        "string(#)",
        "bytes(#)",
        "bool(#)",
        "type(#)",
        "dyn(#)",
        "timestamp(#)",
        "duration(#)",
        "(#).contains($)",
        "(#).startsWith($)",
        "(#).size()",
        "(#).getHours()",
        "(#).getHours($)",
        "(#).getDayOfYear($)",
        "(#).getMilliseconds($)",
        "(#).exists(x, $)",
        "(#).all(x, $)",
        "(#).exists_one(x, $)",
        "(#).map(x, $)",
        "(#).map(x, $, x)",
        "(#).filter(x, $)",
    ];
    let trees = prop::sample::select(leaves).prop_map(str::to_owned).prop_recursive(4, 24, 2, move |inner| {
        let parts = (prop::sample::select(joints), inner.clone(), inner);
        parts.prop_map(|(joint, a, b)| joint.replace('#', &format!("({a})")).replace('$', &format!("({b})")))
    });
    prop_oneof![any_words(), trees.prop_map(|tree| format!("({tree}) == true || bool({tree})"))]
}

fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|truth| truth.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| serde_json::json!(number).to_string()),
        any::<String>().prop_map(|text| serde_json::json!(text).to_string()),
        prop::sample::select(&["1e999", "\"\\ud800\"", "18446744073709551615", "-0", "{"][..]).prop_map(str::to_owned),
    ];
    let json = leaf.prop_recursive(4, 32, 5, |inner| {
        let members = prop::collection::vec(("[ab]|list", inner.clone()), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(|elements| format!("[{}]", elements.join(","))),
            members.prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    });
    prop_oneof![4 => json.prop_map(String::into_bytes), 1 => any::<Vec<u8>>()]
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,300}") {
        prop_assert_ne!(Filter::parse(&text), Err(InvalidFilter::unreadable()));
    }

    #[test]
    fn any_expression_is_read_or_refused_and_bears_any_payload(text in any_expression(), payload in any_payload()) {
        let filter = Filter::parse(&text);
        prop_assert_ne!(&filter, &Err(InvalidFilter::unreadable()));
        if let Ok(filter) = filter {
            let facts = facts(&payload);
            // Not contained, so that a panic shows.
            prop_assert_eq!(facts.satisfy(&filter.expression), filter.passes(&facts));
        }
    }
}
