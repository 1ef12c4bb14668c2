//! A page that is gathered from rows which may not all belong to it.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// Keeps plans of this transaction from sorting: what an index gives in order is read from it, and no further than
/// wanted.
pub(crate) async fn forbid_sorting(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query("set local enable_sort = off").execute(conn).await?;
    Ok(())
}

/// The rows of one page so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page<T> {
    /// The rows, newest first.
    pub(crate) rows: Vec<T>,
    /// What the next page goes before; none while nothing is known of one.
    pub(crate) next: Option<Uuid>,
    limit: usize,
}

impl<T> Page<T> {
    /// An empty page for `limit` rows.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { rows: Vec::new(), next: None, limit }
    }

    /// Takes rows until the page is full and one more has been seen; answers whether that is so.
    pub(crate) fn take(&mut self, rows: impl IntoIterator<Item = T>, id: impl Fn(&T) -> Uuid) -> bool {
        for row in rows {
            if self.rows.len() == self.limit {
                self.next = self.rows.last().map(id);
                return true;
            }
            self.rows.push(row);
        }
        false
    }
}

/// How many rows are looked at: few at first, then four times as many, and so on, up to a bound.
#[derive(Clone, Debug)]
pub(crate) struct Steps {
    step: usize,
    left: usize,
}

impl Steps {
    /// Steps that begin with `first` rows and end after `most`.
    pub(crate) const fn new(first: usize, most: usize) -> Self {
        Self { step: first, left: most }
    }
}

impl Iterator for Steps {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let step = self.step.min(self.left);
        self.left -= step;
        self.step = self.step.saturating_mul(4);
        (step > 0).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_only_if_there_is_more() {
        let ids = |count: u128| (1..=count).rev().map(Uuid::from_u128);
        let mut page = Page::new(3);
        assert!(!page.take(ids(3), |id| *id) && page.next.is_none());
        assert!(page.take(ids(1), |id| *id));
        assert_eq!((page.rows.len(), page.next), (3, Some(Uuid::from_u128(1))));
    }

    #[test]
    fn steps_grow_up_to_their_bound() {
        assert_eq!(Steps::new(250, 5000).collect::<Vec<_>>(), [250, 1000, 3750]);
        assert_eq!(Steps::new(51, 40).collect::<Vec<_>>(), [40]);
        assert_eq!(Steps::new(1, 0).next(), None);
    }
}
