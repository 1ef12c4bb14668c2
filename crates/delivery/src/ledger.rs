//! The claims that this process holds, so that they can be renewed until their results are written.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use busbar_domain::id::DeliveryId;
use busbar_storage::claims::Claim;

/// Claims by delivery, with the time they were last renewed.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    held: Mutex<HashMap<DeliveryId, (i32, Instant)>>,
}

impl Ledger {
    pub(crate) fn take(&self, claims: impl IntoIterator<Item = Claim>, now: Instant) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend(claims.into_iter().map(|claim| (claim.delivery, (claim.number, now))));
    }

    /// Forgets claims that have ended; one that was taken anew meanwhile stays.
    pub(crate) fn release(&self, claims: impl IntoIterator<Item = Claim>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for claim in claims {
            if held.get(&claim.delivery).is_some_and(|(number, _)| *number == claim.number) {
                held.remove(&claim.delivery);
            }
        }
    }

    /// The claims that are at least `age` old, in key order; they count as renewed at `now`.
    pub(crate) fn older_than(&self, age: Duration, now: Instant) -> Vec<Claim> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut old = Vec::new();
        for (delivery, (number, since)) in held.iter_mut() {
            if now.duration_since(*since) >= age {
                *since = now;
                old.push(Claim { delivery: *delivery, number: *number });
            }
        }
        old.sort_unstable_by_key(|claim| claim.delivery);
        old
    }

    pub(crate) fn len(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
