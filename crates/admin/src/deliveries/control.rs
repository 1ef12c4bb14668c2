//! `/deliveries/{id}/replay` and `/cancel`: what an owner does with one delivery.

use actix_web::{HttpResponse, post, web};
use busbar_domain::id::DeliveryId;
use busbar_messaging::Queue;
use busbar_runtime::Problem;
use busbar_storage::delivery_log::{self, Act, Refusal};
use busbar_storage::due::WAKE_GRACE;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::deliveries::detail::{DeliveryDetail, detail};
use crate::desk::{At, Desk};
use crate::error::ApiError;

/// A delivery that repeats another.
#[derive(Serialize, ToSchema)]
struct Replayed {
    /// The new delivery.
    id: Uuid,
    /// The one that it repeats.
    replay_of: Uuid,
    /// `pending`.
    status: &'static str,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let conflict = |code, detail: &str| Self::from(Problem::conflict(code, detail));
        match refusal {
            Refusal::NotFound => Self::not_found(),
            Refusal::Open => conflict("DELIVERY_OPEN", "The delivery has not ended; it is still on its way."),
            Refusal::Ended => conflict("DELIVERY_ENDED", "The delivery has ended; it cannot be called off."),
            Refusal::WebhookDeleted => conflict("WEBHOOK_DELETED", "The webhook was deleted; nothing is sent to it."),
        }
    }
}

fn act<S>(desk: &Desk, caller: &Authorized<S>) -> Act {
    let now = desk.now();
    let due_at = if desk.publisher().takes(Queue::Deliveries) { now + WAKE_GRACE } else { now };
    Act { tenant: caller.tenant, actor: caller.actor, now, due_at }
}

/// Owes an ended delivery once more, at once: the same event and body under the same `webhook-id`, as a new delivery.
///
/// It is sent outside the order of its ordering key, and no deduplication keeps it back.
#[utoipa::path(tag = "deliveries", responses(
    (status = 201, body = Replayed),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`DELIVERY_OPEN` or `WEBHOOK_DELETED`"),
))]
#[post("/deliveries/{id}/replay")]
pub(crate) async fn replay_delivery(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let (id, act) = (DeliveryId::from(*id), act(&desk, &caller));
    let made = desk.read(async |conn| delivery_log::replay(conn, id, &act).await).await??;
    desk.publisher().wake(Queue::Deliveries, &[made.uuid()], None);
    Ok(HttpResponse::Created().json(Replayed { id: made.uuid(), replay_of: id.uuid(), status: "pending" }))
}

/// Calls off a delivery that is pending, retrying or held. What waits behind it in its order goes out.
///
/// An attempt that is under way is not stopped, but its outcome is not recorded any more.
#[utoipa::path(tag = "deliveries", responses(
    (status = 200, body = DeliveryDetail),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`DELIVERY_ENDED`"),
))]
#[post("/deliveries/{id}/cancel")]
pub(crate) async fn cancel_delivery(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let (id, act) = (DeliveryId::from(*id), act(&desk, &caller));
    let released = desk.read(async |conn| delivery_log::cancel(conn, id, &act).await).await??;
    desk.publisher().wake(Queue::Deliveries, &released, None);
    Ok(HttpResponse::Ok().json(detail(&desk, caller.tenant, id).await?))
}
