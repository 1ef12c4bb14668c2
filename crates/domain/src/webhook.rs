//! Webhooks: a subscriber's URL with its secret, dialect and policy.

use crate::custom_header::CustomHeader;
use crate::dialect::Dialect;
use crate::id::{TenantId, WebhookId};
use crate::retry::RetryPolicy;
use crate::secret::Secret;
use std::time::Duration;

/// Whether a webhook takes deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookStatus {
    /// Takes deliveries.
    Active,
    /// Paused by its owner: still owed everything, held until it is resumed.
    Paused,
    /// Disabled by its owner: gets nothing new; what it was owed is held.
    Disabled,
    /// Disabled by the hub (410, or failing for days): still owed everything, held until it is resumed.
    Broken,
}

impl WebhookStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Active, Self::Paused, Self::Disabled, Self::Broken];

    /// The status' name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
            Self::Broken => "broken",
        }
    }

    /// Reads a status' name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// What a delivery needs to know of its webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Where it listens.
    pub url: String,
    /// How bodies are shaped and signed for it.
    pub dialect: Dialect,
    /// Whether it takes deliveries.
    pub status: WebhookStatus,
    /// The secret that signs.
    pub secret: Secret,
    /// The secret that signs as well until the rotation's overlap ends.
    pub old_secret: Option<Secret>,
    /// The total deadline of one attempt.
    pub timeout: Duration,
    /// When failed deliveries are tried again.
    pub retry: RetryPolicy,
    /// The most requests in flight to it at a time.
    pub max_in_flight: Option<usize>,
    /// The most requests to it in one second, over all processes.
    pub rate_limit: Option<u32>,
    /// Headers that every request to it bears beside the hub's own.
    pub headers: Vec<CustomHeader>,
}
