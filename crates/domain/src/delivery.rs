//! Deliveries: one event owed to one webhook, its states, and what an attempt does to them.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::retry::RetryPolicy;

/// The state of one delivery; see `docs/states.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Owed now.
    Pending,
    /// Failed, and tried again when due.
    Retrying {
        /// When it is due.
        at: Timestamp,
    },
    /// Answered 2xx.
    Succeeded {
        /// When it was answered.
        at: Timestamp,
    },
    /// Owed, but its webhook takes nothing at present.
    Held {
        /// Why.
        reason: HeldReason,
    },
    /// Given up.
    Dead {
        /// Why.
        reason: DeadReason,
    },
    /// Called off.
    Cancelled,
}

/// Why a delivery is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldReason {
    /// Its owner paused the webhook.
    Paused,
    /// Its owner disabled the webhook.
    Disabled,
    /// The hub disabled the webhook.
    Broken,
    /// An earlier delivery with the same ordering key to the same webhook has not ended.
    Order,
}

impl HeldReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Paused, Self::Disabled, Self::Broken, Self::Order];

    /// The reason's name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Disabled => "disabled",
            Self::Broken => "broken",
            Self::Order => "order",
        }
    }
}

/// Why a delivery was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// Every attempt of the schedule failed.
    AttemptsExhausted,
    /// It crashed the process that worked on it, alone, again and again.
    Poison,
    /// The receiver said 410 Gone.
    Gone,
    /// The webhook's URL may not be called.
    AddressRefused,
}

impl DeadReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::AttemptsExhausted, Self::Poison, Self::Gone, Self::AddressRefused];

    /// The reason's name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::Poison => "poison",
            Self::Gone => "gone",
            Self::AddressRefused => "address_refused",
        }
    }
}

/// A transition that is not drawn in `docs/states.md`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a delivery that is {from} cannot go through {transition}")]
pub struct InvalidTransition {
    from: &'static str,
    transition: &'static str,
}

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Delivered,
    /// 410: the receiver wants nothing any more.
    Gone,
    /// The guarded door refused the address; trying again cannot help until somebody changes something.
    Refused,
    /// Anything else, with the receiver's `Retry-After`.
    Failed {
        /// How long the receiver asked us to wait.
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    /// What a response's status means. A redirect is a failure and is never followed.
    pub const fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            200..=299 => Self::Delivered,
            410 => Self::Gone,
            429 | 503 => Self::Failed { retry_after },
            _ => Self::Failed { retry_after: None },
        }
    }
}

/// The names of all states, as in the database and on the wire.
pub const STATES: [&str; 6] = ["pending", "retrying", "succeeded", "held", "dead", "cancelled"];

impl DeliveryState {
    /// The state's name in the database and on the wire.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Retrying { .. } => "retrying",
            Self::Succeeded { .. } => "succeeded",
            Self::Held { .. } => "held",
            Self::Dead { .. } => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// The reason that the state carries.
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Held { reason } => Some(reason.as_str()),
            Self::Dead { reason } => Some(reason.as_str()),
            Self::Pending | Self::Retrying { .. } | Self::Succeeded { .. } | Self::Cancelled => None,
        }
    }

    /// What follows attempt number `made` (from 1) that ended at `now` in `outcome`.
    pub fn after_attempt(
        self,
        made: u16,
        outcome: Outcome,
        policy: &RetryPolicy,
        now: Timestamp,
        dice: f64,
    ) -> Result<Self, InvalidTransition> {
        match self {
            Self::Pending => Ok(match outcome {
                Outcome::Delivered => Self::Succeeded { at: now },
                Outcome::Gone => Self::Dead { reason: DeadReason::Gone },
                Outcome::Refused => Self::Dead { reason: DeadReason::AddressRefused },
                Outcome::Failed { retry_after } => match policy.wait_after(made, dice, retry_after) {
                    Some(wait) => Self::Retrying { at: now + wait },
                    None => Self::Dead { reason: DeadReason::AttemptsExhausted },
                },
            }),
            Self::Retrying { .. }
            | Self::Succeeded { .. }
            | Self::Held { .. }
            | Self::Dead { .. }
            | Self::Cancelled => Err(self.invalid("after_attempt")),
        }
    }

    /// Gives up a delivery that crashed its worker, alone, more often than is bearable.
    pub fn poisoned(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Pending | Self::Retrying { .. } => Ok(Self::Dead { reason: DeadReason::Poison }),
            Self::Succeeded { .. } | Self::Held { .. } | Self::Dead { .. } | Self::Cancelled => {
                Err(self.invalid("poisoned"))
            }
        }
    }

    /// Calls off what is still open.
    pub fn cancelled(self) -> Result<Self, InvalidTransition> {
        match self {
            Self::Pending | Self::Retrying { .. } | Self::Held { .. } => Ok(Self::Cancelled),
            Self::Succeeded { .. } | Self::Dead { .. } | Self::Cancelled => Err(self.invalid("cancelled")),
        }
    }

    const fn invalid(&self, transition: &'static str) -> InvalidTransition {
        InvalidTransition { from: self.as_str(), transition }
    }
}

/// Unfinished claims after which a delivery is worked alone.
pub const CRASHES_BEFORE_ALONE: i16 = 3;

/// Unfinished claims after which a delivery is dead.
pub const CRASHES_BEFORE_DEAD: i16 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        crate::Clock::system().now()
    }

    fn after(outcome: Outcome, made: u16) -> DeliveryState {
        DeliveryState::Pending.after_attempt(made, outcome, &RetryPolicy::default(), now(), 0.5).unwrap()
    }

    #[test]
    fn an_attempt_leads_where_the_diagram_says() {
        let failed = Outcome::Failed { retry_after: None };
        assert_eq!(after(Outcome::Delivered, 1).as_str(), "succeeded");
        assert_eq!(after(failed, 1).as_str(), "retrying");
        assert_eq!(after(failed, 12).reason(), Some("attempts_exhausted"));
        assert_eq!(after(Outcome::Gone, 1).reason(), Some("gone"));
        assert_eq!(after(Outcome::Refused, 1).reason(), Some("address_refused"));
    }

    #[test]
    fn terminal_is_terminal() {
        for state in [DeliveryState::Succeeded { at: now() }, DeliveryState::Cancelled] {
            let again = state.clone().after_attempt(1, Outcome::Delivered, &RetryPolicy::default(), now(), 0.5);
            assert!(again.is_err());
            assert!(state.clone().cancelled().is_err());
            assert!(state.poisoned().is_err());
        }
    }

    #[test]
    fn a_redirect_is_a_failure() {
        for status in [100, 199, 300, 301, 302, 307, 308, 400, 404, 500] {
            assert_eq!(Outcome::of_status(status, None), Outcome::Failed { retry_after: None }, "{status}");
        }
        assert_eq!(Outcome::of_status(204, None), Outcome::Delivered);
    }
}
