//! Inbound calls: a call exactly as received from an external system, waiting to be processed.

use std::fmt;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::event::Once;
use crate::id::{ConnectorId, InboundId, TenantId};
use crate::trace::TraceContext;

/// An outside product that the hub speaks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum System {
    /// Permit to work.
    Ptw,
    /// ERP operations monitoring.
    Erpops,
    /// Exact Online, through Zapier or itself.
    Exact,
}

impl System {
    /// Every system that stands.
    pub const ALL: [Self; 3] = [Self::Ptw, Self::Erpops, Self::Exact];

    /// The system's name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ptw => "ptw",
            Self::Erpops => "erpops",
            Self::Exact => "exact",
        }
    }

    /// Reads a system's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|system| system.as_str() == name)
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a caller is told of its call, where the processing makes the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status of the response.
    pub status: u16,
    /// The body of the response, byte for byte.
    pub body: Bytes,
}

/// The state of an inbound call; see `docs/states.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboundState {
    /// Durable, not yet processed.
    Received,
    /// Processed; its events are written with this state.
    Processed,
    /// Processing failed and is tried again when due.
    Failed,
    /// Given up, with a reason.
    Dead,
}

impl InboundState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Received, Self::Processed, Self::Failed, Self::Dead];

    /// The state's name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Processed => "processed",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }
}

/// An inbound call that is about to be made durable.
#[derive(Clone, Debug)]
pub struct NewInbound {
    /// Made before the insert.
    pub id: InboundId,
    /// Whose connector was called.
    pub tenant: TenantId,
    /// The connector that was called.
    pub connector: ConnectorId,
    /// The connector's system.
    pub system: System,
    /// The body, byte for byte.
    pub body: Bytes,
    /// When it was received.
    pub received_at: Timestamp,
    /// Where in which trace it was received.
    pub trace: TraceContext,
    /// What makes a repeat of it recognisable.
    pub once: Option<Once>,
}
