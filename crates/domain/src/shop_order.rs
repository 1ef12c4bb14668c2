//! Shop orders: their states from the request to the last finished item, and what may move them.
//!
//! An order never goes back: a call that would take it there is refused, and nothing of it is written.

use chrono::NaiveDate;

use crate::clock::Timestamp;
use crate::event::{InvalidLabel, Label};

/// The state of a shop order; see `docs/states.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShopOrderState {
    /// Asked for, and not yet known to Exact: it has no shop order number.
    Pending,
    /// Has its number; no material has been issued.
    Planned,
    /// Some of its materials have been issued.
    PartialMaterials,
    /// All of its materials have been issued.
    ReadyToStart,
    /// Its production has a start and an end.
    InProgress,
    /// Every item of it is complete.
    Completed,
}

/// How much of an order's materials has been issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MaterialsStatus {
    /// Nothing.
    Pending,
    /// Some of it.
    Partial,
    /// All of it.
    Complete,
}

impl MaterialsStatus {
    /// Every status, in the order in which an order goes through them.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Partial, Self::Complete];

    /// The status' name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Partial => "partial",
            Self::Complete => "complete",
        }
    }

    /// Reads a status' name; `not_issued`, as the system in the field says, is `pending`.
    pub fn parse(name: &str) -> Option<Self> {
        let name = if name == "not_issued" { "pending" } else { name };
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// When an order is produced, as far as that has been set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Production {
    /// The first day.
    pub start: Option<NaiveDate>,
    /// The last day.
    pub end: Option<NaiveDate>,
}

impl Production {
    /// Whether both days have been set.
    pub const fn is_set(self) -> bool {
        self.start.is_some() && self.end.is_some()
    }
}

/// A transition that is not drawn in `docs/states.md`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a shop order that is {from} cannot go through {transition}")]
pub struct InvalidTransition {
    from: &'static str,
    transition: &'static str,
}

impl ShopOrderState {
    /// Every state, in the order in which an order goes through them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Planned, Self::PartialMaterials, Self::ReadyToStart, Self::InProgress, Self::Completed];

    /// The state's name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Planned => "PLANNED",
            Self::PartialMaterials => "PARTIAL_MATERIALS",
            Self::ReadyToStart => "READY_TO_START",
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
        }
    }

    /// Reads a state's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// What follows when Exact tells the order's number, and perhaps how much of its materials has been issued.
    ///
    /// An order that Exact made starts as [`Self::Pending`] and goes through this at once.
    pub fn synced(self, materials: Option<MaterialsStatus>) -> Result<Self, InvalidTransition> {
        let numbered = match self {
            Self::Pending => Self::Planned,
            Self::Planned | Self::PartialMaterials | Self::ReadyToStart | Self::InProgress | Self::Completed => self,
        };
        match materials {
            Some(materials) => numbered.moved_by(materials).ok_or(self.invalid("synced")),
            None => Ok(numbered),
        }
    }

    /// What follows when materials have been issued in Exact. An order without a number has none to be issued.
    pub fn materials_issued(self, materials: MaterialsStatus) -> Result<Self, InvalidTransition> {
        self.moved_by(materials).ok_or(self.invalid("materials_issued"))
    }

    /// What follows when the days of its production are set, wholly or in part.
    ///
    /// Before its materials are complete the days are only noted: whoever makes an order ready looks at them again.
    pub fn scheduled(self, production: Production) -> Result<Self, InvalidTransition> {
        match self {
            Self::ReadyToStart if production.is_set() => Ok(Self::InProgress),
            Self::Pending | Self::Planned | Self::PartialMaterials | Self::ReadyToStart | Self::InProgress => Ok(self),
            Self::Completed => Err(self.invalid("scheduled")),
        }
    }

    /// What follows when items have been completed: `complete` of `items` are.
    pub fn items_completed(self, complete: u32, items: u32) -> Result<Self, InvalidTransition> {
        match self {
            Self::InProgress if complete >= items => Ok(Self::Completed),
            Self::InProgress => Ok(self),
            Self::Pending | Self::Planned | Self::PartialMaterials | Self::ReadyToStart | Self::Completed => {
                Err(self.invalid("items_completed"))
            }
        }
    }

    /// Where `materials` moves an order that has its number; `None` if that were backwards.
    const fn moved_by(self, materials: MaterialsStatus) -> Option<Self> {
        match (self, materials) {
            (Self::Planned, MaterialsStatus::Pending) => Some(Self::Planned),
            (Self::Planned | Self::PartialMaterials, MaterialsStatus::Partial) => Some(Self::PartialMaterials),
            (Self::Planned | Self::PartialMaterials | Self::ReadyToStart, MaterialsStatus::Complete) => {
                Some(Self::ReadyToStart)
            }
            (Self::InProgress | Self::Completed, MaterialsStatus::Complete) => Some(self),
            (Self::Pending, _)
            | (Self::PartialMaterials, MaterialsStatus::Pending)
            | (
                Self::ReadyToStart | Self::InProgress | Self::Completed,
                MaterialsStatus::Pending | MaterialsStatus::Partial,
            ) => None,
        }
    }

    const fn invalid(self, transition: &'static str) -> InvalidTransition {
        InvalidTransition { from: self.as_str(), transition }
    }
}

/// The hub's own number of an order, by which it is found again before it has one of Exact's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WoNumber(Label);

/// What a number begins with that the hub has made.
const PENDING: &str = "PENDING-";

impl WoNumber {
    /// The number of an order that is asked for at `now`: `PENDING-` and the milliseconds since 1970.
    ///
    /// Numbers are unique per tenant; of two orders in one millisecond the later one takes the next that is free.
    pub fn pending(now: Timestamp) -> Self {
        #[expect(clippy::expect_used, reason = "at most 28 bytes without a NUL")]
        Self(Label::parse(format!("{PENDING}{}", now.timestamp_millis())).expect("a short text is a label"))
    }

    /// The only door for a number that somebody sent.
    pub fn parse(text: &str) -> Result<Self, InvalidLabel> {
        Label::parse(text).map(Self)
    }

    /// The number.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MaterialsStatus as M;
    use ShopOrderState as S;
    use chrono::DateTime;

    fn day(day: u32) -> Option<NaiveDate> {
        NaiveDate::from_ymd_opt(2024, 1, day)
    }

    #[test]
    fn every_name_is_read_again() {
        for state in S::ALL {
            assert_eq!(S::parse(state.as_str()), Some(state));
        }
        for status in M::ALL {
            assert_eq!(M::parse(status.as_str()), Some(status));
        }
        assert_eq!(M::parse("not_issued"), Some(M::Pending));
        assert_eq!((M::parse("Complete"), S::parse("planned")), (None, None));
    }

    #[test]
    fn an_order_goes_from_its_number_to_its_last_item() {
        let order = S::Pending.synced(None).unwrap();
        assert_eq!(order, S::Planned);
        let order = order.materials_issued(M::Pending).unwrap().materials_issued(M::Partial).unwrap();
        assert_eq!(order, S::PartialMaterials);
        let order = order.materials_issued(M::Complete).unwrap();
        assert_eq!(order, S::ReadyToStart);
        let order = order.scheduled(Production { start: day(15), end: None }).unwrap();
        assert_eq!(order, S::ReadyToStart);
        let order = order.scheduled(Production { start: day(15), end: day(20) }).unwrap();
        assert_eq!(order, S::InProgress);
        let order = order.items_completed(9, 10).unwrap();
        assert_eq!(order, S::InProgress);
        assert_eq!(order.items_completed(10, 10).unwrap(), S::Completed);
    }

    #[test]
    fn materials_move_an_order_forwards_only() {
        for (from, pending, partial, complete) in [
            (S::Pending, None, None, None),
            (S::Planned, Some(S::Planned), Some(S::PartialMaterials), Some(S::ReadyToStart)),
            (S::PartialMaterials, None, Some(S::PartialMaterials), Some(S::ReadyToStart)),
            (S::ReadyToStart, None, None, Some(S::ReadyToStart)),
            (S::InProgress, None, None, Some(S::InProgress)),
            (S::Completed, None, None, Some(S::Completed)),
        ] {
            for (status, to) in M::ALL.into_iter().zip([pending, partial, complete]) {
                assert_eq!(from.materials_issued(status).ok(), to, "{from:?} {status:?}");
            }
        }
        let refused = S::InProgress.materials_issued(M::Partial).unwrap_err();
        assert_eq!(refused.to_string(), "a shop order that is IN_PROGRESS cannot go through materials_issued");
    }

    #[test]
    fn a_call_from_exact_numbers_an_order_and_never_takes_it_back() {
        assert_eq!(S::Pending.synced(Some(M::Pending)), Ok(S::Planned));
        assert_eq!(S::Pending.synced(Some(M::Complete)), Ok(S::ReadyToStart));
        for state in [S::Planned, S::PartialMaterials, S::ReadyToStart, S::InProgress, S::Completed] {
            assert_eq!(state.synced(None), Ok(state));
        }
        assert!(S::ReadyToStart.synced(Some(M::Partial)).is_err());
    }

    #[test]
    fn days_that_are_set_early_are_noted_until_the_order_is_ready() {
        let both = Production { start: day(15), end: day(20) };
        for state in [S::Pending, S::Planned, S::PartialMaterials, S::InProgress] {
            assert_eq!(state.scheduled(both), Ok(state));
        }
        assert!(S::Completed.scheduled(both).is_err());
        assert!(!Production::default().is_set());
    }

    #[test]
    fn an_order_is_completed_once_and_only_in_production() {
        for state in [S::Pending, S::Planned, S::PartialMaterials, S::ReadyToStart, S::Completed] {
            assert!(state.items_completed(10, 10).is_err(), "{state:?}");
        }
    }

    #[test]
    fn a_number_tells_the_millisecond_in_which_it_was_made() {
        let now = DateTime::from_timestamp_millis(1_703_347_200_000).unwrap();
        assert_eq!(WoNumber::pending(now).as_str(), "PENDING-1703347200000");
        assert_eq!(WoNumber::parse("PENDING-1703347200000"), Ok(WoNumber::pending(now)));
        assert!(WoNumber::parse("").is_err());
    }
}
