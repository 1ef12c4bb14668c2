//! The two envelopes in which Zapier sends what it has found: JSON inside a text, and a printed list.
//!
//! `{"json":"{…}"}` holds a whole body. `{"data":"…\nitems: [{'Code': 'A1', …}]\n…"}` looks like Python and is none:
//! its texts are not escaped. What cannot be told apart in it for certain is refused row by row, never guessed.

mod cut;
mod layout;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use busbar_domain::json;
use serde_json::value::RawValue;

use super::code::{ActionRefusal, Code, Wrong};
use super::fields::Fields;
use super::rows::Listed;
use crate::members::text;
use crate::refusal::{INVALID_TYPE, INVALID_VALUE, Unreadable, fault};

/// Fields that a body has when it is not in an envelope, whatever else is in it.
const OPEN: [&str; 6] = ["products", "Items", "items", "customers", "exact_shop_order_number", "batch_assignments"];

/// What was in an envelope.
pub(super) enum Envelope {
    /// A body, compact.
    Body(Vec<u8>),
    /// A list, row by row: compact JSON, or why the row cannot be read.
    List(Listed<Result<Vec<u8>, Wrong>>),
}

/// Opens the envelope that a body is in; `None` if it is in none.
pub(super) fn open(body: &mut Fields<'_>) -> Result<Option<Envelope>, ActionRefusal> {
    if OPEN.iter().any(|name| body.has(name)) {
        return Ok(None);
    }
    if let Some(inner) = body.optional(&["json"], |value| Ok(Some(value)))? {
        return Ok(Some(Envelope::Body(inner_body(inner)?)));
    }
    let Some(printed) = body.optional(&["data"], |value| text(value).map(Some))? else { return Ok(None) };
    let sentence = "This field must hold a line such as items: [{'ID': …}].";
    let listed = list(&printed).ok_or_else(|| Wrong::at("data", fault(INVALID_VALUE, sentence)))?;
    Ok(Some(Envelope::List(listed)))
}

/// The body that stands in the field `json`, as a text or as it is.
fn inner_body(inner: &RawValue) -> Result<Vec<u8>, ActionRefusal> {
    if inner.get().starts_with('{') {
        return Ok(inner.get().as_bytes().to_owned());
    }
    if !inner.get().starts_with('"') {
        let sentence = "This field must be the text of a JSON object.";
        return Err(Wrong::at("json", fault(INVALID_TYPE, sentence)).into());
    }
    let told = |unreadable: Unreadable| ActionRefusal::new(Code::InvalidJson, format!("json: {unreadable}"));
    let inner = text(inner).map_err(|fault| Wrong::at("json", fault))?;
    let compact = json::compact(inner.as_bytes()).map_err(|invalid| told(invalid.into()))?;
    if compact.first() == Some(&b'{') { Ok(compact) } else { Err(told(Unreadable::NotAnObject)) }
}

/// The list that a printed text holds, in a line of its own.
fn list(printed: &str) -> Option<Listed<Result<Vec<u8>, Wrong>>> {
    let (name, list) = super::product::LISTS.iter().find_map(|name| Some((name, cut::list(printed, name)?)))?;
    Some(Listed { path: (*name).to_owned(), rows: layout::rows(&cut::pieces(list)) })
}
