//! From a report to the event that leaves the hub: `erpops.<event_type>`, with every text masked.

use busbar_domain::dialect::wire_time;
use busbar_domain::event::{Label, NewEvent};
use busbar_domain::id::{EventId, InboundId, TenantId};
use busbar_domain::json::push_string;
use busbar_domain::trace::TraceContext;

use crate::erpops::inbound::{IntegrationEvent, Scalar};
use crate::erpops::mask::{ID_TOKEN, mask, mask_member, names_person};
use crate::refusal::FieldRefusal;
use crate::registry::Call;

impl IntegrationEvent {
    /// The event to store. Its subject is the source as sent, which stays inside; the payload is masked.
    ///
    /// It bears no key of its own: repeats are recognised when the call is received.
    pub fn to_event(&self, id: EventId, tenant: TenantId, inbound: Option<InboundId>, trace: TraceContext) -> NewEvent {
        NewEvent {
            id,
            tenant,
            kind: self.kind.clone(),
            subject: self.source.clone(),
            project: None,
            ordering_key: None,
            occurred_at: self.occurred_at,
            payload: self.masked_payload().into(),
            trace,
            inbound,
            hops: 0,
            once: None,
        }
    }

    /// Compact JSON with `connector_id`, `event_type`, `timestamp`, `severity`, `source`, `message`, `metadata`
    /// and `stale`, masked.
    pub fn masked_payload(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(b"{\"connector_id\":");
        push_string(&mut out, &self.connector.to_string());
        out.extend_from_slice(b",\"event_type\":");
        push_string(&mut out, self.event_type.as_str());
        out.extend_from_slice(b",\"timestamp\":");
        push_string(&mut out, &wire_time(self.occurred_at));
        out.extend_from_slice(b",\"severity\":");
        push_string(&mut out, self.severity.as_str());
        out.extend_from_slice(b",\"source\":");
        push_optional(&mut out, self.source.as_ref().map(Label::as_str));
        out.extend_from_slice(b",\"message\":");
        push_optional(&mut out, self.message.as_deref());
        out.extend_from_slice(b",\"metadata\":{");
        for (at, (name, value)) in self.metadata.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            push_string(&mut out, &mask(name));
            out.push(b':');
            push_scalar(&mut out, name, value);
        }
        out.extend_from_slice(b"},\"stale\":");
        push_flag(&mut out, self.stale);
        out.push(b'}');
        out
    }
}

/// Turns a received call into its event.
pub fn to_event(call: &Call<'_>) -> Result<NewEvent, Vec<FieldRefusal>> {
    let report = IntegrationEvent::parse(call.body, call.connector.uuid(), call.received_at)?;
    Ok(report.to_event(call.event, call.tenant, call.inbound, call.trace))
}

fn push_optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => push_string(out, &mask(text)),
        None => out.extend_from_slice(b"null"),
    }
}

fn push_flag(out: &mut Vec<u8>, flag: bool) {
    out.extend_from_slice(if flag { b"true" } else { b"false" });
}

fn push_scalar(out: &mut Vec<u8>, name: &str, value: &Scalar) {
    match value {
        Scalar::Text(text) => push_string(out, &mask_member(name, text)),
        Scalar::Number(_) if names_person(name) => push_string(out, ID_TOKEN),
        Scalar::Number(number) => out.extend_from_slice(number.as_bytes()),
        Scalar::Flag(flag) => push_flag(out, *flag),
        Scalar::Null => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use busbar_domain::json;
    use chrono::DateTime;
    use uuid::Uuid;

    #[test]
    fn what_leaves_is_masked_and_compact() {
        let body = r#"{"connector_id": "3f0c9a52-6c1e-4c53-9d2f-0b6a7c1d2e4f", "timestamp": "2026-04-18T03:00:00Z",
            "event_type": "integration.failed", "severity": "critical", "source": "PSFT_PAYROLL_BATCH", "note": "x",
            "message": "EMPLID 12345 (jane.doe@example.com) failed on db01.corp.local at record 18,441 of 40,000",
            "metadata": {"exit_code": 1, "records_processed": 184410, "employee_id": 4711, "host": "10.1.2.3",
                "emplid": "12345", "records_total": "400000", "retry": true, "carrier": null}}"#;
        let connector = Uuid::parse_str("3f0c9a52-6c1e-4c53-9d2f-0b6a7c1d2e4f").unwrap();
        let now = DateTime::parse_from_rfc3339("2026-04-20T03:00:00Z").unwrap().to_utc();
        let report = IntegrationEvent::parse(body.as_bytes(), connector, now).unwrap();
        let inbound = InboundId::new(now);
        let event =
            report.to_event(EventId::new(now), TenantId::from(Uuid::nil()), Some(inbound), TraceContext::root());
        assert_eq!(
            std::str::from_utf8(&event.payload).unwrap(),
            r#"{"connector_id":"3f0c9a52-6c1e-4c53-9d2f-0b6a7c1d2e4f","event_type":"integration.failed","timestamp":"2026-04-18T03:00:00Z","severity":"critical","source":"PSFT_PAYROLL_BATCH","message":"EMPLID [ID_REDACTED] ([EMAIL_REDACTED]) failed on [HOST_REDACTED] at record 18,441 of 40,000","metadata":{"exit_code":1,"records_processed":184410,"employee_id":"[ID_REDACTED]","host":"[IP_REDACTED]","emplid":"[ID_REDACTED]","records_total":"400000","retry":true,"carrier":null},"stale":true}"#
        );
        assert_eq!(json::compact(&event.payload).unwrap(), event.payload);
        assert_eq!(event.kind.as_str(), "erpops.integration.failed");
        assert_eq!(event.subject.as_ref().map(Label::as_str), Some("PSFT_PAYROLL_BATCH"));
        assert_eq!((event.inbound, event.once), (Some(inbound), None));
    }
}
