//! The names of what the ingress measures.

/// Events and calls answered 2xx, by route.
pub(crate) const ACCEPTED: &str = "busbar_ingress_accepted_total";
/// Events and calls refused, by route and status.
pub(crate) const REFUSED: &str = "busbar_ingress_refused_total";
/// How many entries one commit made durable.
pub(crate) const BATCH: &str = "busbar_ingress_commit_batch";
/// How long one commit took.
pub(crate) const COMMIT: &str = "busbar_ingress_commit_seconds";
