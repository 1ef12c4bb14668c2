//! `/webhooks/{id}/rotate-secret`, `/pause`, `/resume`: what an owner does with a webhook besides changing it.

use actix_web::{HttpResponse, post, web};
use busbar_domain::id::{TenantId, WebhookId};
use busbar_domain::secret::Secret;
use busbar_domain::webhook::WebhookStatus;
use busbar_runtime::Problem;
use busbar_storage::webhooks::{self, WebhookFields};
use uuid::Uuid;

use super::view::WebhookView;
use super::{locked, reload, save, seal};
use crate::caller::{Authorized, scope};
use crate::desk::{At, Desk};
use crate::error::ApiError;
use crate::fields::{Overlap, Rotated};

/// Makes a new secret; the old one signs as well until the overlap ends.
#[utoipa::path(tag = "webhooks", responses(
    (status = 200, body = Rotated),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "The overlap of the rotation before has not ended"),
))]
#[post("/webhooks/{id}/rotate-secret")]
pub(crate) async fn rotate_webhook_secret(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
    body: web::Json<Overlap>,
) -> Result<HttpResponse, ApiError> {
    let (tenant, id, now) = (caller.tenant, WebhookId::from(*id), desk.now());
    let until = body.end(now)?;
    let secret = Secret::generate();
    let sealed = seal(&desk, id, &secret)?;
    let rotated = desk
        .change(tenant, async |conn| Ok(webhooks::rotate_secret(conn, tenant, id, &sealed, until, now).await?))
        .await?;
    Ok(HttpResponse::Ok().json(Rotated::answer(rotated, &secret, until, now)?))
}

/// Pauses a webhook: it is still owed everything, which is held until it is resumed.
#[utoipa::path(tag = "webhooks", responses(
    (status = 200, body = WebhookView),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "The webhook is disabled"),
))]
#[post("/webhooks/{id}/pause")]
pub(crate) async fn pause_webhook(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let paused = set_status(&desk, caller.tenant, WebhookId::from(*id), |current| match current {
        WebhookStatus::Active | WebhookStatus::Paused | WebhookStatus::Broken => Ok(WebhookStatus::Paused),
        WebhookStatus::Disabled => {
            Err(Problem::conflict("WEBHOOK_DISABLED", "A disabled webhook gets nothing; resume it first."))
        }
    });
    Ok(HttpResponse::Ok().json(paused.await?))
}

/// Makes a webhook active, whoever stopped it; what was held for it goes out.
#[utoipa::path(tag = "webhooks", responses((status = 200, body = WebhookView), (status = 404, body = Problem)))]
#[post("/webhooks/{id}/resume")]
pub(crate) async fn resume_webhook(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let resumed = set_status(&desk, caller.tenant, WebhookId::from(*id), |_| Ok(WebhookStatus::Active));
    Ok(HttpResponse::Ok().json(resumed.await?))
}

async fn set_status(
    desk: &Desk,
    tenant: TenantId,
    id: WebhookId,
    next: impl FnOnce(WebhookStatus) -> Result<WebhookStatus, Problem>,
) -> Result<WebhookView, ApiError> {
    let changed = desk
        .change(tenant, async |conn| {
            let stored = locked(conn, tenant, id).await?;
            let fields = WebhookFields { status: next(stored.fields.status)?, ..stored.fields };
            save(conn, desk, (tenant, id), &fields, None).await?;
            reload(conn, tenant, id).await
        })
        .await?;
    Ok(changed.into())
}
