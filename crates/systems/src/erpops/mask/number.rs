//! Which numbers identify somebody and which count something.

use super::context::{self, Context};
use super::shape;

/// The fewest digits of an identifier that nothing labels.
const LONG: usize = 6;

/// The fewest digits of an identifier that stands behind a person's name for it, as in `employee 12345`.
pub(super) const LONG_FOR_A_PERSON: usize = 4;

/// The fewest digits of an identifier written in groups.
const LONG_IN_GROUPS: usize = 9;

/// Units that stick to a number or follow it.
const UNITS: [&str; 17] = [
    "ms",
    "s",
    "sec",
    "secs",
    "second",
    "seconds",
    "millis",
    "milliseconds",
    "us",
    "ns",
    "min",
    "minutes",
    "b",
    "kb",
    "mb",
    "gb",
    "percent",
];

/// The end of the identifier that begins with the word `start..end`, if that is one.
pub(super) fn identifier(text: &str, start: usize, end: usize, context: &Context<'_>) -> Option<usize> {
    let bytes = text.as_bytes();
    if let Some(end) = shape::groups(bytes, start).or_else(|| shape::hyphenated(bytes, start, LONG_IN_GROUPS)) {
        return Some(end);
    }
    let word = &bytes[start..end];
    if longest_digits(word) < LONG
        || shape::is_hash(word)
        || is_fraction(bytes, start)
        || is_moment(bytes, start, end, context)
    {
        return None;
    }
    let counted = word.iter().all(u8::is_ascii_digit)
        && (context.counts(text, start) || is_first_of(bytes, start, end) || is_second_of(bytes, start, context));
    if counted || is_measured(bytes, start, end) {
        return None;
    }
    Some(shape::with_fraction(bytes, end))
}

/// Whether the word at `start..end` begins with digits and a unit or a counted thing follows them.
pub(super) fn is_measured(bytes: &[u8], start: usize, end: usize) -> bool {
    let digits = shape::end_of(bytes, start, |byte| byte.is_ascii_digit());
    if digits == start {
        return false;
    }
    if bytes.get(end) == Some(&b'%') {
        return true;
    }
    if digits < end {
        return is_one_of(&bytes[digits..end], &UNITS);
    }
    let next = end + usize::from(bytes.get(end) == Some(&b' '));
    let word_end = shape::end_of(bytes, next, |byte| byte.is_ascii_alphabetic());
    next > end
        && std::str::from_utf8(&bytes[next..word_end])
            .is_ok_and(|word| context::is_counted(word) || is_one_of(word.as_bytes(), &UNITS))
}

fn is_one_of(word: &[u8], words: &[&str]) -> bool {
    words.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word))
}

fn longest_digits(word: &[u8]) -> usize {
    word.split(|byte| !byte.is_ascii_digit()).map(<[u8]>::len).max().unwrap_or(0)
}

/// Whether the digits at `start` are decimals.
fn is_fraction(bytes: &[u8], start: usize) -> bool {
    start >= 2 && bytes[start - 1] == b'.' && bytes[start - 2].is_ascii_digit()
}

/// Whether the word is a date in a name, as in `BATCH_20260420_030000`, or a moment, as `20260420T030000Z`.
fn is_moment(bytes: &[u8], start: usize, end: usize, context: &Context<'_>) -> bool {
    let word = &bytes[start..end];
    let in_a_name = start >= 2 && matches!(bytes[start - 1], b'_' | b'-') && bytes[start - 2].is_ascii_alphanumeric();
    let after_a_date = context.joined(start).is_some_and(|last| shape::is_compact_date(last.as_bytes()));
    shape::is_compact_moment(word)
        || (in_a_name && shape::is_compact_date(word))
        || (in_a_name && after_a_date && shape::is_compact_time(word))
}

/// Whether the number is the first of `N of M` or `N/M`, and not a part of a path.
pub(super) fn is_first_of(bytes: &[u8], start: usize, end: usize) -> bool {
    let rest = &bytes[end..];
    let second = rest.strip_prefix(b" of ").or_else(|| {
        let in_a_path = start > 0 && bytes[start - 1] == b'/';
        rest.strip_prefix(b"/").filter(|_| !in_a_path)
    });
    second.and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit)
}

/// Whether the number is the second of `N/M`, and not a part of a path.
fn is_second_of(bytes: &[u8], start: usize, context: &Context<'_>) -> bool {
    let Some(first) = context.joined(start).filter(|first| first.bytes().all(|byte| byte.is_ascii_digit())) else {
        return false;
    };
    let before = start.checked_sub(first.len() + 2).map(|at| bytes[at]);
    bytes[start - 1] == b'/' && before != Some(b'/')
}
