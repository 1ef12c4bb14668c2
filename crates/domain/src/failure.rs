//! Whether what failed may succeed later. Only `messaging` turns this into ack, later, or dead letter.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Why a piece of work did not succeed, with its cause.
#[derive(Debug)]
pub enum Failure {
    /// May succeed when tried again, not before `retry_after` where the other side said so.
    Transient {
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
        /// How long the other side asked us to wait.
        retry_after: Option<Duration>,
    },
    /// Will fail the same way however often it is tried.
    Permanent {
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Failure {
    /// A failure that may pass.
    pub fn transient(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Transient { source: source.into(), retry_after: None }
    }

    /// A failure that will not pass.
    pub fn permanent(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Permanent { source: source.into() }
    }

    /// Whether trying again can help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transient { source, .. } => write!(f, "transient: {source}"),
            Self::Permanent { source } => write!(f, "permanent: {source}"),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Transient { source, .. } | Self::Permanent { source } => Some(source.as_ref()),
        }
    }
}
