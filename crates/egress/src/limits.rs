//! How much time and memory one receiver may take from the hub.

use std::time::Duration;

/// Bounds of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many bytes of an answer's body are kept; the rest is never read.
    pub response_cap: usize,
    /// For name look-up, TCP and TLS together, within the request's total deadline.
    pub connect_timeout: Duration,
    /// For one name look-up; at most two seconds.
    pub lookup_timeout: Duration,
    /// How many look-ups may run at once; one zone takes at most a quarter of them.
    pub lookups: usize,
    /// How long it is remembered that a name leads nowhere; at most thirty seconds.
    pub negative_ttl: Duration,
    /// How many idle connections are kept per origin.
    pub idle_per_host: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// A connection of this age carries no further request after its next answer.
    pub connection_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            response_cap: 16 * 1_024,
            connect_timeout: Duration::from_secs(5),
            lookup_timeout: Duration::from_secs(2),
            lookups: 64,
            negative_ttl: Duration::from_secs(30),
            idle_per_host: 256,
            idle_timeout: Duration::from_secs(30),
            connection_age: Duration::from_mins(5),
        }
    }
}
