//! `/webhooks/{id}/test`: one delivery of sample data, made at once, whose true outcome is the answer.
//!
//! The ping is a delivery like any other: this process makes no call to the outside, it waits for the row.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, post, web};
use busbar_domain::dialect::Dialect;
use busbar_domain::event::{EventType, NewEvent};
use busbar_domain::id::{DeliveryId, EventId, TenantId, WebhookId};
use busbar_domain::trace::TraceContext;
use busbar_messaging::Queue;
use busbar_runtime::Problem;
use busbar_storage::delivery_log::{self, DeliveryRecord};
use busbar_storage::due::WAKE_GRACE;
use busbar_storage::webhooks;
use busbar_systems::ptw;
use bytes::Bytes;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::desk::{At, Desk};
use crate::error::ApiError;

/// Longer than any attempt may take.
const PATIENCE: Duration = Duration::from_secs(12);
const POLL: Duration = Duration::from_millis(50);
const STANDARD_SAMPLE: &str = r#"{"test":true,"message":"This is a test of your webhook."}"#;
const WORKPRO_SAMPLE: &str = r#"{"id":"0190a3b8-5d2e-7c41-9f6a-2b7d8e4c1a05","title":"Pump maintenance","description":"Generated from SAP","status":"requested","priority":"medium","type":"corrective"}"#;
const EXACT_SAMPLE: &str = r#"{"work_order_id":"uuid-of-work-order","wo_number":"PENDING-1703347200000","product":{"exact_item_id":"abc123-uuid","item_code":"SDM-ECO-001","name":"SDM ECO Sensor Unit"},"batch_size":10,"planned_start_date":"2024-01-15","planned_end_date":"2024-01-20","notes":"Rush order"}"#;

/// How a test ended.
#[derive(Serialize, ToSchema)]
struct TestOutcome {
    /// The delivery, to be looked up with its attempt.
    delivery_id: Uuid,
    /// `succeeded`, or `dead` if the receiver did not answer 2xx.
    status: String,
    /// The status of the response, if there was one.
    response_code: Option<i16>,
    /// What went wrong.
    error: Option<String>,
}

/// What is known of a ping after the wait.
pub(crate) enum Ping {
    /// It ended.
    Ended(Box<DeliveryRecord>),
    /// It is still under way.
    Pending(DeliveryId),
}

/// Sends sample data to a webhook, whatever its status, and answers how that went.
///
/// 200 tells the true outcome, good or bad; 504 that no outcome was known within 12 seconds.
#[utoipa::path(tag = "webhooks", responses(
    (status = 200, body = TestOutcome),
    (status = 404, body = Problem),
    (status = 504, body = Problem, description = "`TEST_PENDING`: look the delivery up later"),
))]
#[post("/webhooks/{id}/test")]
pub(crate) async fn test_webhook(
    desk: At,
    caller: Authorized<scope::Admin>,
    request: HttpRequest,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    match ping(&desk, &request, caller.tenant, WebhookId::from(*id), None).await? {
        Ping::Ended(delivery) => Ok(HttpResponse::Ok().json(TestOutcome {
            delivery_id: delivery.id,
            status: if delivery.state == "succeeded" { delivery.state } else { "dead".to_owned() },
            response_code: delivery.last_status,
            error: delivery.last_error.or(delivery.reason),
        })),
        Ping::Pending(delivery) => {
            let detail = format!("The test is still under way; look up /api/v1/deliveries/{delivery} later.");
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "TEST_PENDING", detail).into())
        }
    }
}

/// Owes a test to a webhook (of this dialect only, if one is given) and waits until it ends.
pub(crate) async fn ping(
    desk: &Desk,
    request: &HttpRequest,
    tenant: TenantId,
    id: WebhookId,
    dialect: Option<Dialect>,
) -> Result<Ping, ApiError> {
    let found = desk.read(async |conn| webhooks::find(conn, tenant, id, dialect).await).await?;
    let webhook = found.ok_or_else(ApiError::not_found)?;
    let trace = trace_of(request);
    let now = desk.now();
    let event = sample(webhook.fields.dialect, tenant, trace, now)?;
    let delivery = DeliveryId::new(now);
    let due_at = now + WAKE_GRACE;
    desk.read(async |conn| delivery_log::insert_test(conn, &event, (delivery, id), now, due_at).await).await?;
    desk.publisher().wake(Queue::Deliveries, &[delivery.uuid()], Some(trace));
    outcome(desk, tenant, delivery).await
}

async fn outcome(desk: &Desk, tenant: TenantId, delivery: DeliveryId) -> Result<Ping, ApiError> {
    let end = Instant::now() + PATIENCE;
    loop {
        tokio::time::sleep(POLL).await;
        let found = desk.read(async |conn| delivery_log::find(conn, tenant, delivery).await).await?;
        match found {
            // A test is tried once, so whatever is no longer pending has ended.
            Some(found) if found.delivery.state != "pending" => return Ok(Ping::Ended(Box::new(found.delivery))),
            Some(_) if Instant::now() < end => {}
            Some(_) | None => return Ok(Ping::Pending(delivery)),
        }
    }
}

fn sample(
    dialect: Dialect,
    tenant: TenantId,
    trace: TraceContext,
    now: busbar_domain::Timestamp,
) -> Result<NewEvent, ApiError> {
    let id = EventId::new(now);
    let (kind, payload) = match dialect {
        Dialect::Ptw => return Ok(ptw::sample_event(id, tenant, trace, now)),
        Dialect::Standard => (ptw::TEST_EVENT, STANDARD_SAMPLE),
        Dialect::Workpro => ("workorder.created", WORKPRO_SAMPLE),
        Dialect::Exact => ("shopOrder.create.requested", EXACT_SAMPLE),
    };
    Ok(NewEvent {
        id,
        tenant,
        kind: EventType::parse(kind).map_err(|_| Problem::internal())?,
        subject: None,
        project: None,
        ordering_key: None,
        occurred_at: now,
        payload: Bytes::from_static(payload.as_bytes()),
        trace,
        inbound: None,
        hops: 0,
        once: None,
    })
}

fn trace_of(request: &HttpRequest) -> TraceContext {
    let header = request.headers().get("traceparent").and_then(|header| header.to_str().ok());
    header.and_then(TraceContext::parse).map_or_else(TraceContext::root, TraceContext::child)
}

#[cfg(test)]
mod tests {
    use super::*;
    use busbar_domain::json::compact;
    use chrono::DateTime;

    fn sent(dialect: Dialect) -> (String, String) {
        let now = DateTime::parse_from_rfc3339("2024-01-10T14:30:00Z").unwrap().to_utc();
        let event = sample(dialect, TenantId::new(now), TraceContext::root(), now).unwrap();
        assert_eq!(compact(&event.payload).unwrap(), event.payload, "{dialect:?}");
        let body = dialect.body(event.kind.as_str(), event.occurred_at, &event.payload);
        (event.kind.as_str().to_owned(), String::from_utf8(body).unwrap())
    }

    #[test]
    fn every_dialect_is_tested_with_an_event_of_its_own() {
        let kinds = Dialect::ALL.map(|dialect| sent(dialect).0);
        let permit = ptw::TEST_EVENT;
        assert_eq!(kinds, [permit, permit, "workorder.created", "shopOrder.create.requested"]);
        assert!(sent(Dialect::Workpro).1.starts_with(r#"{"event":"workorder.created","data":{"id":"#));
    }

    #[test]
    fn the_test_of_an_exact_webhook_is_the_call_of_the_page() {
        let page = br#"{
          "event": "shopOrder.create.requested",
          "timestamp": "2024-01-10T14:30:00.000Z",
          "data": {
            "work_order_id": "uuid-of-work-order",
            "wo_number": "PENDING-1703347200000",
            "product": {
              "exact_item_id": "abc123-uuid",
              "item_code": "SDM-ECO-001",
              "name": "SDM ECO Sensor Unit"
            },
            "batch_size": 10,
            "planned_start_date": "2024-01-15",
            "planned_end_date": "2024-01-20",
            "notes": "Rush order"
          }
        }"#;
        assert_eq!(sent(Dialect::Exact).1.as_bytes(), compact(page).unwrap());
    }
}
