//! A decimal number exactly as it was written: never rounded, never padded.

use std::fmt;

use busbar_domain::json;

/// The longest number, in bytes.
pub const MAX_NUMBER_LEN: usize = 40;

/// The largest power of ten of a number that is written with one.
const MAX_EXPONENT: u32 = 40;

/// A JSON number, as written, that a numeric column can hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Number(String);

/// Why a text is not such a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a number is written as in JSON, in at most {MAX_NUMBER_LEN} characters, with an exponent of at most {MAX_EXPONENT}"
)]
pub struct InvalidNumber;

impl Number {
    /// The only door for a number.
    pub fn parse(text: &str) -> Result<Self, InvalidNumber> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let valid = text.len() <= MAX_NUMBER_LEN
            && digits.starts_with(|first: char| first.is_ascii_digit())
            && json::compact(text.as_bytes()).is_ok_and(|compact| compact == text.as_bytes())
            && exponent(text).is_none_or(|exponent| exponent.parse().is_ok_and(|power: u32| power <= MAX_EXPONENT));
        valid.then(|| Self(text.to_owned())).ok_or(InvalidNumber)
    }

    /// The number as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The digits of the power of ten.
fn exponent(text: &str) -> Option<&str> {
    let (_, power) = text.split_once(['e', 'E'])?;
    Some(power.strip_prefix(['+', '-']).unwrap_or(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_kept_as_written() {
        for written in ["0", "-0", "2544.5", "0.20", "-65.5", "1e-05", "1E+2", "12345678901234567890123.000"] {
            assert_eq!(Number::parse(written).unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_no_column_can_hold_is_no_number() {
        let long = "1".repeat(MAX_NUMBER_LEN + 1);
        for bad in
            ["", "-", "+1", "01", "1.", ".5", " 1", "1 ", "1,5", "NaN", "inf", "true", "\"1\"", "1e41", "1e-9999999999"]
        {
            assert_eq!(Number::parse(bad), Err(InvalidNumber), "{bad}");
        }
        assert_eq!(Number::parse(&long), Err(InvalidNumber));
    }
}
