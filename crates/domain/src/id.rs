//! One type for each kind of id, all of them UUIDv7, so that ids sort by the time they were made.
//!
//! Partitions are ranges of ids: [`first_at`] is the smallest id of a moment.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;

/// A UUIDv7 made at `now`: 48 bits of milliseconds, 12 bits of the millisecond's fraction, 62 random bits.
///
/// Source: RFC 9562, section 5.7, with method 3 of section 6.2 for the order within a millisecond.
fn v7(now: Timestamp) -> Uuid {
    let micros = u64::try_from(now.timestamp_micros()).unwrap_or(0);
    let (millis, rest) = (micros / 1000, micros % 1000);
    let fraction = rest * 4096 / 1000;
    let high = (u128::from(millis) << 80) | (0x7 << 76) | (u128::from(fraction) << 64);
    let low = u128::from(fastrand::u64(..) >> 2) | (0b10 << 62);
    Uuid::from_u128(high | low)
}

/// The smallest UUIDv7 of the millisecond of `at`: a bound between partitions.
pub fn first_at(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    Uuid::from_u128(u128::from(millis) << 80)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id that sorts at `now`.
            pub fn new(now: Timestamp) -> Self {
                Self(v7(now))
            }

            /// The bare UUID, for the edges.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    )+};
}

ids! {
    /// A customer of the hub.
    TenantId
    /// A credential of a caller of our own API.
    ApiKeyId
    /// One customer's configured link to a system.
    ConnectorId
    /// A call exactly as received.
    InboundId
    /// A fact.
    EventId
    /// A subscriber's URL with its secret, dialect and policy.
    WebhookId
    /// One event owed to one webhook.
    DeliveryId
    /// An item of the catalogue.
    ProductId
    /// A company that orders are made for.
    CustomerId
    /// An order to produce a batch.
    ShopOrderId
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn ids_sort_by_the_moment_they_were_made() {
        let start = crate::Clock::system().now();
        let ids: Vec<_> = (0..2000).map(|i| EventId::new(start + TimeDelta::microseconds(i))).collect();
        assert!(ids.windows(2).all(|pair| pair[0].uuid().as_u128() >> 64 <= pair[1].uuid().as_u128() >> 64));
        assert_eq!(ids[0].uuid().get_version_num(), 7);
    }

    #[test]
    fn a_bound_stands_before_every_id_of_its_moment() {
        let now = crate::Clock::system().now();
        assert!(first_at(now) < EventId::new(now).uuid());
        assert!(EventId::new(now - TimeDelta::milliseconds(1)).uuid() < first_at(now));
    }
}
