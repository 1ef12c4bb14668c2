//! What the hot path knows of keys, connectors, subscriptions and endpoints, each through its cache.

mod callers;
mod connectors;
mod endpoints;
mod plans;

pub use callers::{Caller, Callers};
pub use connectors::{Connector, Connectors};
pub use endpoints::{Endpoint, Endpoints, Known, open_headers, seal_headers};
pub use plans::Plans;

/// Where a webhook's secrets are sealed.
pub const WEBHOOK_SECRET: &str = "webhooks|secret";
/// Where a webhook's custom headers are sealed.
pub const WEBHOOK_HEADERS: &str = "webhooks|headers";
/// Where what is secret in a connector's configuration is sealed.
pub const CONNECTOR_CONFIG: &str = "connectors|config";
/// Where a connector's secrets are sealed.
pub const CONNECTOR_SECRET: &str = "connectors|secret";
