//! Calls that report something: each becomes one event, or is dead with what is wrong with its body.

use std::panic::{AssertUnwindSafe, catch_unwind};

use busbar_domain::Timestamp;
use busbar_domain::id::EventId;
use busbar_domain::inbound::System;
use busbar_storage::PgConnection;
use busbar_storage::inbound::{Ended, Received};
use busbar_systems::FieldRefusal;
use busbar_systems::registry::{Call, ToEvent};

use crate::inbound::{Decide, Decision, Refused, panicked};

/// The calls of one system, and how they are read.
pub(crate) struct Reports {
    pub(crate) system: System,
    pub(crate) to_event: ToEvent,
}

impl Decide for Reports {
    fn system(&self) -> System {
        self.system
    }

    async fn decide(&self, _: &mut PgConnection, calls: &[Received], now: Timestamp) -> Result<Vec<Decision>, Refused> {
        Ok(calls.iter().map(|call| decide(self.to_event, call, now)).collect())
    }
}

/// What a call comes to; pure, and a panic in it is the call's own failure.
fn decide(to_event: ToEvent, received: &Received, now: Timestamp) -> Decision {
    let call = Call {
        tenant: received.tenant,
        connector: received.connector,
        inbound: Some(received.id),
        event: EventId::new(now),
        trace: received.trace,
        body: &received.body,
        received_at: received.received_at,
    };
    let (event, ended) = match catch_unwind(AssertUnwindSafe(|| to_event(&call))) {
        Ok(Ok(event)) => (Some(event), Ended::Processed),
        Ok(Err(refusals)) => (None, Ended::Dead { reason: reason_of(&refusals) }),
        Err(_) => (None, panicked(received, now)),
    };
    Decision { call: received.id, events: event.into_iter().collect(), ended, answer: None }
}

fn reason_of(refusals: &[FieldRefusal]) -> String {
    let all: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    format!("invalid_body: {}", all.join("; "))
}

#[cfg(test)]
mod tests {
    use busbar_domain::Clock;
    use busbar_domain::event::NewEvent;
    use busbar_domain::id::{InboundId, TenantId};
    use busbar_domain::trace::TraceContext;
    use bytes::Bytes;
    use chrono::TimeDelta;

    use super::*;
    use crate::inbound::MOST_FAILURES;

    fn panics(_: &Call<'_>) -> Result<NewEvent, Vec<FieldRefusal>> {
        panic!("a defect")
    }

    #[test]
    fn a_panic_is_the_calls_own_failure_and_after_some_of_them_its_end() {
        let now = Clock::system().now();
        let mut call = Received {
            id: InboundId::new(now),
            tenant: TenantId::new(now),
            connector: busbar_domain::id::ConnectorId::new(now),
            body: Bytes::new(),
            received_at: now,
            failures: 0,
            trace: TraceContext::root(),
        };
        for failures in 0..MOST_FAILURES - 1 {
            call.failures = failures;
            let due_at = now + TimeDelta::seconds(1 << failures);
            let failed = Ended::Failed { reason: "internal".to_owned(), due_at };
            assert_eq!(decide(panics, &call, now).ended, failed);
        }
        call.failures = MOST_FAILURES - 1;
        assert_eq!(decide(panics, &call, now).ended, Ended::Dead { reason: "internal".to_owned() });
    }
}
