//! Why a body is refused, field by field; the caller writes it in the shape that its route promises.

use std::borrow::Cow;
use std::fmt;

use busbar_domain::json;

/// The code of a body that is not JSON.
pub const INVALID_JSON: &str = "INVALID_JSON";
/// The code of a body that is JSON, but no object.
pub const NOT_AN_OBJECT: &str = "NOT_AN_OBJECT";
/// The code of a missing field.
pub const REQUIRED: &str = "REQUIRED";
/// The code of a field of the wrong JSON type.
pub const INVALID_TYPE: &str = "INVALID_TYPE";
/// The code of a field whose value is not allowed.
pub const INVALID_VALUE: &str = "INVALID_VALUE";
/// The code of a field that is too long.
pub const TOO_LONG: &str = "TOO_LONG";
/// The code of a field that the schema does not know.
pub const UNKNOWN_FIELD: &str = "UNKNOWN_FIELD";
/// The code of a field that is there twice.
pub const DUPLICATE_FIELD: &str = "DUPLICATE_FIELD";

/// The most refusals of one body that are told.
const MAX_TOLD: usize = 20;

/// The most characters of an unknown field's name that are told.
const MAX_NAME: usize = 100;

/// One reason to refuse a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRefusal {
    /// JSON pointer (RFC 6901) to the field; empty for the body as a whole.
    pub pointer: String,
    /// Stable, `UPPER_SNAKE`.
    pub code: &'static str,
    /// A whole sentence for people.
    pub sentence: Cow<'static, str>,
}

impl FieldRefusal {
    /// The name of the top-level field; empty for the body as a whole.
    pub fn field(&self) -> String {
        let first = self.pointer.split('/').nth(1).unwrap_or_default();
        first.replace("~1", "/").replace("~0", "~")
    }

    /// Whether the body as a whole is refused, since no field of it could be read.
    pub fn is_of_body(&self) -> bool {
        self.pointer.is_empty()
    }
}

impl fmt::Display for FieldRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.sentence)
    }
}

/// Why no field of a body could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON that we take.
    #[error("The body is {0}.")]
    Json(#[from] json::Invalid),
    /// JSON, but no object.
    #[error("The body is not a JSON object.")]
    NotAnObject,
}

impl From<Unreadable> for FieldRefusal {
    fn from(unreadable: Unreadable) -> Self {
        let code = match unreadable {
            Unreadable::Json(_) => INVALID_JSON,
            Unreadable::NotAnObject => NOT_AN_OBJECT,
        };
        Self { pointer: String::new(), code, sentence: unreadable.to_string().into() }
    }
}

/// What is wrong with one field: its code and a sentence.
pub(crate) type Fault = (&'static str, Cow<'static, str>);

/// A fault whose sentence is known beforehand.
pub(crate) const fn fault(code: &'static str, sentence: &'static str) -> Fault {
    (code, Cow::Borrowed(sentence))
}

/// Collects what is wrong with one body.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Vec<FieldRefusal>);

impl Refusals {
    /// Notes the fault of field `name`, if there is one.
    pub(crate) fn check<T>(&mut self, name: &str, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.note(&[name], fault)).ok()
    }

    /// Notes a fault at the end of `path`.
    pub(crate) fn note(&mut self, path: &[&str], (code, sentence): Fault) {
        if self.0.len() < MAX_TOLD {
            let mut pointer = String::new();
            for name in path {
                let told: String = name.chars().take(MAX_NAME).collect();
                pointer.push('/');
                pointer.push_str(&told.replace('~', "~0").replace('/', "~1"));
            }
            self.0.push(FieldRefusal { pointer, code, sentence });
        }
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is wrong.
    pub(crate) fn into_vec(self) -> Vec<FieldRefusal> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_escaped_and_its_field_is_not() {
        let mut refusals = Refusals::default();
        refusals.note(&["a/b~c", "d"], fault(UNKNOWN_FIELD, "This field is not known."));
        let refusals = refusals.into_vec();
        assert_eq!(refusals[0].pointer, "/a~1b~0c/d");
        assert_eq!(refusals[0].field(), "a/b~c");
    }

    #[test]
    fn what_is_told_is_bounded() {
        let mut refusals = Refusals::default();
        for _ in 0..1000 {
            refusals.note(&[&"x".repeat(1000)], fault(UNKNOWN_FIELD, "This field is not known."));
        }
        let refusals = refusals.into_vec();
        assert_eq!((refusals.len(), refusals[0].pointer.len()), (MAX_TOLD, MAX_NAME + 1));
    }

    #[test]
    fn an_unreadable_body_says_where_it_breaks() {
        let refusal = FieldRefusal::from(Unreadable::Json(json::Invalid::Syntax(7)));
        assert_eq!(refusal.sentence, "The body is not valid JSON at byte 7.");
        assert!(refusal.is_of_body());
        assert_eq!(refusal.field(), "");
    }
}
