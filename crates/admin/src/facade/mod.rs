//! `/ptw/webhooks/`: webhooks of dialect `ptw` under the permit system's own API, with and without the last slash.
//!
//! Shapes, words and statuses are those of its documentation; the webhooks are the same as under `/webhooks`.

mod body;
mod error;
pub(crate) mod log;
mod view;

use actix_web::{HttpRequest, HttpResponse, routes, web};
use busbar_domain::dialect::Dialect;
use busbar_domain::id::{TenantId, WebhookId};
use busbar_storage::webhooks::{self, Page, WebhookFields, WebhookRecord};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::caller::scope;
use crate::desk::{At, Desk};
use crate::error::ApiError;
use crate::facade::body::{Body, PermitWebhookBody, Required};
pub(crate) use crate::facade::error::FacadeError;
use crate::facade::error::{FieldErrors, PermitCaller, Reason};
use crate::facade::view::{CreatedPermitWebhook, PermitPage, PermitWebhook};
use crate::fields::Faults;
use crate::webhooks::{create, default_fields, locked, reload, remove, save};

const PAGE_SIZE: i64 = 20;

/// Whether `path` is one of this API's.
pub(crate) fn answers(path: &str) -> bool {
    path.starts_with("/api/v1/ptw/webhooks")
}

/// Which page is asked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Counted from 1, or `last`.
    page: Option<String>,
}

/// The id in a path; anything that is none names nothing.
fn id_of(path: &str) -> Result<WebhookId, FacadeError> {
    path.parse().map_err(|_| FacadeError::not_found())
}

async fn found(desk: &Desk, tenant: TenantId, id: WebhookId) -> Result<WebhookRecord, FacadeError> {
    let found = desk.read(async |conn| webhooks::find(conn, tenant, id, Some(Dialect::Ptw)).await).await?;
    found.ok_or_else(FacadeError::not_found)
}

/// Permit webhooks, newest first, 20 a page.
#[utoipa::path(tag = "ptw", responses(
    (status = 200, body = PermitPage),
    (status = 404, body = Reason, description = "There is no such page"),
))]
#[routes]
#[get("/ptw/webhooks/")]
#[get("/ptw/webhooks")]
pub(crate) async fn list_permit_webhooks(
    desk: At,
    caller: PermitCaller<scope::Read>,
    request: HttpRequest,
    query: web::Query<PageQuery>,
) -> Result<HttpResponse, FacadeError> {
    let tenant = caller.tenant();
    let count = desk.read(async |conn| webhooks::count(conn, tenant, Dialect::Ptw).await).await?;
    let pages = (count + PAGE_SIZE - 1).div_euclid(PAGE_SIZE).max(1);
    let page = match query.page.as_deref() {
        None => 1,
        Some("last") => pages,
        Some(text) => {
            text.parse().ok().filter(|page| (1..=pages).contains(page)).ok_or_else(FacadeError::invalid_page)?
        }
    };
    let rows =
        Page { dialect: Some(Dialect::Ptw), before: Uuid::max(), offset: (page - 1) * PAGE_SIZE, limit: PAGE_SIZE };
    let found = desk.read(async |conn| webhooks::list(conn, tenant, rows).await).await?;
    let results = found.into_iter().map(|record| PermitWebhook::new(&desk, record)).collect();
    Ok(HttpResponse::Ok().json(PermitPage::new(&request, count, (page, pages), results)))
}

/// Makes a permit webhook; the secret is required, and shown here and nowhere else.
#[utoipa::path(tag = "ptw", request_body(content = PermitWebhookBody, content_type = "application/json"), responses(
    (status = 201, body = CreatedPermitWebhook),
    (status = 400, body = FieldErrors, description = "Fields are invalid: `{\"field\": [\"why\"]}`"),
))]
#[routes]
#[post("/ptw/webhooks/")]
#[post("/ptw/webhooks")]
pub(crate) async fn create_permit_webhook(
    desk: At,
    caller: PermitCaller<scope::Admin>,
    body: Body,
) -> Result<HttpResponse, FacadeError> {
    let mut faults = Faults::default();
    let wish = body.wish(Required::NameUrlAndSecret, &mut faults);
    let secret = wish.secret.as_deref().and_then(|text| faults.secret("/secret", Some(text)));
    let base = WebhookFields { dialect: Dialect::Ptw, ..default_fields() };
    let wanted = wish.onto(WebhookId::new(desk.now()), base, &desk, &mut faults);
    let (wanted, secret) = faults.finish(wanted.zip(secret)).map_err(ApiError::from)?;
    let made = create(&desk, caller.tenant(), wanted, &secret).await?;
    Ok(HttpResponse::Created().json(CreatedPermitWebhook::new(made, &secret)))
}

/// One permit webhook.
#[utoipa::path(tag = "ptw", responses((status = 200, body = PermitWebhook), (status = 404, body = Reason)))]
#[routes]
#[get("/ptw/webhooks/{id}/")]
#[get("/ptw/webhooks/{id}")]
pub(crate) async fn get_permit_webhook(
    desk: At,
    caller: PermitCaller<scope::Read>,
    id: web::Path<String>,
) -> Result<HttpResponse, FacadeError> {
    let record = found(&desk, caller.tenant(), id_of(&id)?).await?;
    Ok(HttpResponse::Ok().json(PermitWebhook::new(&desk, record)))
}

/// Changes a permit webhook; name and URL must be given, what else is absent stays. A given secret counts at once.
#[utoipa::path(tag = "ptw", request_body(content = PermitWebhookBody, content_type = "application/json"), responses(
    (status = 200, body = PermitWebhook),
    (status = 400, body = FieldErrors, description = "Fields are invalid: `{\"field\": [\"why\"]}`"),
    (status = 404, body = Reason),
))]
#[routes]
#[put("/ptw/webhooks/{id}/")]
#[put("/ptw/webhooks/{id}")]
pub(crate) async fn replace_permit_webhook(
    desk: At,
    caller: PermitCaller<scope::Admin>,
    id: web::Path<String>,
    body: Body,
) -> Result<HttpResponse, FacadeError> {
    let changed = change(&desk, caller.tenant(), id_of(&id)?, &body, Required::NameAndUrl).await?;
    Ok(HttpResponse::Ok().json(changed))
}

/// Changes what is given of a permit webhook. A given secret counts at once.
#[utoipa::path(tag = "ptw", request_body(content = PermitWebhookBody, content_type = "application/json"), responses(
    (status = 200, body = PermitWebhook),
    (status = 400, body = FieldErrors, description = "Fields are invalid: `{\"field\": [\"why\"]}`"),
    (status = 404, body = Reason),
))]
#[routes]
#[patch("/ptw/webhooks/{id}/")]
#[patch("/ptw/webhooks/{id}")]
pub(crate) async fn change_permit_webhook(
    desk: At,
    caller: PermitCaller<scope::Admin>,
    id: web::Path<String>,
    body: Body,
) -> Result<HttpResponse, FacadeError> {
    let changed = change(&desk, caller.tenant(), id_of(&id)?, &body, Required::Nothing).await?;
    Ok(HttpResponse::Ok().json(changed))
}

async fn change(
    desk: &Desk,
    tenant: TenantId,
    id: WebhookId,
    body: &Body,
    required: Required,
) -> Result<PermitWebhook, FacadeError> {
    let changed = desk.change(tenant, async |conn| {
        let stored = locked(conn, tenant, id).await?;
        if stored.fields.dialect != Dialect::Ptw {
            return Err(ApiError::not_found());
        }
        let mut faults = Faults::default();
        let wish = body.wish(required, &mut faults);
        let secret = wish.secret.as_deref().and_then(|text| faults.secret("/secret", Some(text)));
        let wanted = wish.onto(id, stored.fields, desk, &mut faults);
        let (id, fields) = faults.finish(wanted)?.seal(desk)?;
        save(conn, desk, (tenant, id), &fields, secret.as_ref()).await?;
        reload(conn, tenant, id).await
    });
    Ok(PermitWebhook::new(desk, changed.await?))
}

/// Deletes a permit webhook.
#[utoipa::path(tag = "ptw", responses((status = 204), (status = 404, body = Reason)))]
#[routes]
#[delete("/ptw/webhooks/{id}/")]
#[delete("/ptw/webhooks/{id}")]
pub(crate) async fn delete_permit_webhook(
    desk: At,
    caller: PermitCaller<scope::Admin>,
    id: web::Path<String>,
) -> Result<HttpResponse, FacadeError> {
    let record = found(&desk, caller.tenant(), id_of(&id)?).await?;
    remove(&desk, caller.tenant(), record.id).await?;
    Ok(HttpResponse::NoContent().finish())
}
