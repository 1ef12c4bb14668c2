//! What the hub itself reports as events: webhooks that it disables or finds well again, deliveries that it gives up,
//! connectors that fail. They are ordinary events; only the hub makes them, and none follows from another.

use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::dialect::wire_time;
use crate::event::{EventType, Label, NewEvent};
use crate::id::{ConnectorId, EventId, TenantId, WebhookId};
use crate::trace::TraceContext;

/// What the hub reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The hub disabled a webhook: its receiver said 410, or it has failed for days.
    WebhookDisabled,
    /// A webhook that had failed for a while takes deliveries again.
    WebhookRecovered,
    /// A delivery was given up.
    DeliveryDead,
    /// Calls of a connector fail again and again.
    ConnectorUnhealthy,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] =
        [Self::WebhookDisabled, Self::WebhookRecovered, Self::DeliveryDead, Self::ConnectorUnhealthy];

    /// The event's type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebhookDisabled => "webhook.disabled",
            Self::WebhookRecovered => "webhook.recovered",
            Self::DeliveryDead => "delivery.dead",
            Self::ConnectorUnhealthy => "connector.unhealthy",
        }
    }

    /// Whether `kind` is the type of an operational event, which only the hub may make.
    pub fn is(kind: &str) -> bool {
        Self::ALL.into_iter().any(|known| known.as_str() == kind)
    }
}

/// A delivery that was given up, as its event tells it.
#[derive(Clone, Copy, Debug)]
pub struct Dead<'d> {
    /// The delivery.
    pub delivery: Uuid,
    /// To whom.
    pub webhook: WebhookId,
    /// What was owed.
    pub event: EventId,
    /// The type of what was owed.
    pub kind: &'d str,
    /// Why it was given up.
    pub reason: &'d str,
    /// Attempts made.
    pub attempts: i32,
    /// The last response's status.
    pub status: Option<u16>,
    /// What went wrong last.
    pub error: Option<&'d str>,
}

/// A webhook was disabled by the hub.
pub fn webhook_disabled(tenant: TenantId, webhook: WebhookId, reason: &str, now: Timestamp) -> NewEvent {
    let data = json!({ "webhook_id": webhook.uuid(), "reason": reason, "disabled_at": wire_time(now) });
    event(Kind::WebhookDisabled, tenant, webhook.uuid(), &data, now)
}

/// A webhook that had failed since `failing_since` takes deliveries again.
pub fn webhook_recovered(tenant: TenantId, webhook: WebhookId, failing_since: Timestamp, now: Timestamp) -> NewEvent {
    let data = json!({
        "webhook_id": webhook.uuid(),
        "failing_since": wire_time(failing_since),
        "recovered_at": wire_time(now),
    });
    event(Kind::WebhookRecovered, tenant, webhook.uuid(), &data, now)
}

/// A delivery was given up; `None` where it was owed an operational event itself, or one death would follow another.
pub fn delivery_dead(tenant: TenantId, dead: &Dead<'_>, now: Timestamp) -> Option<NewEvent> {
    if Kind::is(dead.kind) {
        return None;
    }
    let data = json!({
        "delivery_id": dead.delivery,
        "webhook_id": dead.webhook.uuid(),
        "event_id": dead.event.uuid(),
        "event_type": dead.kind,
        "reason": dead.reason,
        "attempts": dead.attempts,
        "last_status": dead.status,
        "last_error": dead.error,
    });
    Some(event(Kind::DeliveryDead, tenant, dead.webhook.uuid(), &data, now))
}

/// Calls of a connector have failed `failures` times since `since`.
pub fn connector_unhealthy(
    tenant: TenantId,
    connector: ConnectorId,
    reason: &str,
    (failures, since): (i64, Timestamp),
    now: Timestamp,
) -> NewEvent {
    let data = json!({
        "connector_id": connector.uuid(),
        "reason": reason,
        "failures": failures,
        "since": wire_time(since),
    });
    event(Kind::ConnectorUnhealthy, tenant, connector.uuid(), &data, now)
}

fn event(kind: Kind, tenant: TenantId, subject: Uuid, data: &serde_json::Value, now: Timestamp) -> NewEvent {
    #[expect(clippy::expect_used, reason = "the names stand in this file and are tested")]
    let kind = EventType::parse(kind.as_str()).expect("the names of operational events are event types");
    NewEvent {
        id: EventId::new(now),
        tenant,
        kind,
        subject: Label::parse(subject.to_string()).ok(),
        project: None,
        ordering_key: None,
        occurred_at: now,
        payload: Bytes::from(data.to_string()),
        trace: TraceContext::root(),
        inbound: None,
        hops: 0,
        once: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        crate::Clock::system().now()
    }

    #[test]
    fn every_name_is_an_event_type() {
        for kind in Kind::ALL {
            assert_eq!(EventType::parse(kind.as_str()).unwrap().as_str(), kind.as_str());
            assert!(Kind::is(kind.as_str()));
        }
        assert!(!Kind::is("permit_approved"));
    }

    #[test]
    fn the_death_of_a_report_is_not_reported() {
        let (tenant, webhook) = (TenantId::new(now()), WebhookId::new(now()));
        let dead = |kind| Dead {
            delivery: Uuid::nil(),
            webhook,
            event: EventId::new(now()),
            kind,
            reason: "attempts_exhausted",
            attempts: 12,
            status: Some(500),
            error: None,
        };
        let made = delivery_dead(tenant, &dead("permit_approved"), now()).unwrap();
        assert_eq!(made.kind.as_str(), "delivery.dead");
        assert_eq!(made.subject.unwrap().as_str(), webhook.uuid().to_string());
        for kind in Kind::ALL {
            assert!(delivery_dead(tenant, &dead(kind.as_str()), now()).is_none());
        }
    }
}
