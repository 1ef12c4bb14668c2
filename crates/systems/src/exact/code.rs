//! Why an action, or one row of it, is refused: the codes that the contract names, and a sentence with the path.

use std::borrow::Cow;
use std::fmt;

use crate::refusal::{Fault, REQUIRED, Unreadable};

/// The fault of a word that is no status; the other faults of a field have one code between them.
pub(super) const INVALID_STATUS: &str = "INVALID_STATUS";

/// A code of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The body is no JSON object.
    InvalidJson,
    /// There is no such action.
    InvalidAction,
    /// A field that must be there is not, or is blank.
    MissingRequiredField,
    /// No word for a status, or one that would take an order backwards.
    InvalidStatus,
    /// Any other value that is not allowed.
    InvalidField,
    /// The order that is referred to does not exist.
    WorkOrderNotFound,
    /// The product that is referred to does not exist.
    ProductNotFound,
    /// Two identifiers of one call name two orders.
    Conflict,
    /// The secret is missing or wrong.
    Unauthorized,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 9] = [
        Self::InvalidJson,
        Self::InvalidAction,
        Self::MissingRequiredField,
        Self::InvalidStatus,
        Self::InvalidField,
        Self::WorkOrderNotFound,
        Self::ProductNotFound,
        Self::Conflict,
        Self::Unauthorized,
    ];

    /// The code on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "INVALID_JSON",
            Self::InvalidAction => "INVALID_ACTION",
            Self::MissingRequiredField => "MISSING_REQUIRED_FIELD",
            Self::InvalidStatus => INVALID_STATUS,
            Self::InvalidField => "INVALID_FIELD",
            Self::WorkOrderNotFound => "WORK_ORDER_NOT_FOUND",
            Self::ProductNotFound => "PRODUCT_NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::Unauthorized => "UNAUTHORIZED",
        }
    }

    /// The status of an answer with this code; a move backwards is 409 all the same, see [`ActionRefusal::backwards`].
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidJson
            | Self::InvalidAction
            | Self::MissingRequiredField
            | Self::InvalidStatus
            | Self::InvalidField => 400,
            Self::Unauthorized => 401,
            Self::WorkOrderNotFound | Self::ProductNotFound => 404,
            Self::Conflict => 409,
        }
    }

    /// The code of the contract for a fault of one field.
    fn of(fault: &str) -> Self {
        match fault {
            REQUIRED => Self::MissingRequiredField,
            INVALID_STATUS => Self::InvalidStatus,
            _ => Self::InvalidField,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why one row is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Where the row stands in the list that was sent, from 0.
    pub index: usize,
    /// The code.
    pub code: Code,
    /// A sentence that names the path, such as `products[0].item_code`.
    pub error: String,
}

/// Why an action is refused as a whole; nothing of it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct ActionRefusal {
    /// The code.
    pub code: Code,
    /// The status of the answer.
    pub http_status: u16,
    /// A sentence that names the path, such as `product.exact_item_id`.
    pub error: String,
    /// The rows at fault, where every row of a list is.
    pub rows: Vec<RowError>,
}

impl ActionRefusal {
    /// A refusal that is answered with the code's own status.
    pub fn new(code: Code, error: impl Into<String>) -> Self {
        Self { code, http_status: code.http_status(), error: error.into(), rows: Vec::new() }
    }

    /// The status that was sent would take the order backwards: a conflict with what is stored, not a wrong word.
    pub fn backwards(error: impl Into<String>) -> Self {
        Self { http_status: 409, ..Self::new(Code::InvalidStatus, error) }
    }
}

impl From<Unreadable> for ActionRefusal {
    fn from(unreadable: Unreadable) -> Self {
        Self::new(Code::InvalidJson, unreadable.to_string())
    }
}

impl From<Wrong> for ActionRefusal {
    fn from(wrong: Wrong) -> Self {
        Self::new(wrong.code, wrong.to_string())
    }
}

/// What is wrong with one field, and where that is below the object that is being read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    code: Code,
    path: String,
    sentence: Cow<'static, str>,
}

impl Wrong {
    /// A fault of the field `path`, which is empty for the object itself.
    pub(super) fn at(path: impl Into<String>, (code, sentence): Fault) -> Self {
        Self { code: Code::of(code), path: path.into(), sentence }
    }

    /// The same fault, seen from the object that holds this one as `parent`.
    pub(super) fn under(mut self, parent: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{parent}{dot}{}", self.path);
        self
    }

    /// The same fault, seen from the list that holds this object at `index`.
    pub(super) fn at_index(self, index: usize) -> Self {
        self.under(&format!("[{index}]"))
    }

    /// The error of the row at `index` of `list`.
    pub(super) fn of_row(self, list: &str, index: usize) -> RowError {
        let wrong = self.at_index(index).under(list);
        RowError { index, code: wrong.code, error: wrong.to_string() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::{DUPLICATE_FIELD, fault};

    #[test]
    fn a_path_is_told_from_the_outermost_object() {
        let wrong = Wrong::at("status", fault(INVALID_STATUS, "No status.")).at_index(2).under("items");
        let refusal = ActionRefusal::from(wrong.under("materials_summary"));
        assert_eq!(refusal.error, "materials_summary.items[2].status: No status.");
        assert_eq!((refusal.code, refusal.http_status), (Code::InvalidStatus, 400));
        let row = Wrong::at("", fault(DUPLICATE_FIELD, "Twice.")).of_row("products", 7);
        assert_eq!(row.error, "products[7]: Twice.");
        assert_eq!((row.index, row.code), (7, Code::InvalidField));
    }

    #[test]
    fn every_code_is_told_apart() {
        for code in Code::ALL {
            assert_eq!(Code::ALL.iter().filter(|other| other.as_str() == code.as_str()).count(), 1);
            assert_eq!(code.to_string(), code.as_str());
            assert!((400..=409).contains(&code.http_status()));
        }
    }

    #[test]
    fn going_backwards_is_a_conflict() {
        let refusal = ActionRefusal::backwards("The order is READY_TO_START already.");
        assert_eq!((refusal.code.as_str(), refusal.http_status), ("INVALID_STATUS", 409));
        assert_eq!(refusal.to_string(), "The order is READY_TO_START already.");
    }
}
