//! `/webhooks`: subscribers' URLs with their secrets, dialects and policies; a secret shows once, when it is made.

mod body;
pub(crate) mod control;
mod headers;
mod rules;
mod view;

pub(crate) use body::{Wanted, Wish, default_fields};

use actix_web::{HttpResponse, delete, get, patch, post, put, web};
use busbar_domain::id::{TenantId, WebhookId};
use busbar_domain::secret::Secret;
use busbar_runtime::Problem;
use busbar_storage::PgConnection;
use busbar_storage::access::WEBHOOK_SECRET;
use busbar_storage::seal::Place;
use busbar_storage::webhooks::{self, Page, WebhookFields, WebhookRecord};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::desk::{At, Desk};
use crate::error::ApiError;
use crate::fields::Faults;
use crate::paging::{List, Paging};
use crate::webhooks::body::{WebhookBody, WebhookToCreate};
use crate::webhooks::view::WebhookView;

/// Which webhooks are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WebhookQuery {
    /// 1 to 200, by default 50.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A new webhook with its secret, which shows here and nowhere else.
#[derive(Serialize, ToSchema)]
struct CreatedWebhook {
    #[serde(flatten)]
    webhook: WebhookView,
    /// The secret that signs.
    secret: String,
}

/// Seals the secret of a webhook for its row.
pub(crate) fn seal(desk: &Desk, id: WebhookId, secret: &Secret) -> Result<Vec<u8>, ApiError> {
    let place = Place { column: WEBHOOK_SECRET, row: id.uuid() };
    Ok(desk.database().keyring().seal(place, secret)?)
}

/// The webhook as it is after a write of the same transaction.
pub(crate) async fn reload(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: WebhookId,
) -> Result<WebhookRecord, ApiError> {
    webhooks::find(conn, tenant, id, None).await?.ok_or_else(ApiError::not_found)
}

/// Locks a webhook and reads it, to decide from it.
pub(crate) async fn locked(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: WebhookId,
) -> Result<WebhookRecord, ApiError> {
    if !webhooks::lock(conn, tenant, id).await? {
        return Err(ApiError::not_found());
    }
    reload(conn, tenant, id).await
}

/// Makes the webhook that is wanted, with `secret`.
pub(crate) async fn create(
    desk: &Desk,
    tenant: TenantId,
    wanted: Wanted,
    secret: &Secret,
) -> Result<WebhookRecord, ApiError> {
    let now = desk.now();
    let (id, fields) = wanted.seal(desk)?;
    let sealed = seal(desk, id, secret)?;
    desk.change(tenant, async |conn| {
        webhooks::insert(conn, tenant, id, &fields, &sealed, now).await?;
        reload(conn, tenant, id).await
    })
    .await
}

/// Makes a webhook. It hears every event that is accepted from now on and fits its `events`.
#[utoipa::path(tag = "webhooks", responses(
    (status = 201, body = CreatedWebhook),
    (status = 400, body = Problem, description = "The body cannot be read or has unknown fields"),
    (status = 422, body = Problem, description = "A field is invalid, such as a URL that the hub may not call"),
    (status = 503, body = Problem, description = "`MASTER_KEY_MISSING`: no secret can be stored"),
))]
#[post("/webhooks")]
pub(crate) async fn create_webhook(
    desk: At,
    caller: Authorized<scope::Admin>,
    body: web::Json<WebhookToCreate>,
) -> Result<HttpResponse, ApiError> {
    let body = body.into_inner();
    let mut faults = Faults::default();
    let secret = faults.secret("/secret", body.secret.as_deref());
    let id = WebhookId::new(desk.now());
    let wanted = Wish::from(body).onto(id, default_fields(), &desk, &mut faults);
    let (wanted, secret) = faults.finish(wanted.zip(secret))?;
    let made = create(&desk, caller.tenant, wanted, &secret).await?;
    let webhook = WebhookView::from(made);
    Ok(HttpResponse::Created().json(CreatedWebhook { webhook, secret: secret.expose().to_owned() }))
}

/// The tenant's webhooks, newest first.
#[utoipa::path(tag = "webhooks", responses((status = 200, body = List<WebhookView>)))]
#[get("/webhooks")]
pub(crate) async fn list_webhooks(
    desk: At,
    caller: Authorized<scope::Read>,
    query: web::Query<WebhookQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let page = Page { dialect: None, before: paging.before, offset: 0, limit: paging.fetch() };
    let found = desk.read(async |conn| webhooks::list(conn, caller.tenant, page).await).await?;
    Ok(HttpResponse::Ok().json(paging.page(found, |webhook| webhook.id.uuid(), WebhookView::from)))
}

/// One webhook.
#[utoipa::path(tag = "webhooks", responses((status = 200, body = WebhookView), (status = 404, body = Problem)))]
#[get("/webhooks/{id}")]
pub(crate) async fn get_webhook(
    desk: At,
    caller: Authorized<scope::Read>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let id = WebhookId::from(*id);
    let found = desk.read(async |conn| webhooks::find(conn, caller.tenant, id, None).await).await?;
    Ok(HttpResponse::Ok().json(WebhookView::from(found.ok_or_else(ApiError::not_found)?)))
}

/// Replaces what the owner of a webhook decides: what is absent gets its default, but dialect and secret stay.
#[utoipa::path(tag = "webhooks", responses(
    (status = 200, body = WebhookView),
    (status = 404, body = Problem),
    (status = 422, body = Problem, description = "A field is invalid"),
))]
#[put("/webhooks/{id}")]
pub(crate) async fn replace_webhook(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
    body: web::Json<WebhookBody>,
) -> Result<HttpResponse, ApiError> {
    let wish = Wish::from(body.into_inner()).replacing();
    let changed = change(&desk, caller.tenant, WebhookId::from(*id), wish).await?;
    Ok(HttpResponse::Ok().json(changed))
}

/// Changes what is given of a webhook.
#[utoipa::path(tag = "webhooks", responses(
    (status = 200, body = WebhookView),
    (status = 404, body = Problem),
    (status = 422, body = Problem, description = "A field is invalid"),
))]
#[patch("/webhooks/{id}")]
pub(crate) async fn change_webhook(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
    body: web::Json<WebhookBody>,
) -> Result<HttpResponse, ApiError> {
    let wish = Wish::from(body.into_inner());
    let changed = change(&desk, caller.tenant, WebhookId::from(*id), wish).await?;
    Ok(HttpResponse::Ok().json(changed))
}

async fn change(desk: &Desk, tenant: TenantId, id: WebhookId, wish: Wish) -> Result<WebhookView, ApiError> {
    let changed = desk
        .change(tenant, async |conn| {
            let mut faults = Faults::default();
            let stored = locked(conn, tenant, id).await?;
            let secret = wish.secret.as_deref().and_then(|text| faults.secret("/secret", Some(text)));
            let wanted = wish.onto(id, stored.fields, desk, &mut faults);
            let (id, fields) = faults.finish(wanted)?.seal(desk)?;
            save(conn, desk, (tenant, id), &fields, secret.as_ref()).await?;
            reload(conn, tenant, id).await
        })
        .await?;
    Ok(changed.into())
}

/// Writes what the owner of a locked webhook decides; a given secret takes the old one's place at once.
pub(crate) async fn save(
    conn: &mut PgConnection,
    desk: &Desk,
    (tenant, id): (TenantId, WebhookId),
    fields: &WebhookFields,
    secret: Option<&Secret>,
) -> Result<(), ApiError> {
    let now = desk.now();
    webhooks::update(conn, id, fields, now).await?;
    if let Some(secret) = secret {
        webhooks::rotate_secret(conn, tenant, id, &seal(desk, id, secret)?, now, now).await?;
    }
    Ok(())
}

/// Deletes a webhook: it gets nothing any more, what it was owed is called off, its log stays.
#[utoipa::path(tag = "webhooks", responses((status = 204), (status = 404, body = Problem)))]
#[delete("/webhooks/{id}")]
pub(crate) async fn delete_webhook(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    remove(&desk, caller.tenant, WebhookId::from(*id)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Deletes a webhook of `tenant`.
pub(crate) async fn remove(desk: &Desk, tenant: TenantId, id: WebhookId) -> Result<(), ApiError> {
    let now = desk.now();
    desk.change(tenant, async |conn| {
        if !webhooks::lock(conn, tenant, id).await? {
            return Err(ApiError::not_found());
        }
        Ok(webhooks::delete(conn, id, now).await?)
    })
    .await
}
