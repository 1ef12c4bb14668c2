//! Which of the pieces of a printed list are rows for certain.
//!
//! One search prints all of its items with the same keys in the same order, so a row with other keys has a text that
//! looks like members. Such a row is told by its index. Only a text that spells out a whole item could pass for one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use busbar_domain::json::push_string;

use super::cut::{Piece, Value};
use crate::exact::code::Wrong;
use crate::refusal::{INVALID_VALUE, fault};

/// The keys of an item that a product is made from.
const READ: [&str; 6] = ["ID", "Code", "Description", "ItemGroup", "Barcode", "Stock"];

/// Those of them without which there is no product.
const REQUIRED: [&str; 3] = ["ID", "Code", "Description"];

/// The keys of an item that no product is made from.
const UNREAD: [&str; 14] = [
    "AverageCost",
    "CostPriceCurrency",
    "CostPriceNew",
    "CostPriceStandard",
    "GLCosts",
    "GLCostsCode",
    "GLCostsDescription",
    "GLRevenue",
    "GLRevenueCode",
    "GLRevenueDescription",
    "GLStock",
    "GLStockCode",
    "GLStockDescription",
    "StandardSalesPrice",
];

/// The rows of a list in compact JSON, with the keys that a product is made from.
pub(super) fn rows(pieces: &[Piece<'_>]) -> Vec<Result<Vec<u8>, Wrong>> {
    let shapes: Vec<Shape<'_>> = pieces.iter().map(Shape::of).collect();
    let layout = Layout::of(&shapes);
    let mut groups = Vec::with_capacity(pieces.len());
    let mut first = 0;
    for next in 1..=pieces.len() {
        if next == pieces.len() || !layout.is_torn_between(&pieces[next - 1], &shapes[next - 1], &shapes[next]) {
            groups.push(first..next);
            first = next;
        }
    }
    let is_lacking = |group: &Range<usize>| match &shapes[group.clone()] {
        [shape] if shape.keys == layout.0 => false,
        shapes => layout.is_lacking(&shapes.iter().collect::<Vec<_>>()),
    };
    let lacking: Vec<bool> = groups.iter().map(is_lacking).collect();
    let read = |(at, group): (usize, Range<usize>)| {
        // What a row lacks may stand in one beside it, under a name that a text has spelt out.
        let beside = at.checked_sub(1).into_iter().chain([at + 1]).any(|beside| lacking.get(beside) == Some(&true));
        let shape = &shapes[group.start];
        let is_certain = group.len() == 1 && (shape.is_useless() || (!beside && layout.is_certain(shape)));
        if is_certain { Ok(row(&pieces[group.start])) } else { Err(doubtful()) }
    };
    groups.into_iter().enumerate().map(read).collect()
}

fn doubtful() -> Wrong {
    let sentence =
        "This item cannot be read for certain, since a text in it looks like keys of the list; send it as JSON.";
    Wrong::at("", fault(INVALID_VALUE, sentence))
}

/// What a piece looks like beside its values.
#[derive(Debug)]
struct Shape<'t> {
    /// Its keys in order, without those that Zapier made from a text.
    keys: Vec<&'t str>,
    /// Whether every value is one, no key is there twice, and none may have been part of a text that is read.
    sound: bool,
}

impl<'t> Shape<'t> {
    fn of(piece: &Piece<'t>) -> Self {
        let mut shape = Self { keys: Vec::with_capacity(piece.members.len()), sound: !piece.torn };
        let whole = UNREAD.iter().all(|key| piece.value(key).is_some());
        // The last text that is read, if all that has come since may have been cut off it. A text ends in a quote, so
        // what was cut off it last looks like a text as well.
        let mut cut: Option<(&str, &str)> = None;
        for (at, (key, value)) in piece.members.iter().enumerate() {
            shape.sound &= !piece.members[..at].iter().any(|(other, _)| other == key);
            let is_text = matches!(value, Value::Text(_));
            if let Some((field, name)) = made_from(key) {
                let may_be_cut_off = |(of, text)| of != field || !tells(text, name, *value);
                shape.sound &= !(is_text && cut.is_some_and(may_be_cut_off));
                continue;
            }
            shape.keys.push(key);
            cut = match value {
                Value::Text(text) if READ.contains(key) => Some((key, text)),
                _ if READ.contains(key) || (whole && UNREAD.contains(key)) => None,
                _ => cut,
            };
            shape.sound &= !is_text || READ.contains(key) || cut.is_none();
        }
        shape
    }

    /// Whether it is refused for what it lacks, whatever it has.
    fn is_useless(&self) -> bool {
        self.sound && !REQUIRED.iter().all(|key| self.keys.contains(key))
    }
}

/// The field, and the name in its text, that a stray key was made from: Zapier makes `Description_DN50` with the value
/// `2"` from a description that has `DN50(2")` in it.
fn made_from(key: &str) -> Option<(&str, &str)> {
    key.split_once('_').filter(|(field, _)| READ.contains(field) || UNREAD.contains(field))
}

/// Whether a text has a name in it and, behind an opening bracket, a value.
fn tells(text: &str, name: &str, value: Value<'_>) -> bool {
    let Value::Text(value) = value else { return false };
    let behind = text.match_indices(name).map(|(at, _)| text[at + name.len()..].trim_start());
    behind.filter_map(|behind| behind.strip_prefix('(')).any(|behind| behind.trim_start().starts_with(value))
}

/// The keys that the items of one list have.
struct Layout<'l>(&'l [&'l str]);

impl<'l> Layout<'l> {
    /// The keys that most pieces have, among those with all the keys that a product is made from, if there are any.
    ///
    /// A cut text adds keys to a whole item and takes them from a part of one, so of two that are as frequent the
    /// shorter one is right where it is whole, and the longer one where none is.
    fn of(shapes: &'l [Shape<'_>]) -> Self {
        let mut counts: HashMap<&[&str], (usize, usize)> = HashMap::new();
        let mut at = 0;
        for alike in shapes.chunk_by(|shape, next| shape.sound == next.sound && shape.keys == next.keys) {
            if alike[0].sound {
                counts.entry(&alike[0].keys).or_insert((0, at)).0 += alike.len();
            }
            at += alike.len();
        }
        let best = counts.into_iter().max_by_key(|(keys, (count, first))| {
            let whole = READ.iter().all(|key| keys.contains(key));
            (whole, *count, if whole { usize::MAX - keys.len() } else { keys.len() }, Reverse(*first))
        });
        Self(best.map_or(&[], |(keys, _)| keys))
    }

    /// Whether the boundary between two pieces is no true one, so that both are of one row.
    fn is_torn_between(&self, last: &Piece<'_>, last_shape: &Shape<'_>, next: &Shape<'_>) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let ends_and_begins = last_shape.keys.last() == self.0.last() && next.keys.first() == self.0.first();
        let ends_in_text = || matches!(last.members.last(), Some((_, Value::Text(_))));
        let complete_each_other =
            || self.is_lacking(&[last_shape]) && self.is_lacking(&[next]) && !self.is_lacking(&[last_shape, next]);
        !ends_and_begins || (next.keys != self.0 && (ends_in_text() || complete_each_other()))
    }

    /// Whether some key is in none of the pieces of a row.
    fn is_lacking(&self, shapes: &[&Shape<'_>]) -> bool {
        !self.0.iter().all(|key| shapes.iter().any(|shape| shape.keys.contains(key)))
    }

    /// Whether a piece is one row, each value of which is as it was sent.
    fn is_certain(&self, shape: &Shape<'_>) -> bool {
        shape.sound && shape.keys == self.0
    }
}

fn row(piece: &Piece<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(b'{');
    for (key, value) in piece.members.iter().filter(|(key, _)| READ.contains(key)) {
        if out.len() > 1 {
            out.push(b',');
        }
        push_string(&mut out, key);
        out.push(b':');
        match value {
            Value::Text(text) => push_string(&mut out, text),
            Value::Number(number) => out.extend_from_slice(number.as_bytes()),
            Value::Flag(true) => out.extend_from_slice(b"true"),
            Value::Flag(false) => out.extend_from_slice(b"false"),
            Value::Null | Value::Torn => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::super::cut::pieces;
    use super::*;

    /// One sign per row: `+` where it is certain and has what a product needs.
    fn certainty(list: &str) -> String {
        let has_code = |row: &[u8]| row.windows(7).any(|name| name == b"\"Code\":");
        let sign = |row: &Result<Vec<u8>, Wrong>| if row.as_ref().is_ok_and(|row| has_code(row)) { '+' } else { '-' };
        rows(&pieces(list)).iter().map(sign).collect()
    }

    fn item(description: &str) -> String {
        format!(
            "{{'Barcode': None, 'Code': 'c', 'Description': '{description}', 'ID': 'i', 'ItemGroup': 'g', 'Stock': 1}}"
        )
    }

    fn items(descriptions: &[&str]) -> String {
        descriptions.iter().map(|description| item(description)).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn rows_with_the_same_keys_are_certain() {
        assert_eq!(certainty(&items(&["a", "2'' x 3''", "", "', ", "}, {"])), "+++++");
        let row = rows(&pieces(&item("Ø 2'' \"x\"\\")))[0].as_ref().unwrap().clone();
        assert_eq!(
            String::from_utf8(row).unwrap(),
            r#"{"Barcode":null,"Code":"c","Description":"Ø 2'' \"x\"\\","ID":"i","ItemGroup":"g","Stock":1}"#
        );
        assert_eq!(certainty(""), "");
    }

    #[test]
    fn a_text_that_looks_like_a_member_spoils_its_row_only() {
        for doubtful in [
            "x', 'Code': 'y",
            "x', 'Colour': 'y",
            "x', 'GLStock': 'y",
            "x', 'Description_Y': 'z",
            "x', 'ID': ",
            "x', 'A': 1, 'B': 'y",
            "x': y",
            "x'}, {'Barcode': 'y",
            "x'}, {'Code': 'y",
            "x', 'ID': 'i', 'ItemGroup': 'g', 'Stock': 1}, {'Code': 'c",
            "x'}, {'Barcode': None, 'Code': 'c', 'Description': 'y",
        ] {
            assert_eq!(certainty(&items(&["a", doubtful, "b"])), "+-+", "{doubtful}");
            assert_eq!(certainty(&items(&[doubtful])), "-", "{doubtful}");
        }
    }

    #[test]
    fn a_part_of_a_row_spoils_what_is_beside_it() {
        let cut_group = item("a").replace("'ItemGroup': 'g'", "'ItemGroup': 'g', 'Stock': 5}, {'Barcode': 'y'");
        assert_eq!(certainty(&cut_group), "--");
        assert_eq!(certainty(&[item("a"), item("b"), cut_group, item("c"), item("d")].join(", ")), "++---+");
        let id_first = "{'ID': '', 'Stock': 5}, {'ID': 'a', 'Code': 'A', 'Description': 'd', 'ItemGroup': 'g', 'Barcode': None, 'Stock': 0}";
        assert_eq!(certainty(id_first), "--");
        let other_text = "{'ID': 'a', 'Code': 'A', 'Description': 'X(v)', 'Barcode': '', 'Description_X': 'v', 'ItemGroup': 'g', 'Stock': 0}";
        assert_eq!(certainty(other_text), "-");
    }

    #[test]
    fn keys_that_zapier_makes_from_a_text_are_passed_over() {
        let stray = |description: &str, stray: &str| item(description).replace(", 'ID'", &format!(", {stray}, 'ID'"));
        assert_eq!(certainty(&stray("Flange DN50(2\") PN16", "'Description_DN50': '2\"'")), "+");
        assert_eq!(certainty(&stray("Flange", "'Description_DN50': '2\"'")), "-");
        assert_eq!(certainty(&stray("2\" Flange DN50", "'Description_DN50': '2\"'")), "-");
        let behind = item("Flange").replace("'Stock': 1", "'Stock': 1, 'Code_JY': 'x', 'Unit': 'pcs'");
        assert_eq!(certainty(&behind), "+");
    }

    #[test]
    fn keys_that_no_product_is_made_from_may_come_and_go() {
        let cost = item("a").replace("'Barcode'", "'AverageCost': 1.5, 'Barcode'");
        let price = item("a").replace(", 'Stock'", ", 'StandardSalesPrice': 9, 'Stock'");
        let unit = item("a").replace(", 'ID'", ", 'Unit': 'pcs', 'ID'");
        assert_eq!([certainty(&cost), certainty(&price), certainty(&unit)], ["+", "+", "-"]);
        let all = UNREAD.map(|key| format!(", '{key}': 'text'")).concat();
        let whole = item("a").replace(", 'ID'", &format!("{all}, 'ID'"));
        assert_eq!(certainty(&format!("{whole}, {whole}")), "++");
    }

    #[test]
    fn fewer_keys_are_enough_if_every_row_has_them() {
        let list = "{'ID': 'i', 'Code': 'c', 'Description': 'x'}, {'ID': 'j', 'Code': 'd', 'Description': 'it's'}";
        assert_eq!(certainty(list), "++");
        assert_eq!(certainty("{'ID': 'i', 'Code': 'c', 'Description': 'x'}, {'ID': 'j', 'Code': 'd'}"), "-");
        assert_eq!(certainty(&[item("a"), item("b").replace("'Code': 'c', ", ""), item("c")].join(", ")), "---");
    }
}
