//! Every system in one table, for code and tests that treat them alike.

use busbar_domain::Timestamp;
use busbar_domain::dialect::InvalidSignature;
use busbar_domain::event::NewEvent;
use busbar_domain::id::{ConnectorId, EventId, InboundId, TenantId};
use busbar_domain::inbound::System;
use busbar_domain::secret::Key;
use busbar_domain::trace::TraceContext;

use crate::refusal::FieldRefusal;
use crate::{erpops, ptw};

/// Checks a signature header over the raw body.
pub type Verify = fn(&Key, Option<&str>, &[u8]) -> Result<(), InvalidSignature>;

/// Turns a call into the event that it reports.
pub type ToEvent = fn(&Call<'_>) -> Result<NewEvent, Vec<FieldRefusal>>;

/// What the hub must know of one system.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// The system.
    pub system: System,
    /// How its calls are signed; `None` where an API key or a secret in a header is the credential.
    pub verify: Option<Verify>,
    /// What its calls mean; `None` where a call is an action, which the processor decides about and answers.
    pub to_event: Option<ToEvent>,
}

/// One call as it was received, with the ids of what is made of it.
#[derive(Clone, Copy)]
pub struct Call<'c> {
    /// Whose connector was called.
    pub tenant: TenantId,
    /// The connector that was called.
    pub connector: ConnectorId,
    /// The row that holds the call, where the system's calls are stored before they are processed.
    pub inbound: Option<InboundId>,
    /// The id that the event will have.
    pub event: EventId,
    /// Where in which trace it was received.
    pub trace: TraceContext,
    /// The body, byte for byte.
    pub body: &'c [u8],
    /// When it was received.
    pub received_at: Timestamp,
}

/// The systems, one line each.
pub const EDGES: [Edge; 3] = [
    Edge { system: System::Ptw, verify: None, to_event: Some(ptw::to_event) },
    Edge { system: System::Erpops, verify: Some(erpops::auth::verify), to_event: Some(erpops::to_event) },
    Edge { system: System::Exact, verify: None, to_event: None },
];

/// The edge of `system`.
pub const fn edge(system: System) -> &'static Edge {
    match system {
        System::Ptw => &EDGES[0],
        System::Erpops => &EDGES[1],
        System::Exact => &EDGES[2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_stands_at_its_place() {
        assert_eq!(System::ALL.len(), EDGES.len());
        for system in System::ALL {
            assert_eq!(edge(system).system, system);
        }
    }
}
