//! The names of what the delivery service measures.

/// Attempts, by outcome.
pub(crate) const ATTEMPTS: &str = "busbar_delivery_attempts_total";
/// How long an attempt took.
pub(crate) const ATTEMPT: &str = "busbar_delivery_attempt_seconds";
/// Deliveries claimed by this process at present.
pub(crate) const CLAIMED: &str = "busbar_delivery_claimed";
/// Claims given back because their lane was full.
pub(crate) const PARKED: &str = "busbar_delivery_parked_total";
/// Results that were not written because another had claimed the row.
pub(crate) const LOST: &str = "busbar_delivery_claims_lost_total";
