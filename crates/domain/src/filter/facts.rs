//! What a filter sees of an event, and what looking at it costs.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp, CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::context::{Context, VariableResolver};
use cel::parser::Expression;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::LANGUAGE;
use crate::clock::Timestamp;
use crate::json::MAX_DEPTH;

/// The members of `event`.
pub(super) const MEMBERS: [&str; 6] = ["type", "subject", "project", "ordering_key", "occurred_at", "data"];

/// The most that one filter may spend on one event.
///
/// A look at a part of the event costs the part's size times the price that stands in the expression. Spending it all
/// takes some tenths of a second and some tens of megabytes.
const BUDGET: u64 = 6_000_000;

/// The bytes of a text that cost as much as one number.
const TEXT_UNIT: usize = 64;

/// What an object costs besides its members.
const OBJECT: u64 = 5;

type Members = HashMap<CelMapKey<'static>, Box<dyn Val>>;

/// What filters see of one event, made once for all of them.
///
/// `event` has the members `type`, `subject`, `project`, `ordering_key` (each a text, or null when the event has
/// none), `occurred_at` (a timestamp) and `data` (the payload). Whole numbers of the payload are integers; other
/// numbers, and those that 64 bits do not hold, are doubles. Integers and doubles compare with each other, but
/// arithmetic takes one kind only, as the language has it: write `double(event.data.total) * 1.5`.
pub struct Facts {
    event: CelMap<'static>,
}

impl Facts {
    /// The facts of an event with this payload, as it is stored.
    ///
    /// A payload that is not JSON is null, and so is a text within it that holds half of a surrogate pair.
    pub fn new(
        kind: &str,
        subject: Option<&str>,
        project: Option<&str>,
        ordering_key: Option<&str>,
        occurred_at: Timestamp,
        payload: &[u8],
    ) -> Self {
        let data = std::str::from_utf8(payload).map_or_else(|_| null(), |payload| read(payload, 0));
        let values = [
            text(kind),
            subject.map_or_else(null, text),
            project.map_or_else(null, text),
            ordering_key.map_or_else(null, text),
            Box::new(CelTimestamp::from(occurred_at.fixed_offset())),
            data,
        ];
        let event: Members = MEMBERS.into_iter().map(CelMapKey::from).zip(values).collect();
        Self { event: event.into() }
    }

    /// Whether `expression` is true, and found so within the [`BUDGET`].
    pub(super) fn satisfy(&self, expression: &Expression) -> bool {
        let purse = Purse { facts: self, spent: AtomicU64::new(0) };
        let mut context = Context::with_env(Arc::clone(&LANGUAGE));
        context.set_variable_resolver(&purse);
        let answer = cel::Value::resolve_val(expression, &context);
        let holds = answer.is_ok_and(|answer| answer.downcast_ref::<CelBool>().is_some_and(|holds| *holds.inner()));
        holds && !purse.is_empty()
    }
}

/// The name of `event` at a place in an expression where a look at it has this price.
pub(super) fn priced_event(price: u64) -> String {
    format!("event@{price}")
}

/// The price in what [`priced_event`] gave.
fn price(event: &str) -> Option<u64> {
    event.strip_prefix("event@")?.parse().ok()
}

/// The member of `part` with this name, if `part` is an object that has one.
fn member<'f>(part: &'f (dyn Val + 'static), name: &str) -> Option<&'f (dyn Val + 'static)> {
    match part.as_indexer()?.get(&CelString::from(name)) {
        Ok(CowVal::Borrowed(member)) => Some(member),
        Ok(CowVal::Owned(_)) | Err(_) => None,
    }
}

/// Hands out the parts of an event for as long as the budget lasts.
///
/// A part is asked for by its whole path first, so that only what is used is paid for.
struct Purse<'f> {
    facts: &'f Facts,
    spent: AtomicU64,
}

impl Purse<'_> {
    fn is_empty(&self) -> bool {
        self.spent.load(Ordering::Relaxed) > BUDGET
    }

    fn pay(&self, price: u64, part: &dyn Val) {
        if price > 0 {
            self.spent.fetch_add(price * size(part), Ordering::Relaxed);
        }
    }
}

impl VariableResolver for Purse<'_> {
    fn resolve<'b>(&'b self, path: &str) -> Option<CowVal<'b, 'b>> {
        if self.is_empty() {
            return None;
        }
        let mut names = path.split('.');
        let price = price(names.next()?)?;
        let part = names.try_fold(&self.facts.event as &dyn Val, member)?;
        self.pay(price, part);
        (!self.is_empty()).then_some(CowVal::Borrowed(part))
    }
}

/// How many values `value` consists of, counting long texts for more.
fn size(value: &dyn Val) -> u64 {
    if let Some(text) = value.downcast_ref::<CelString>() {
        1 + (text.inner().len() / TEXT_UNIT) as u64
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        1 + list.inner().iter().map(|element| size(element.as_ref())).sum::<u64>()
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        OBJECT + map.inner().iter().map(|(key, member)| size(key.inner()) + size(member.as_ref())).sum::<u64>()
    } else {
        1
    }
}

fn null() -> Box<dyn Val> {
    Box::new(CelNull)
}

fn text(text: &str) -> Box<dyn Val> {
    Box::new(CelString::from(text.to_owned()))
}

/// The value of a JSON text within `depth` others.
fn read(json: &str, depth: usize) -> Box<dyn Val> {
    match serde_json::from_str(json) {
        Ok(Read(value)) => value,
        Err(_) if depth < MAX_DEPTH => read_by_part(json, depth).unwrap_or_else(null),
        Err(_) => null(),
    }
}

/// The value of a JSON text that cannot be read as a whole, so that only the parts that are beyond reading are lost.
fn read_by_part(json: &str, depth: usize) -> Option<Box<dyn Val>> {
    match json.trim_start().as_bytes().first()? {
        b'{' => {
            let members: HashMap<String, &RawValue> = serde_json::from_str(json).ok()?;
            let read = |(key, member): (String, &RawValue)| (CelMapKey::from(key), read(member.get(), depth + 1));
            Some(Box::new(CelMap::from(members.into_iter().map(read).collect::<Members>())))
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            let elements: Vec<_> = elements.into_iter().map(|element| read(element.get(), depth + 1)).collect();
            Some(Box::new(CelList::from(elements)))
        }
        b'-' | b'0'..=b'9' => {
            // A number beyond the doubles is infinite.
            let number: f64 = json.trim_end().parse().ok()?;
            Some(Box::new(CelDouble::from(number)))
        }
        _ => None,
    }
}

/// A JSON value read straight into the language's values.
struct Read(Box<dyn Val>);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Read, E> {
        Ok(Read(null()))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Read, E> {
        Ok(Read(Box::new(CelBool::from(truth))))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Read, E> {
        Ok(Read(Box::new(CelInt::from(number))))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Read, E> {
        Ok(Read(match i64::try_from(number) {
            Ok(number) => Box::new(CelInt::from(number)),
            Err(_) => Box::new(CelUInt::from(number)),
        }))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Read, E> {
        Ok(Read(Box::new(CelDouble::from(number))))
    }

    fn visit_str<E>(self, string: &str) -> Result<Read, E> {
        Ok(Read(text(string)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Read, A::Error> {
        let mut list: Vec<Box<dyn Val>> = Vec::new();
        while let Some(Read(element)) = elements.next_element()? {
            list.push(element);
        }
        Ok(Read(Box::new(CelList::from(list))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Read, A::Error> {
        let mut map = Members::new();
        while let Some((key, Read(member))) = members.next_entry::<String, Read>()? {
            map.insert(CelMapKey::from(key), member);
        }
        Ok(Read(Box::new(CelMap::from(map))))
    }
}
