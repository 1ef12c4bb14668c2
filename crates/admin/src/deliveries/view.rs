//! A delivery as lists show it.

use busbar_storage::delivery_log::DeliveryRecord;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A delivery.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryView {
    /// Its id.
    pub(super) id: Uuid,
    /// To whom.
    webhook_id: Uuid,
    /// The webhook's name.
    webhook_name: String,
    /// What is owed.
    event_id: Uuid,
    /// The event's type.
    event_type: String,
    /// What the event's deliveries stay in order by.
    ordering_key: Option<String>,
    /// The `webhook-id` header: the same on every attempt and replay.
    message_id: Uuid,
    /// The delivery that it repeats.
    replay_of: Option<Uuid>,
    /// Whether it is a test ping.
    test: bool,
    /// `pending`, `retrying`, `succeeded`, `held`, `dead` or `cancelled`.
    status: String,
    /// Why it is held, dead or cancelled.
    reason: Option<String>,
    /// Attempts made so far.
    attempt_count: i32,
    /// The last response's status.
    response_code: Option<i16>,
    /// What went wrong last.
    error: Option<String>,
    /// When it is tried next, if it will be.
    next_attempt_at: Option<DateTime<Utc>>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
}

impl From<DeliveryRecord> for DeliveryView {
    fn from(record: DeliveryRecord) -> Self {
        let created_at = record.created_at();
        let is_due = matches!(record.state.as_str(), "pending" | "retrying");
        Self {
            id: record.id,
            webhook_id: record.webhook_id,
            webhook_name: record.webhook_name,
            event_id: record.event_id,
            event_type: record.event_type,
            ordering_key: record.ordering_key,
            message_id: record.message_id,
            replay_of: record.replay_of,
            test: record.test,
            status: record.state,
            reason: record.reason,
            attempt_count: record.attempts,
            response_code: record.last_status,
            error: record.last_error,
            next_attempt_at: is_due.then_some(record.due_at),
            created_at,
            finished_at: record.finished_at,
        }
    }
}
