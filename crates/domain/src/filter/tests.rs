//! What filters see and what they refuse.

use super::*;

const PERMIT: &str = r#"{
    "permit_id": 42, "permit_number": "P-007", "project_id": null, "urgent": true, "fee": 12.5, "whole": 7.0,
    "largest": 18446744073709551615, "beyond": 123456789012345678901234567890, "least": -9223372036854775808,
    "tags": ["hot", "night"], "none": [], "text": "1", "öffnen": "ja", "a-b": {"c d": 1},
    "data": {"site": {"name": "Halle 7"}, "items": [{"sku": "A", "qty": 2}, {"sku": "B", "qty": 7}, {"sku": "C"}]}
}"#;

pub(super) fn facts(payload: &[u8]) -> Facts {
    let at = chrono::DateTime::parse_from_rfc3339("2026-03-02T22:30:00.250Z").unwrap().to_utc();
    Facts::new("permit_approved", Some("permit/42"), None, Some("site-7"), at, payload)
}

fn passes(filter: &str, payload: &str) -> bool {
    Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}")).passes(&facts(payload.as_bytes()))
}

#[test]
fn a_filter_hears_what_it_says() {
    for (filter, heard) in [
        ("true", true),
        ("false", false),
        ("event.type == 'permit_approved'", true),
        ("event.type.startsWith('workorder.')", false),
        ("event.subject == 'permit/42' && event.ordering_key == 'site-7'", true),
        ("event.project == null", true),
        ("event.project == '7'", false),
        ("event.project.startsWith('7')", false),
        ("has(event.project)", true),
        ("event['type'] == 'permit_approved'", true),
        (".event.type == 'permit_approved'", true),
        ("event.occurred_at < timestamp('2026-03-02T22:30:00.251Z')", true),
        ("event.occurred_at == timestamp('2026-03-02T23:30:00.250+01:00')", true),
        ("event.occurred_at.getHours() == 22", true),
        ("event.occurred_at.getHours('Europe/Berlin') == 23", true),
        ("event.occurred_at - duration('1h') > timestamp('2026-03-02T22:00:00Z')", false),
        ("event.occurred_at > '2026'", false),
        ("event.data.permit_id == 42", true),
        ("event.data.permit_id == 42.0", true),
        ("event.data.permit_id > 41.5", true),
        ("event.data.permit_id + 1 == 43", true),
        ("event.data.permit_id % 2 == 0 && -event.data.permit_id < 0", true),
        ("event.data.permit_id in [1, 42]", true),
        ("event.data.permit_number == 'P-007'", true),
        ("event.data.permit_number.contains('-00') && event.data.permit_number.endsWith('7')", true),
        ("event.data.permit_number in ['P-006', 'P-008']", false),
        ("event.data.project_id == null", true),
        ("event.data.project_id == 0", false),
        ("event.data.urgent", true),
        ("!event.data.urgent", false),
        ("event.data.urgent ? event.data.fee > 10 : false", true),
        ("event.data.fee * 2.0 == 25", true),
        ("event.data.whole > 5 && event.data.whole == 7 && event.data.whole in [7, 8]", true),
        ("event.data.whole + 1 == 8", false),
        ("event.data.whole + 1.0 == 8", true),
        ("int(event.data.whole) + 1 == 8", true),
        ("event.data.largest == 18446744073709551615u && event.data.largest > 0", true),
        ("event.data.beyond > 1e29 && event.data.beyond < 2e29", true),
        ("event.data.least < 0 && event.data.least == -9223372036854775808", true),
        ("event.data.least - 1 < 0", false),
        ("event.data.permit_id / 0 == 1", false),
        ("event.data.text == 1", false),
        ("int(event.data.text) == 1", true),
        ("event.data.text > 0", false),
        ("'hot' in event.data.tags", true),
        ("event.data.tags == ['hot', 'night']", true),
        ("['hot', 'night'] == event.data.tags", true),
        ("event.data.tags[1] == 'night'", true),
        ("event.data.tags[2] == 'night'", false),
        ("event.data.tags.size() == 2 && size(event.data.none) == 0 && event.data.none == []", true),
        ("event.data['a-b']['c d'] == 1 && event.data['öffnen'] == 'ja'", true),
        ("'permit_id' in event.data", true),
        ("event.data.data.site.name == \"Halle 7\"", true),
        ("event.data.data.items.exists(item, item.qty > 5)", true),
        ("event.data.data.items.all(item, item.sku < 'D')", true),
        ("event.data.data.items.all(item, item.qty > 0)", false),
        ("event.data.data.items.all(item, !has(item.qty) || item.qty > 0)", true),
        ("event.data.data.items.exists_one(item, item.sku == 'B')", true),
        ("event.data.data.items.filter(item, has(item.qty)).size() == 2", true),
        ("event.data.data.items.map(item, item.sku) == ['A', 'B', 'C']", true),
        ("event.data.tags.exists(event, event == 'hot')", true),
        ("event.data.tags.exists(t, t == 'hot') && event.data.tags.exists(t, t == 'night')", true),
        ("type(event.data.fee) == double && type(event.data.permit_id) == int", true),
        ("event.data.missing == 1", false),
        ("event.data.missing != 1", false),
        ("!(event.data.missing == 1)", false),
        ("event.data.missing.deeper == 1", false),
        ("event.data.missing == 1 || event.data.urgent", true),
        ("has(event.data.missing)", false),
        ("has(event.data.missing) && event.data.missing == 1", false),
        ("!has(event.data.missing)", true),
        ("has(event.data.missing.deeper)", false),
        ("event.data", false),
        ("event.data.permit_id", false),
        ("event.data.urgent && event.data.permit_id", false),
        ("true // The rest of a line is a comment.", true),
    ] {
        assert_eq!(passes(filter, PERMIT), heard, "{filter}");
    }
}

#[test]
fn a_payload_need_not_be_an_object() {
    for (payload, filter) in [
        ("7", "event.data == 7"),
        ("\"a\\u00e9\"", "event.data == 'aé'"),
        ("null", "event.data == null"),
        ("[1, [2]]", "event.data[1][0] == 2"),
        (" {\"a\": 1, \"a\": 2} ", "event.data.a == 2"),
        ("{", "event.data == null"),
        ("", "event.data == null"),
    ] {
        assert!(passes(filter, payload), "{filter} of {payload}");
    }
    assert!(Filter::parse("event.data == null").unwrap().passes(&facts(b"\"\xff\"")));
}

#[test]
fn what_is_beyond_reading_loses_nothing_else() {
    let payload =
        r#"{"huge": 1e400, "tiny": [-1e400, 3], "half": "\ud83d", "deep": {"half": ["\udc00", "ok"]}, "id": 7}"#;
    for filter in [
        "event.data.id == 7",
        "event.data.huge > 1e308",
        "event.data.tiny[0] < -1e308 && event.data.tiny[1] == 3",
        "event.data.half == null",
        "event.data.deep.half == [null, 'ok']",
    ] {
        assert!(passes(filter, payload), "{filter}");
    }
}

#[test]
fn a_filter_that_cannot_be_read_is_refused_where_it_breaks() {
    for (filter, line, column, words) in [
        ("", 1, 1, "missing here"),
        ("  ", 1, 3, "missing here"),
        ("event.data.", 1, 12, "missing after it"),
        ("(event.type == 'a'", 1, 19, "missing here"),
        ("event.type in ['a', 'b'", 1, 24, "missing here"),
        ("event.data.a ? true", 1, 1, "missing here"),
        ("event.type ==\n  'a' 'invalid literal'", 2, 7, "not expected"),
        ("event.type == 'a' and true", 1, 19, "not expected"),
        ("event.type = 'a'", 1, 12, "unknown"),
        ("event.type == 'a", 1, 15, "not closed"),
        ("event.type == “a”", 1, 15, "unknown"),
        ("event.data.a == 99999999999999999999", 1, 17, "out of range"),
        ("event.data.a == '\\ud800'", 1, 17, "not well-formed"),
        ("has(event)", 1, 5, "has takes a member"),
        ("event.data.a.exists(1, true)", 1, 21, "begin with a plain name"),
        ("event.?data == 1", 1, 6, "optional values"),
        ("while", 1, 1, "reserved"),
        ("event.type ==\n'\0'", 2, 2, "NUL"),
    ] {
        match Filter::parse(filter) {
            Err(InvalidFilter::Syntax { line: l, column: c, problem }) => {
                assert_eq!((l, c), (line, column), "{filter}: {problem}");
                assert!(problem.contains(words), "{filter}: {problem}");
            }
            other => panic!("{filter}: {other:?}"),
        }
    }
}

#[test]
fn a_filter_that_can_never_be_right_is_refused() {
    let variable = |name: &str| InvalidFilter::UnknownVariable(name.to_owned());
    let function = |name: &str| InvalidFilter::UnknownFunction(name.to_owned());
    for (filter, refusal) in [
        ("evnt.type == 'a'", variable("evnt")),
        ("event.typ == 'a'", variable("event.typ")),
        ("has(event.payload)", variable("event.payload")),
        ("event.data.a.exists(x, y == 1)", variable("y")),
        ("event.data.a.exists(x, x == 1) && x == 1", variable("x")),
        ("event.data.a.exists(x, event.typ == x)", variable("event.typ")),
        ("Point{x: 1} == 1", variable("Point")),
        ("event.data.name.matches('a+')", function("matches")),
        ("optional.none() == 1", function("none")),
        ("_secret(1)", function("_secret")),
        ("event.data.tags.exists(x)", function("exists")),
        ("1", InvalidFilter::NotBoolean),
        ("'true'", InvalidFilter::NotBoolean),
        ("null", InvalidFilter::NotBoolean),
        ("[true]", InvalidFilter::NotBoolean),
        ("event", InvalidFilter::NotBoolean),
        ("event.type", InvalidFilter::NotBoolean),
        ("event.data.a + 1", InvalidFilter::NotBoolean),
        ("-event.data.a", InvalidFilter::NotBoolean),
        ("size(event.data.a)", InvalidFilter::NotBoolean),
        ("event.data.a && 'b'", InvalidFilter::NotBoolean),
        ("!event.subject", InvalidFilter::NotBoolean),
        ("event.data.a ? 1 : true", InvalidFilter::NotBoolean),
        ("1 ? true : false", InvalidFilter::NotBoolean),
        ("event.data.a.map(x, x > 1)", InvalidFilter::NotBoolean),
        ("event.data.a.exists(x, x + 1)", InvalidFilter::NotBoolean),
    ] {
        assert_eq!(Filter::parse(filter), Err(refusal), "{filter}");
    }
}

#[test]
fn filters_are_equal_by_their_text_and_show_it() {
    let filter = Filter::parse("event.data.a == 1").unwrap();
    assert_eq!(filter, filter.clone());
    assert_eq!(filter.as_str(), "event.data.a == 1");
    assert_ne!(filter, Filter::parse("event.data.a==1").unwrap());
    assert_eq!(format!("{filter:?}"), "Filter(\"event.data.a == 1\")");
}
