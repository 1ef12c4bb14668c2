//! Lists: newest first, a bounded number at a time, continued by a cursor that clients do not read.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use busbar_runtime::{FieldError, Problem};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::ApiError;

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 200;

/// One page of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct List<T: ToSchema> {
    /// The rows, newest first.
    data: Vec<T>,
    /// What `cursor` takes for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Where a page begins and how long it is.
pub(crate) struct Paging {
    /// Rows with ids below this one.
    pub(crate) before: Uuid,
    limit: i64,
}

impl Paging {
    /// Reads `limit` (1 to 200, by default 50) and `cursor`.
    pub(crate) fn parse(limit: Option<i64>, cursor: Option<&str>) -> Result<Self, ApiError> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            let detail = format!("limit is 1 to {MAX_LIMIT}");
            return Err(vec![FieldError::new("/limit", "OUT_OF_RANGE", detail)].into());
        }
        let before = match cursor {
            None => Uuid::max(),
            Some(cursor) => URL_SAFE_NO_PAD
                .decode(cursor)
                .ok()
                .and_then(|bytes| Uuid::from_slice(&bytes).ok())
                .ok_or_else(|| Problem::bad_request("INVALID_CURSOR", "The cursor is not one that a list gave."))?,
        };
        Ok(Self { before, limit })
    }

    /// How many rows a page has at most.
    pub(crate) fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }

    /// How many rows to ask for: one more than is shown tells whether there is a next page.
    pub(crate) const fn fetch(&self) -> i64 {
        self.limit + 1
    }

    /// The page of the rows that were found.
    pub(crate) fn page<R, T: ToSchema>(
        &self,
        mut rows: Vec<R>,
        id: impl Fn(&R) -> Uuid,
        show: impl Fn(R) -> T,
    ) -> List<T> {
        let limit = self.limit();
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(id);
        List::new(rows, next, show)
    }
}

impl<T: ToSchema> List<T> {
    /// A page of `rows`; the next one, if there is one, goes before `next`.
    pub(crate) fn new<R>(rows: Vec<R>, next: Option<Uuid>, show: impl Fn(R) -> T) -> Self {
        let next_cursor = next.map(|id| URL_SAFE_NO_PAD.encode(id.as_bytes()));
        Self { data: rows.into_iter().map(show).collect(), next_cursor }
    }
}
