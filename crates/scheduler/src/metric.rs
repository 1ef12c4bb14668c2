//! The names of what the scheduler measures.

/// Rows woken because they were due, by kind.
pub(crate) const WOKEN: &str = "busbar_scheduler_woken_total";
/// How long the oldest due row has waited, by kind, in seconds: what operators scale and alarm on.
pub(crate) const OLDEST: &str = "busbar_oldest_due_seconds";
/// 1 while rows lie in a default partition, which means that partitions were not made in time.
pub(crate) const REST_USED: &str = "busbar_default_partition_used";
/// Deliveries that replay jobs have dealt with, by outcome: made, or skipped since their webhook takes nothing.
pub(crate) const REPLAYED: &str = "busbar_replayed_total";
/// How many replay jobs run.
pub(crate) const REPLAYS_RUNNING: &str = "busbar_replays_running";
/// Shop orders that wait for Exact longer than they may.
pub(crate) const ORDERS_OVERDUE: &str = "busbar_shop_orders_overdue";
