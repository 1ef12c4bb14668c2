//! `/ptw/webhooks/{id}/test/` and `/deliveries/`: tests and the delivery log in the permit system's words.

use actix_web::{HttpRequest, HttpResponse, routes, web};
use busbar_domain::dialect::Dialect;
use busbar_storage::delivery_log::{self, DeliveryRecord};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{found, id_of};
use crate::caller::scope;
use crate::desk::At;
use crate::facade::error::{FacadeError, PermitCaller, Reason};
use crate::ping::{Ping, ping};

/// The most deliveries that the log shows.
const MAX_ROWS: i64 = 50;

/// A test that was answered 2xx.
#[derive(Serialize, ToSchema)]
struct TestSent {
    /// Always the same sentence.
    message: &'static str,
    /// `success`.
    status: &'static str,
    /// The status of the response.
    response_code: Option<i16>,
}

/// A test that was not answered 2xx, or not yet.
#[derive(Serialize, ToSchema)]
struct TestFailed {
    /// What went wrong.
    error: String,
    /// `failed`, or `pending` if no outcome is known yet.
    status: &'static str,
    /// The status of the response, if there was one.
    response_code: Option<i16>,
    /// The delivery, to be looked up under `/api/v1/deliveries`.
    delivery_id: Uuid,
}

/// A delivery.
#[derive(Serialize, ToSchema)]
struct PermitDelivery {
    id: Uuid,
    webhook: Uuid,
    webhook_name: String,
    event: String,
    /// As the publisher wrote it: a number or a text.
    #[schema(value_type = Option<Object>)]
    permit_id: Option<Box<RawValue>>,
    response_code: Option<i16>,
    error: Option<String>,
    /// `queued`, `pending`, `success` or `failed`.
    status: &'static str,
    /// When it was made.
    sent_at: DateTime<Utc>,
    /// Attempts after the first one.
    retry_count: i32,
}

/// The member of a payload that the log shows.
#[derive(Deserialize)]
struct Payload {
    permit_id: Option<Box<RawValue>>,
}

impl PermitDelivery {
    fn new(record: DeliveryRecord, payload: &[u8]) -> Self {
        let sent_at = record.created_at();
        Self {
            id: record.id,
            webhook: record.webhook_id,
            webhook_name: record.webhook_name,
            event: record.event_type,
            permit_id: serde_json::from_slice::<Payload>(payload).ok().and_then(|payload| payload.permit_id),
            response_code: record.last_status,
            error: record.last_error,
            status: word(&record.state),
            sent_at,
            retry_count: (record.attempts - 1).max(0),
        }
    }
}

/// The permit system's word for a delivery's state.
fn word(state: &str) -> &'static str {
    match state {
        "succeeded" => "success",
        "retrying" => "pending",
        "dead" | "cancelled" => "failed",
        _ => "queued",
    }
}

/// Sends the documented sample to a permit webhook, enabled or not, and answers how that went.
#[utoipa::path(tag = "ptw", responses(
    (status = 200, body = TestSent, description = "The receiver answered 2xx"),
    (status = 404, body = Reason),
    (status = 502, body = TestFailed, description = "The receiver did not answer 2xx"),
    (status = 504, body = TestFailed, description = "No outcome was known within 12 seconds"),
))]
#[routes]
#[post("/ptw/webhooks/{id}/test/")]
#[post("/ptw/webhooks/{id}/test")]
pub(crate) async fn test_permit_webhook(
    desk: At,
    caller: PermitCaller<scope::Admin>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, FacadeError> {
    Ok(match ping(&desk, &request, caller.tenant(), id_of(&id)?, Some(Dialect::Ptw)).await? {
        Ping::Ended(delivery) if delivery.state == "succeeded" => HttpResponse::Ok().json(TestSent {
            message: "Test webhook sent successfully",
            status: "success",
            response_code: delivery.last_status,
        }),
        Ping::Ended(delivery) => HttpResponse::BadGateway().json(TestFailed {
            error: delivery.last_error.or(delivery.reason).unwrap_or_else(|| "The test failed.".to_owned()),
            status: "failed",
            response_code: delivery.last_status,
            delivery_id: delivery.id,
        }),
        Ping::Pending(delivery) => HttpResponse::GatewayTimeout().json(TestFailed {
            error: "The test is still under way.".to_owned(),
            status: "pending",
            response_code: None,
            delivery_id: delivery.uuid(),
        }),
    })
}

/// The latest 50 deliveries to a permit webhook, newest first.
#[utoipa::path(tag = "ptw", responses((status = 200, body = Vec<PermitDelivery>), (status = 404, body = Reason)))]
#[routes]
#[get("/ptw/webhooks/{id}/deliveries/")]
#[get("/ptw/webhooks/{id}/deliveries")]
pub(crate) async fn list_permit_deliveries(
    desk: At,
    caller: PermitCaller<scope::Read>,
    id: web::Path<String>,
) -> Result<HttpResponse, FacadeError> {
    let webhook = found(&desk, caller.tenant(), id_of(&id)?).await?;
    let rows = desk.read(async |conn| delivery_log::latest(conn, webhook.id, MAX_ROWS).await).await?;
    let log: Vec<_> = rows.into_iter().map(|(record, payload)| PermitDelivery::new(record, &payload)).collect();
    Ok(HttpResponse::Ok().json(log))
}
