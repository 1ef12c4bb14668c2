//! The names of what the processor measures.

/// Inbound calls, by system and how they ended.
pub(crate) const CALLS: &str = "busbar_processor_calls_total";
/// Deliveries written by wide fan-outs.
pub(crate) const SPREAD: &str = "busbar_processor_spread_deliveries_total";
/// Unreadable wake-ups that were taken from the broker to the dead-letter desk.
pub(crate) const UNREADABLE: &str = "busbar_processor_unreadable_wakeups_total";
/// Actions of Exact, by action and the status that was answered.
pub(crate) const ACTIONS: &str = "busbar_processor_exact_actions_total";
