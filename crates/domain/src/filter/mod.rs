//! Filters of webhooks: a CEL expression over `event`, true for the events that the webhook hears.
//!
//! Whatever a subscriber wrote and whatever an event holds, reading and applying a filter neither panics nor
//! takes more than a bounded time and memory. Names and macros are those of the language's definition,
//! <https://github.com/google/cel-spec/blob/master/doc/langdef.md>, less optional values and `matches`.

mod facts;
#[cfg(test)]
mod hostile;
mod rules;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::parser::{Expression, ParseErrors};

pub use facts::Facts;

/// The most bytes that a filter has.
pub const MAX_FILTER_LEN: usize = 1000;

/// The deepest nesting of a filter, counted in the expression that is read from it.
const MAX_DEPTH: u16 = 32;

/// The functions, operators and macros of the language.
static LANGUAGE: LazyLock<Arc<cel::Env>> = LazyLock::new(|| Arc::new(cel::Env::stdlib().with_optional_support(false)));

/// Which events a webhook hears, beyond their types: those for which the expression is true.
///
/// The expression sees one variable, `event`, with the members that [`Facts`] tells.
#[derive(Clone)]
pub struct Filter {
    text: Arc<str>,
    expression: Arc<Expression>,
}

/// Why a text cannot be a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// Longer than [`MAX_FILTER_LEN`].
    #[error("a filter has at most {MAX_FILTER_LEN} bytes; make it shorter")]
    TooLong,
    /// Not an expression; `line` and `column` count from 1.
    #[error("the filter cannot be read at line {line}, column {column}: {problem}")]
    Syntax {
        /// The line where reading ends.
        line: usize,
        /// The character in that line.
        column: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// Nested too deeply, or a macro that walks a list within or behind another.
    #[error(
        "the filter is nested too deeply; keep to {MAX_DEPTH} levels, and put no exists, all, map or filter within or behind another"
    )]
    TooNested,
    /// Names something that a filter does not see.
    #[error(
        "the filter names `{0}`, which it does not see; use event.type, event.subject, event.project, event.ordering_key, event.occurred_at or event.data"
    )]
    UnknownVariable(String),
    /// Calls something that a filter does not have.
    #[error(
        "the filter calls `{0}`, which is no function here; use operators, has, exists, all, size, contains, startsWith, endsWith, or conversions such as int and timestamp"
    )]
    UnknownFunction(String),
    /// Can never be true or false.
    #[error(
        "the filter, or a part of it joined by a logical operator, is not true or false; compare it, as in event.data.total > 100"
    )]
    NotBoolean,
}

impl InvalidFilter {
    /// The refusal of a text that the parser could not cope with.
    fn unreadable() -> Self {
        Self::Syntax { line: 1, column: 1, problem: "no expression can be made of it" }
    }
}

impl Filter {
    /// The only door for a filter.
    pub fn parse(text: &str) -> Result<Self, InvalidFilter> {
        if text.len() > MAX_FILTER_LEN {
            return Err(InvalidFilter::TooLong);
        }
        if let Some(at) = text.find('\0') {
            return Err(nul(&text[..at]));
        }
        let mut expression = match contained(|| LANGUAGE.parser().max_recursion_depth(MAX_DEPTH).parse(text)) {
            Some(Ok(expression)) => expression,
            Some(Err(errors)) => return Err(first_problem(&errors)),
            None => {
                return Err(InvalidFilter::Syntax { line: 1, column: 1, problem: "no expression can be made of it" });
            }
        };
        rules::apply(&mut expression)?;
        Ok(Self { text: text.into(), expression: Arc::new(expression) })
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the filter is true for the event.
    ///
    /// False too when the expression fails on this event, such as on a missing member or on a text that is
    /// compared with a number, and when it asks for more work than one event is worth.
    pub fn passes(&self, facts: &Facts) -> bool {
        contained(|| facts.satisfy(&self.expression)).unwrap_or(false)
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Filter").field(&self.text).finish()
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Filter {}

/// Does `work` and gives nothing if it panics.
///
/// Everything that `work` shares must stay whole when it is left in the middle: it reads only, or is dropped.
fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// The refusal of a NUL, which no database text holds, after `before`.
fn nul(before: &str) -> InvalidFilter {
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
    InvalidFilter::Syntax { line, column, problem: "a NUL is not allowed; write it as \\x00" }
}

/// The first of the parser's complaints in our words.
fn first_problem(errors: &ParseErrors) -> InvalidFilter {
    // What the parser's own bound on nesting, or nothing else, is reported as.
    if errors.errors.iter().any(|error| error.msg.starts_with("Syntax error: OtherError")) {
        return InvalidFilter::TooNested;
    }
    let count = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
    errors.errors.first().map_or_else(InvalidFilter::unreadable, |error| InvalidFilter::Syntax {
        line: count(error.pos.0),
        column: count(error.pos.1),
        problem: problem(&error.msg),
    })
}

/// Our words for a complaint of the parser, told by how it begins, since its end may quote the filter.
fn problem(complaint: &str) -> &'static str {
    const MISSING: &str = "something is missing here";
    const WORDS: [(&str, &str); 9] = [
        ("Syntax error: token recognition error", "this character is unknown, or a text is not closed"),
        ("Syntax error: mismatched input '<EOF>'", MISSING),
        ("Syntax error: missing", MISSING),
        ("Incomplete", MISSING),
        (
            "argument must be",
            "exists, all, map and filter begin with a plain name, as in items.exists(item, item.open)",
        ),
        ("invalid argument to has", "has takes a member, as in has(event.data.total)"),
        ("invalid", "this number or text is not well-formed or out of range"),
        ("reserved identifier", "this word is reserved"),
        ("unsupported syntax", "optional values and names in backticks are not supported"),
    ];
    let ours = WORDS.iter().find(|(theirs, _)| complaint.starts_with(theirs)).map(|(_, ours)| *ours);
    ours.unwrap_or("this is not expected here, or something is missing after it")
}
