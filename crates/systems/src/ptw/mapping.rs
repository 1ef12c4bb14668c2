//! From a permit event to the event that is stored, and the sample that tests of a webhook send.
//!
//! A repeat of one event of one permit within one UTC clock hour of acceptance is the same event.

use busbar_domain::Timestamp;
use busbar_domain::event::{EventType, Label, NewEvent, Once};
use busbar_domain::id::{EventId, TenantId};
use busbar_domain::trace::TraceContext;
use bytes::Bytes;

use crate::ptw::inbound::PermitEvent;
use crate::refusal::FieldRefusal;
use crate::registry::Call;

/// The scope of the permit door's keys.
pub const ONCE_SCOPE: &str = "ptw";

/// The name of the event that a test of a webhook sends.
pub const TEST_EVENT: &str = "webhook_test";

/// The sample of the system's documentation, as a payload.
pub const SAMPLE_PAYLOAD: &str = r#"{"permit_id":123,"permit_number":"PTW-2024-001","project_id":5,"data":{"status":"approved","permit_type":"Hot Work","location":"Building A - Level 3","risk_level":"high","approved_by":"John Doe","comments":"Approved with conditions"}}"#;

const HOUR_SECONDS: i64 = 3600;

impl PermitEvent {
    /// The event to store, accepted at `now`.
    pub fn into_event(self, id: EventId, tenant: TenantId, trace: TraceContext, now: Timestamp) -> NewEvent {
        NewEvent {
            id,
            tenant,
            hops: 0,
            once: Some(self.once(now)),
            kind: self.kind,
            subject: Some(self.permit_number),
            project: self.project,
            ordering_key: None,
            occurred_at: self.occurred_at,
            payload: self.payload,
            trace,
            inbound: None,
        }
    }

    /// One per event, permit and UTC clock hour; the key outlives its hour by one, so that clocks may differ.
    fn once(&self, now: Timestamp) -> Once {
        let key = format!("{}:{}:{}", self.kind.as_str(), self.permit_id.as_str(), now.format("%Y%m%d%H"));
        let hour = now.timestamp().div_euclid(HOUR_SECONDS);
        let until = Timestamp::from_timestamp((hour + 2) * HOUR_SECONDS, 0).unwrap_or(now);
        Once { scope: ONCE_SCOPE, key, digest: None, until }
    }
}

/// Turns a publishing call into its event.
pub fn to_event(call: &Call<'_>) -> Result<NewEvent, Vec<FieldRefusal>> {
    let permit = PermitEvent::parse(call.body, call.received_at).map_err(super::PermitRefusal::into_fields)?;
    let event = permit.into_event(call.event, call.tenant, call.trace, call.received_at);
    Ok(NewEvent { inbound: call.inbound, ..event })
}

/// The name and the payload that a test of a webhook sends.
pub const fn sample_payload() -> (&'static str, Bytes) {
    (TEST_EVENT, Bytes::from_static(SAMPLE_PAYLOAD.as_bytes()))
}

/// The event that a test of a webhook sends: never deduplicated, happening `now`.
pub fn sample_event(id: EventId, tenant: TenantId, trace: TraceContext, now: Timestamp) -> NewEvent {
    #[expect(clippy::expect_used, reason = "a constant name that a test parses")]
    let kind = EventType::parse(TEST_EVENT).expect("the test event has a valid name");
    NewEvent {
        id,
        tenant,
        kind,
        subject: Label::parse("PTW-2024-001").ok(),
        project: Label::parse("5").ok(),
        ordering_key: None,
        occurred_at: now,
        payload: sample_payload().1,
        trace,
        inbound: None,
        hops: 0,
        once: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, TimeDelta};
    use uuid::Uuid;

    fn at(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn event(body: &str, now: &str) -> NewEvent {
        let now = at(now);
        let tenant = TenantId::from(Uuid::from_u128(1));
        PermitEvent::parse(body.as_bytes(), now).unwrap().into_event(
            EventId::new(now),
            tenant,
            TraceContext::root(),
            now,
        )
    }

    const BODY: &str = r#"{"event":"permit_active","permit_id":123,"permit_number":"PTW-2024-001","project_id":5,"timestamp":"2020-01-01T05:00:00Z"}"#;

    #[test]
    fn a_clock_hour_of_acceptance_makes_one_event() {
        let first = event(BODY, "2026-04-20T10:00:00Z").once.unwrap();
        let last = event(BODY, "2026-04-20T10:59:59.999999Z").once.unwrap();
        assert_eq!(first.key, "permit_activated:123:2026042010");
        assert_eq!(first, last);
        assert_eq!(first.until, at("2026-04-20T12:00:00Z"));
        assert_ne!(event(BODY, "2026-04-20T11:00:00Z").once.unwrap().key, first.key);
    }

    #[test]
    fn an_event_is_found_by_number_and_project() {
        let event = event(BODY, "2026-04-20T10:00:00Z");
        assert_eq!(event.subject.as_ref().map(Label::as_str), Some("PTW-2024-001"));
        assert_eq!(event.project.as_ref().map(Label::as_str), Some("5"));
        assert_eq!(event.occurred_at, at("2020-01-01T05:00:00Z"));
        assert_eq!(event.once.unwrap().scope, ONCE_SCOPE);
    }

    #[test]
    fn the_sample_is_the_documented_one() {
        let now = at("2026-04-20T10:00:00Z");
        let documented = PermitEvent::parse(include_bytes!("fixtures/permit_approved.json"), now).unwrap();
        assert_eq!(sample_payload().1, documented.payload());
        let later = now + TimeDelta::hours(1);
        let sample = sample_event(EventId::new(now), TenantId::from(Uuid::nil()), TraceContext::root(), later);
        assert_eq!((sample.kind.as_str(), sample.occurred_at, sample.once), (TEST_EVENT, later, None));
        assert_eq!(sample.subject.as_ref(), Some(documented.permit_number()));
        assert_eq!(sample.project.as_ref(), documented.project());
    }
}
