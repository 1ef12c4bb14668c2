//! Lists whose rows stand for themselves: the good ones are written, the bad ones are told by their index.

use serde_json::value::RawValue;

use super::code::{ActionRefusal, RowError, Wrong};
use super::fields::{Fields, Names, list, missing, object};
use crate::refusal::{INVALID_TYPE, fault};

/// The most refused rows that are told one by one; all of them are counted.
pub const MAX_TOLD: usize = 1000;

/// The member that a form wraps a list in.
const WRAPPED: &str = "Item";

/// One row that can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<T> {
    /// Where it stands in the list that was sent, from 0.
    pub index: usize,
    /// What it says.
    pub value: T,
}

/// The rows of one action, in the order in which they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows<T> {
    /// What can be written. An id may be there twice; then the later row is the newer one.
    pub good: Vec<Row<T>>,
    /// What cannot.
    pub refused: Refused,
}

/// The rows of one action that are not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    errors: Vec<RowError>,
    count: usize,
}

impl Refused {
    /// Counts a row, and keeps its error while there are not too many.
    pub fn push(&mut self, error: RowError) {
        self.count += 1;
        if self.errors.len() < MAX_TOLD {
            self.errors.push(error);
        }
    }

    /// How many rows are not written.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Why, row by row; the first [`MAX_TOLD`] of them.
    pub fn errors(&self) -> &[RowError] {
        &self.errors
    }
}

/// A list that was sent, by the path that it has in the body.
pub(super) struct Listed<R> {
    pub(super) path: String,
    pub(super) rows: Vec<R>,
}

/// The first of the lists `names` that is there: an array, an array wrapped in `Item`, or a single object.
pub(super) fn listed<'b>(fields: &mut Fields<'b>, names: Names) -> Result<Listed<&'b RawValue>, Wrong> {
    for name in names {
        let Some(value) = fields.optional(std::slice::from_ref(name), |value| Ok(Some(value)))? else { continue };
        if value.get().starts_with('{') {
            let mut wrapped = object(value).map_err(|fault| Wrong::at(*name, fault))?;
            let inner = wrapped.as_mut().map(|fields| fields.optional(&[WRAPPED], |value| Ok(Some(value)))).transpose();
            let inner = inner.map_err(|wrong| wrong.under(name))?.flatten();
            return match inner {
                Some(inner) if inner.get().starts_with(['[', '{']) => rows_of(format!("{name}.{WRAPPED}"), inner),
                Some(_) | None => Ok(Listed { path: (*name).to_owned(), rows: vec![value] }),
            };
        }
        return rows_of((*name).to_owned(), value);
    }
    Err(missing(names[0]))
}

fn rows_of(path: String, value: &RawValue) -> Result<Listed<&RawValue>, Wrong> {
    if value.get().starts_with('{') {
        return Ok(Listed { path, rows: vec![value] });
    }
    match serde_json::from_str(value.get()) {
        Ok(rows) => Ok(Listed { path, rows }),
        Err(_) => Err(Wrong::at(path, fault(INVALID_TYPE, "This field must be an array."))),
    }
}

/// Reads the rows of a list one by one. If every one of them is bad, the action is, with the first row's code.
pub(super) fn read<R, T>(listed: Listed<R>, read: impl Fn(R) -> Result<T, Wrong>) -> Result<Rows<T>, ActionRefusal> {
    let mut rows = Rows { good: Vec::with_capacity(listed.rows.len()), refused: Refused::default() };
    for (index, row) in listed.rows.into_iter().enumerate() {
        match read(row) {
            Ok(value) => rows.good.push(Row { index, value }),
            Err(wrong) => rows.refused.push(wrong.of_row(&listed.path, index)),
        }
    }
    match rows.refused.errors.first() {
        Some(first) if rows.good.is_empty() => {
            Err(ActionRefusal { rows: rows.refused.errors.clone(), ..ActionRefusal::new(first.code, &*first.error) })
        }
        Some(_) | None => Ok(rows),
    }
}

/// Reads one row of JSON with `read`.
pub(super) fn row<'b, T>(row: &'b RawValue, read: impl Fn(Fields<'b>) -> Result<T, Wrong>) -> Result<T, Wrong> {
    read(Fields::read(row.get().as_bytes()).map_err(|fault| Wrong::at("", fault))?)
}

/// The objects of a list that stands or falls as one: the first object at fault refuses it. It may be missing.
pub(super) fn elements<'b, T>(
    fields: &mut Fields<'b>,
    name: &'static str,
    read: impl Fn(Fields<'b>) -> Result<T, Wrong>,
) -> Result<Option<Vec<T>>, Wrong> {
    let Some(elements) = fields.optional(&[name], list)? else { return Ok(None) };
    let read = |(index, element)| row(element, &read).map_err(|wrong| wrong.at_index(index).under(name));
    elements.into_iter().enumerate().map(read).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::code::Code;
    use crate::exact::fields::code;

    fn ids(body: &str) -> Result<(String, Rows<String>), ActionRefusal> {
        let mut fields = Fields::read(body.as_bytes()).unwrap();
        let listed = listed(&mut fields, &["products", "Items"])?;
        let path = listed.path.clone();
        Ok((path, read(listed, |value| row(value, |mut fields| fields.required(&["id"], code)))?))
    }

    fn paths(body: &str) -> (String, usize) {
        let (path, rows) = ids(body).unwrap();
        (path, rows.good.len())
    }

    #[test]
    fn a_list_may_be_wrapped_or_a_single_row() {
        assert_eq!(paths(r#"{"products":[{"id":"a"},{"id":"b"}],"Items":[]}"#), ("products".to_owned(), 2));
        assert_eq!(paths(r#"{"products":{"id":"a"}}"#), ("products".to_owned(), 1));
        assert_eq!(
            paths(r#"{"products":null,"Items":{"Item":[{"id":"a"},{"id":"b"}]}}"#),
            ("Items.Item".to_owned(), 2)
        );
        assert_eq!(paths(r#"{"Items":{"Item":{"id":"a"}}}"#), ("Items.Item".to_owned(), 1));
        assert_eq!(paths(r#"{"Items":{"Item":"x","id":"a"}}"#), ("Items".to_owned(), 1));
        assert_eq!(paths(r#"{"products":[]}"#), ("products".to_owned(), 0));
        for (body, error) in [
            ("{}", "products: This field is required."),
            (r#"{"products":"all"}"#, "products: This field must be an array."),
            (r#"{"products":[],"products":[]}"#, "products: This field may be there only once."),
        ] {
            assert_eq!(ids(body).unwrap_err().error, error);
        }
    }

    #[test]
    fn bad_rows_are_told_by_their_index() {
        let (_, rows) = ids(r#"{"products":[{"id":"a"},{},{"id":"c"},7]}"#).unwrap();
        assert_eq!(rows.good.iter().map(|row| row.index).collect::<Vec<_>>(), [0, 2]);
        let told: Vec<_> = rows.refused.errors().iter().map(|error| (error.index, error.error.as_str())).collect();
        assert_eq!(
            told,
            [
                (1, "products[1].id: This field is required."),
                (3, "products[3]: This must be an object of whole Unicode text."),
            ]
        );
    }

    #[test]
    fn when_every_row_is_bad_the_action_is() {
        let refusal = ids(r#"{"products":[{},{"id":7}]}"#).unwrap_err();
        assert_eq!((refusal.code, refusal.http_status, refusal.rows.len()), (Code::MissingRequiredField, 400, 2));
        assert_eq!(refusal.error, "products[0].id: This field is required.");
    }

    #[test]
    fn what_is_told_is_bounded_and_what_is_counted_is_not() {
        let rows = format!(r#"{{"products":[{{"id":"a"}}{}]}}"#, ",{}".repeat(MAX_TOLD + 5));
        let refused = ids(&rows).unwrap().1.refused;
        assert_eq!((refused.count(), refused.errors().len()), (MAX_TOLD + 5, MAX_TOLD));
    }
}
