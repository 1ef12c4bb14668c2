//! The names of what the delivery service measures.

/// Attempts, by outcome.
pub(crate) const ATTEMPTS: &str = "busbar_delivery_attempts_total";
/// How long an attempt took.
pub(crate) const ATTEMPT: &str = "busbar_delivery_attempt_seconds";
/// Deliveries claimed by this process at present.
pub(crate) const CLAIMED: &str = "busbar_delivery_claimed";
/// Claims given back because their lane was full.
pub(crate) const PARKED: &str = "busbar_delivery_parked_total";
/// Webhooks that this process calls by probes only.
pub(crate) const OPEN_CIRCUITS: &str = "busbar_delivery_open_circuits";
/// Webhooks whose receiver asked this process for a pause.
pub(crate) const PAUSED: &str = "busbar_delivery_paused_webhooks";
/// Deliveries that waited for their webhook's own pace.
pub(crate) const LIMITED: &str = "busbar_delivery_rate_limited_total";
/// Results that were not written because another had claimed the row.
pub(crate) const LOST: &str = "busbar_delivery_claims_lost_total";

/// A count as a gauge takes it.
#[expect(clippy::cast_precision_loss, reason = "a process holds few of anything")]
pub(crate) const fn count(of: usize) -> f64 {
    of as f64
}
