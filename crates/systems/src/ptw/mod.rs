//! PTW, the permit-to-work system: its event names, its publishing door, its sample.
//!
//! A permit application publishes with an API key, so there is no signature to check on the way in; what goes
//! out is signed by the dialect `ptw`.

pub mod inbound;
pub mod mapping;

pub use inbound::{PermitEvent, PermitRefusal};
pub use mapping::{SAMPLE_PAYLOAD, TEST_EVENT, sample_event, sample_payload, to_event};

/// The events that a permit webhook may hear, in the order of the system's documentation.
pub const EVENTS: [&str; 12] = [
    "permit_created",
    "workflow_initiated",
    "verifier_assigned",
    "approval_required",
    "permit_approved",
    "permit_rejected",
    "permit_activated",
    "permit_completed",
    "permit_expired",
    "closeout_completed",
    "isolation_verified",
    "escalation_triggered",
];

/// The names under which the system in the field sends an event of [`EVENTS`].
pub const ALIASES: [(&str, &str); 1] = [("permit_active", "permit_activated")];

/// The documented name of the event that `name` stands for.
pub fn documented(name: &str) -> Option<&'static str> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, documented)| documented);
    EVENTS.into_iter().find(|known| *known == name)
}
