//! `/inbound/{id}/replay`: an ended call is processed once more.

use actix_web::{HttpResponse, post, web};
use busbar_domain::id::InboundId;
use busbar_domain::inbound::System;
use busbar_messaging::Queue;
use busbar_runtime::Problem;
use busbar_storage::inbound_log::{self, Act, Refusal};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::desk::At;
use crate::error::ApiError;

/// A call that repeats another.
#[derive(Serialize, ToSchema)]
struct ReplayedCall {
    /// The new call.
    id: Uuid,
    /// The one that it repeats.
    replay_of: Uuid,
    /// `received`.
    status: &'static str,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let conflict = |code, detail: &str| Self::from(Problem::conflict(code, detail));
        match refusal {
            Refusal::NotFound => Self::not_found(),
            Refusal::Open => conflict("CALL_OPEN", "The call has not ended; it is still being processed."),
            Refusal::ConnectorDeleted => conflict("CONNECTOR_DELETED", "The connector was deleted."),
            Refusal::NoQueue => conflict("NOT_REPLAYABLE", "Calls of this system are not processed from a queue."),
        }
    }
}

/// Processes an ended call once more, at once, as a new call with the same body; no deduplication keeps it back.
#[utoipa::path(tag = "inbound", responses(
    (status = 201, body = ReplayedCall),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "`CALL_OPEN`, `CONNECTOR_DELETED` or `NOT_REPLAYABLE`"),
))]
#[post("/inbound/{id}/replay")]
pub(crate) async fn replay_inbound(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let id = InboundId::from(*id);
    let systems: Vec<System> = System::ALL.into_iter().filter(|system| Queue::inbound(*system).is_some()).collect();
    let act = Act { tenant: caller.tenant, actor: caller.actor, systems: &systems, now: desk.now() };
    let made = desk.read(async |conn| inbound_log::replay(conn, id, &act).await).await??;
    if let Some(queue) = Queue::inbound(made.system) {
        desk.publisher().wake(queue, &[made.id.uuid()], None);
    }
    Ok(HttpResponse::Created().json(ReplayedCall { id: made.id.uuid(), replay_of: id.uuid(), status: "received" }))
}
