//! One object of an action, read field by field under every name that a field goes by.
//!
//! Null and blank text are as good as nothing, since a form fills what it does not know with them.

use std::borrow::Cow;

use chrono::{Datelike as _, NaiveDate};
use serde_json::value::RawValue;

use busbar_domain::shop_order::MaterialsStatus;

use super::code::{INVALID_STATUS, Wrong};
use super::number::Number;
use crate::members::{Members, text};
use crate::refusal::{Fault, INVALID_TYPE, INVALID_VALUE, REQUIRED, TOO_LONG, fault};

/// The longest identifier, in bytes.
const MAX_CODE_LEN: usize = 255;

/// The longest other text, in bytes.
const MAX_TEXT_LEN: usize = 8 * 1024;

/// The names of one field; the documented one stands first, and the first one that holds something counts.
pub(super) type Names = &'static [&'static str];

/// The members of one object that have not been read yet.
pub(super) struct Fields<'b>(Members<'b>);

impl<'b> Fields<'b> {
    /// Reads an object; `compact` is as [`busbar_domain::json::compact`] writes it.
    pub(super) fn read(compact: &'b [u8]) -> Result<Self, Fault> {
        Members::read(compact)
            .map(Self)
            .map_err(|_| fault(INVALID_TYPE, "This must be an object of whole Unicode text."))
    }

    /// A field that may be missing.
    pub(super) fn optional<T>(
        &mut self,
        names: &[&'static str],
        read: impl Fn(&'b RawValue) -> Result<Option<T>, Fault>,
    ) -> Result<Option<T>, Wrong> {
        for name in names {
            let value = self.0.optional(name).and_then(|value| value.map_or(Ok(None), &read));
            if let Some(value) = value.map_err(|fault| Wrong::at(*name, fault))? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// A field that must be there.
    pub(super) fn required<T>(
        &mut self,
        names: &[&'static str],
        read: impl Fn(&'b RawValue) -> Result<Option<T>, Fault>,
    ) -> Result<T, Wrong> {
        self.optional(names, read)?.ok_or_else(|| missing(names[0]))
    }

    /// Whether a member of this name has been sent, and not been read yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }
}

impl<'b> From<Members<'b>> for Fields<'b> {
    fn from(members: Members<'b>) -> Self {
        Self(members)
    }
}

/// The fault of a required field that is not there.
pub(super) fn missing(path: &str) -> Wrong {
    Wrong::at(path, fault(REQUIRED, "This field is required."))
}

/// An identifier, without the white space around it.
pub(super) fn code(value: &RawValue) -> Result<Option<String>, Fault> {
    trimmed(value, MAX_CODE_LEN)
}

/// A text for people, as it was sent.
pub(super) fn words(value: &RawValue) -> Result<Option<String>, Fault> {
    bounded(text(value)?, MAX_TEXT_LEN)
}

/// A text bound for a column; `None` if it is blank.
fn bounded(text: Cow<'_, str>, longest: usize) -> Result<Option<String>, Fault> {
    if text.len() > longest {
        return Err((TOO_LONG, format!("This field may have at most {longest} bytes.").into()));
    }
    if text.contains('\0') {
        return Err(fault(INVALID_VALUE, "This field may not hold a NUL character."));
    }
    Ok(Some(text).filter(|text| !text.trim().is_empty()).map(Cow::into_owned))
}

/// A link that a person may follow.
pub(super) fn link(value: &RawValue) -> Result<Option<String>, Fault> {
    let link = trimmed(value, MAX_TEXT_LEN)?;
    if link.as_ref().is_some_and(|link| !link.starts_with("https://") && !link.starts_with("http://")) {
        return Err(fault(INVALID_VALUE, "This field must be a link that begins with https:// or http://."));
    }
    Ok(link)
}

fn trimmed(value: &RawValue, longest: usize) -> Result<Option<String>, Fault> {
    let text = text(value)?;
    bounded(text.trim().into(), longest)
}

/// True or false.
pub(super) fn flag(value: &RawValue) -> Result<Option<bool>, Fault> {
    match value.get() {
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        _ => Err(fault(INVALID_TYPE, "This field must be true or false.")),
    }
}

/// A decimal number, or a text that is one.
pub(super) fn number(value: &RawValue) -> Result<Option<Number>, Fault> {
    let written = if value.get().starts_with('"') { text(value)? } else { value.get().into() };
    if written.trim().is_empty() {
        return Ok(None);
    }
    let number = Number::parse(written.trim()).map(Some);
    number.map_err(|_| fault(INVALID_VALUE, "This field must be a decimal number of at most 40 characters."))
}

/// A whole number from 1 to `MAX`.
pub(super) fn count<const MAX: u32>(value: &RawValue) -> Result<Option<u32>, Fault> {
    match value.get().parse() {
        Ok(count) if (1..=MAX).contains(&count) => Ok(Some(count)),
        _ if MAX == u32::MAX => Err(fault(INVALID_VALUE, "This field must be a whole number of at least 1.")),
        _ => Err((INVALID_VALUE, format!("This field must be a whole number from 1 to {MAX}.").into())),
    }
}

/// A day, as `2024-01-15`.
pub(super) fn date(value: &RawValue) -> Result<Option<NaiveDate>, Fault> {
    let text = text(value)?;
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let shape = |(at, byte): (usize, u8)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    let date = (text.len() == 10 && text.bytes().enumerate().all(shape)).then(|| text.parse().ok()).flatten();
    let date = date.filter(|date: &NaiveDate| date.year() > 0);
    date.map(Some).ok_or(fault(INVALID_VALUE, "This field must be a date such as 2024-01-15."))
}

/// How much of the materials has been issued.
pub(super) fn status(value: &RawValue) -> Result<Option<MaterialsStatus>, Fault> {
    let status = text(value).ok().and_then(|name| MaterialsStatus::parse(name.trim()));
    status.map(Some).ok_or(fault(INVALID_STATUS, "This field must be pending, partial or complete."))
}

/// The object that a field holds.
pub(super) fn object(value: &RawValue) -> Result<Option<Fields<'_>>, Fault> {
    Fields::read(value.get().as_bytes()).map(Some)
}

/// The elements of the array that a field holds.
pub(super) fn list(value: &RawValue) -> Result<Option<Vec<&RawValue>>, Fault> {
    serde_json::from_str(value.get()).map(Some).map_err(|_| fault(INVALID_TYPE, "This field must be an array."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn codes_lose_the_white_space_around_them_and_words_do_not() {
        assert_eq!(code(raw(r#""\tA 1 \u00a0""#)).unwrap().as_deref(), Some("A 1"));
        assert_eq!(words(raw(r#"" two  words ""#)).unwrap().as_deref(), Some(" two  words "));
        assert_eq!((code(raw(r#"" ""#)), words(raw(r#""\n""#))), (Ok(None), Ok(None)));
        for bad in ["1", "[]", r#""a\u0000b""#] {
            assert!(code(raw(bad)).is_err() && words(raw(bad)).is_err(), "{bad}");
        }
        let long = format!("\"{}\"", "x".repeat(256));
        assert_eq!(code(raw(&long)).unwrap_err().0, TOO_LONG);
        assert!(words(raw(&long)).is_ok());
    }

    #[test]
    fn a_date_has_one_form() {
        assert_eq!(date(raw("\"2024-02-29\"")).unwrap(), NaiveDate::from_ymd_opt(2024, 2, 29));
        assert_eq!(date(raw("\"\"")), Ok(None));
        for bad in
            ["2024-13-01", "2023-02-29", "2024-1-5", "24-01-15", "2024-01-15T00:00:00Z", "15-01-2024", "+024-01-15"]
        {
            assert!(date(raw(&format!("\"{bad}\""))).is_err(), "{bad}");
        }
        assert!(date(raw("20240115")).is_err());
    }

    #[test]
    fn a_count_is_a_whole_number_from_one() {
        assert_eq!(count::<10>(raw("10")).unwrap(), Some(10));
        for bad in ["0", "-1", "11", "1.0", "1e0", "\"1\"", "true", "99999999999999999999"] {
            assert!(count::<10>(raw(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_may_come_as_text() {
        assert_eq!(number(raw("-65.50")).unwrap().unwrap().as_str(), "-65.50");
        assert_eq!(number(raw("\" 12 \"")).unwrap().unwrap().as_str(), "12");
        assert_eq!(number(raw("\"\"")), Ok(None));
        for bad in ["true", "{}", "\"1,5\"", "\"many\""] {
            assert!(number(raw(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_link_leads_to_the_web() {
        assert!(link(raw("\"https://start.exactonline.nl/docs/ShopOrderView.aspx?ID=abc123\"")).is_ok());
        assert!(link(raw("\"javascript:alert(1)\"")).is_err());
        assert_eq!(link(raw("\"\"")), Ok(None));
    }

    #[test]
    fn the_first_name_that_holds_something_counts() {
        let names: Names = &["name", "Description"];
        let mut fields = Fields::read(br#"{"name":null,"Description":"d"}"#).unwrap();
        assert_eq!(fields.required(names, words).unwrap(), "d");
        let mut fields = Fields::read(br#"{"name":"","Description":1}"#).unwrap();
        let wrong = fields.required(names, words).unwrap_err();
        assert_eq!(wrong.to_string(), "Description: This field must be a string.");
        let mut fields = Fields::read(b"{}").unwrap();
        assert_eq!(fields.required(names, words).unwrap_err(), missing("name"));
        assert!(Fields::read(b"[]").is_err());
    }
}
