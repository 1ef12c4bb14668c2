//! What comes of putting a new secret in an old one's place: a row keeps two secrets, so that one overlap ends before
//! the next begins.

use busbar_domain::Timestamp;

/// How a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The new secret is in place.
    Done,
    /// There is no such row.
    NotFound,
    /// A third secret would end the overlap of the one before last early, so nothing was changed.
    Overlapping {
        /// When the overlap ends that the last rotation began.
        until: Timestamp,
    },
}

impl Rotation {
    /// Of a row that was found, whether a secret was put in place, and the end of the overlap that is kept there now.
    pub(crate) fn of(found: Option<(bool, Option<Timestamp>)>) -> Self {
        match found {
            None => Self::NotFound,
            Some((false, Some(until))) => Self::Overlapping { until },
            Some((true | false, _)) => Self::Done,
        }
    }
}
