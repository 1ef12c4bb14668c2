//! Events of shop orders, ready to be published by whoever changes an order.

use busbar_domain::Timestamp;
use busbar_domain::event::{EventType, Label, NewEvent};
use busbar_domain::id::{EventId, InboundId, TenantId};
use busbar_domain::trace::TraceContext;
use bytes::Bytes;

/// What an event of an order follows from.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// Whose order it is.
    pub tenant: TenantId,
    /// The call that changed the order, if one did.
    pub inbound: Option<InboundId>,
    /// In which trace.
    pub trace: TraceContext,
    /// When.
    pub at: Timestamp,
}

/// The event `kind` of the order with this number; its subject is the number that the order keeps all along.
pub fn event(kind: &'static str, wo_number: &str, payload: Bytes, cause: Cause) -> NewEvent {
    #[expect(clippy::expect_used, reason = "the names are constants of the crate and are tested")]
    let kind = EventType::parse(kind).expect("the names of an order's events are event types");
    NewEvent {
        id: EventId::new(cause.at),
        tenant: cause.tenant,
        kind,
        subject: Label::parse(wo_number).ok(),
        project: None,
        ordering_key: None,
        occurred_at: cause.at,
        payload,
        trace: cause.trace,
        inbound: cause.inbound,
        hops: 0,
        once: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::outbound::EVENTS;

    #[test]
    fn every_event_of_an_order_bears_its_number() {
        let now = busbar_domain::Clock::system().now();
        let cause = Cause { tenant: TenantId::new(now), inbound: None, trace: TraceContext::root(), at: now };
        for kind in EVENTS {
            let event = event(kind, "PENDING-1", Bytes::from_static(b"{}"), cause);
            assert_eq!((event.kind.as_str(), event.subject.unwrap().as_str()), (kind, "PENDING-1"));
        }
    }
}
