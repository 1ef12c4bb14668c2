//! The members of a JSON object, borrowed from compact text, in the order in which they were sent.
//!
//! Values stay text, so that numbers are kept as written and nothing is parsed that nobody asks for.

use std::borrow::Cow;
use std::fmt;

use busbar_domain::json;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::refusal::{DUPLICATE_FIELD, Fault, INVALID_TYPE, REQUIRED, Unreadable, fault};

/// The members that nobody has taken yet.
pub(crate) struct Members<'b>(Vec<(Cow<'b, str>, &'b RawValue)>);

impl<'b> Members<'b> {
    /// Reads an object that [`json::compact`] has written.
    pub(crate) fn read(compact: &'b [u8]) -> Result<Self, Unreadable> {
        if compact.first() != Some(&b'{') {
            return Err(Unreadable::NotAnObject);
        }
        // The text is JSON already; what may still be refused is a name with half a surrogate pair.
        serde_json::from_slice(compact).map_err(|_| Unreadable::Json(json::Invalid::NotUtf8))
    }

    /// Takes the member `name`, which may be missing.
    fn take(&mut self, name: &str) -> Result<Option<&'b RawValue>, Fault> {
        let Some(at) = self.0.iter().position(|(known, _)| known == name) else { return Ok(None) };
        let (_, value) = self.0.remove(at);
        if self.0.iter().any(|(known, _)| known == name) {
            self.0.retain(|(known, _)| known != name);
            return Err(fault(DUPLICATE_FIELD, "This field may be there only once."));
        }
        Ok(Some(value))
    }

    /// Takes a member that must be there.
    pub(crate) fn required(&mut self, name: &str) -> Result<&'b RawValue, Fault> {
        self.take(name)?.ok_or(fault(REQUIRED, "This field is required."))
    }

    /// Takes a member that may be missing, or null, which is the same.
    pub(crate) fn optional(&mut self, name: &str) -> Result<Option<&'b RawValue>, Fault> {
        Ok(self.take(name)?.filter(|value| value.get() != "null"))
    }

    /// Whether a member of this name is there and has not been taken.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// What was not taken.
    pub(crate) fn rest(self) -> Vec<(Cow<'b, str>, &'b RawValue)> {
        self.0
    }
}

/// The text of a JSON string.
pub(crate) fn text(value: &RawValue) -> Result<Cow<'_, str>, Fault> {
    let json = value.get();
    let Some(inner) = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) else {
        return Err(fault(INVALID_TYPE, "This field must be a string."));
    };
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    let unescaped = serde_json::from_str(json).map(Cow::Owned);
    unescaped.map_err(|_| fault(INVALID_TYPE, "This field must be a string of whole Unicode characters."))
}

/// A member's name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'b>(#[serde(borrow)] Cow<'b, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some((Name(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_their_text() {
        let mut members = Members::read(br#"{"b":1.0,"a\n":{"x":[1e2]},"c":null}"#).unwrap();
        assert_eq!(members.required("b").unwrap().get(), "1.0");
        assert!(members.optional("c").unwrap().is_none());
        assert!(members.optional("missing").unwrap().is_none());
        let rest = members.rest();
        assert_eq!((rest[0].0.as_ref(), rest[0].1.get()), ("a\n", r#"{"x":[1e2]}"#));
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused() {
        let mut members = Members::read(br#"{"a":1,"b":2,"a":1}"#).unwrap();
        assert_eq!(members.required("a").unwrap_err().0, DUPLICATE_FIELD);
        assert_eq!(members.rest().len(), 1);
    }

    #[test]
    fn half_a_surrogate_pair_is_no_text() {
        assert!(matches!(Members::read(br#"{"\ud83d":1}"#), Err(Unreadable::Json(json::Invalid::NotUtf8))));
        let mut members = Members::read(br#"{"a":"\ud83d"}"#).unwrap();
        assert_eq!(members.required("a").and_then(text).unwrap_err().0, INVALID_TYPE);
    }
}
