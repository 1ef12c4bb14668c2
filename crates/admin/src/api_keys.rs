//! `/api-keys`: the credentials of a tenant's callers; a key shows once, when it is made.

use actix_web::{HttpResponse, get, post, web};
use busbar_domain::api_key::{ApiKey, Scope};
use busbar_domain::id::ApiKeyId;
use busbar_runtime::Problem;
use busbar_storage::api_keys::{self, ApiKeyRecord, NewApiKey};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::desk::At;
use crate::error::ApiError;
use crate::fields::{Faults, Overlap};
use crate::paging::{List, Paging};

/// The environment that every key's text names.
pub(crate) const KEY_ENVIRONMENT: &str = "live";

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyToCreate {
    /// Its name, for people; 1 to 200 characters.
    name: Option<String>,
    /// What it may do: some of `admin`, `read`, `publish`, `ingest`.
    scopes: Option<Vec<String>>,
    /// When it ends; never, if absent.
    expires_at: Option<DateTime<Utc>>,
}

/// Which keys are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct KeyQuery {
    /// 1 to 200, by default 50.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A key as it is listed.
#[derive(Serialize, ToSchema)]
struct KeyView {
    /// Its id.
    id: Uuid,
    /// Its name, for people.
    name: String,
    /// The public part of the key, by which its holder recognises it.
    key_id: String,
    /// What it may do.
    scopes: Vec<&'static str>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it ends.
    expires_at: Option<DateTime<Utc>>,
    /// Since when it is worth nothing.
    revoked_at: Option<DateTime<Utc>>,
}

/// A new key, whose text shows here and nowhere else.
#[derive(Serialize, ToSchema)]
struct CreatedKey {
    #[serde(flatten)]
    view: KeyView,
    /// The key.
    key: String,
}

impl From<ApiKeyRecord> for KeyView {
    fn from(record: ApiKeyRecord) -> Self {
        Self {
            id: record.id.uuid(),
            name: record.name,
            key_id: record.key_id,
            scopes: record.scopes.into_iter().map(Scope::as_str).collect(),
            created_at: record.created_at,
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
        }
    }
}

impl CreatedKey {
    fn new(record: ApiKeyRecord, key: &ApiKey) -> Self {
        Self { view: record.into(), key: key.expose().to_owned() }
    }
}

/// The scopes that a key shall have. The operator's is never among them: no tenant may give what it does not have.
fn scopes(faults: &mut Faults, names: Option<&[String]>) -> Result<Vec<Scope>, Problem> {
    let names = names.unwrap_or_default();
    if names.is_empty() {
        faults.add("/scopes", "REQUIRED", "A key has at least one of admin, read, publish, ingest.");
    }
    let mut scopes = Vec::new();
    for (at, name) in names.iter().enumerate() {
        match Scope::parse(name) {
            Some(Scope::Operator) => {
                let detail = "The scope operator cannot be granted to a tenant's key.";
                return Err(Problem::forbidden("SCOPE_NOT_GRANTABLE", detail));
            }
            Some(scope) if scopes.contains(&scope) => {}
            Some(scope) => scopes.push(scope),
            None => {
                let detail = "A scope is one of admin, read, publish, ingest.";
                faults.add(format!("/scopes/{at}"), "UNKNOWN_SCOPE", detail);
            }
        }
    }
    Ok(scopes)
}

/// Makes a key.
#[utoipa::path(tag = "api-keys", responses(
    (status = 201, body = CreatedKey),
    (status = 403, body = Problem, description = "The scope `operator` cannot be granted"),
    (status = 422, body = Problem, description = "A field is invalid"),
))]
#[post("/api-keys")]
pub(crate) async fn create_api_key(
    desk: At,
    caller: Authorized<scope::Admin>,
    body: web::Json<KeyToCreate>,
) -> Result<HttpResponse, ApiError> {
    let now = desk.now();
    let mut faults = Faults::default();
    let name = faults.name("/name", body.name.as_deref());
    let scopes = scopes(&mut faults, body.scopes.as_deref())?;
    if body.expires_at.is_some_and(|end| end <= now) {
        faults.add("/expires_at", "IN_THE_PAST", "A key ends in the future.");
    }
    let name = faults.finish(name)?;
    let key = ApiKey::generate(KEY_ENVIRONMENT);
    let new = NewApiKey {
        id: ApiKeyId::new(now),
        tenant: Some(caller.tenant),
        name: &name,
        key: &key,
        scopes: &scopes,
        expires_at: body.expires_at,
    };
    let made = desk.change(caller.tenant, async |conn| Ok(api_keys::insert(conn, &new, now).await?)).await?;
    Ok(HttpResponse::Created().json(CreatedKey::new(made, &key)))
}

/// The tenant's keys, newest first, without the keys themselves.
#[utoipa::path(tag = "api-keys", responses((status = 200, body = List<KeyView>)))]
#[get("/api-keys")]
pub(crate) async fn list_api_keys(
    desk: At,
    caller: Authorized<scope::Read>,
    query: web::Query<KeyQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let found =
        desk.read(async |conn| api_keys::list(conn, caller.tenant, paging.before, paging.fetch()).await).await?;
    Ok(HttpResponse::Ok().json(paging.page(found, |key| key.id.uuid(), KeyView::from)))
}

/// Revokes a key; within two seconds no door takes it any more.
#[utoipa::path(tag = "api-keys", responses((status = 200, body = KeyView), (status = 404, body = Problem)))]
#[post("/api-keys/{id}/revoke")]
pub(crate) async fn revoke_api_key(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let (tenant, id, now) = (caller.tenant, ApiKeyId::from(*id), desk.now());
    let revoked = desk.change(tenant, async |conn| Ok(api_keys::revoke(conn, tenant, id, now).await?)).await?;
    Ok(HttpResponse::Ok().json(KeyView::from(revoked.ok_or_else(ApiError::not_found)?)))
}

/// Makes a new key with the name, scopes and end of an old one, which ends after the overlap.
#[utoipa::path(tag = "api-keys", responses(
    (status = 201, body = CreatedKey),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "The key is revoked or has ended"),
))]
#[post("/api-keys/{id}/rotate")]
pub(crate) async fn rotate_api_key(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
    body: web::Json<Overlap>,
) -> Result<HttpResponse, ApiError> {
    let (tenant, id, now) = (caller.tenant, ApiKeyId::from(*id), desk.now());
    let end = body.end(now)?;
    let key = ApiKey::generate(KEY_ENVIRONMENT);
    let made = desk
        .change(tenant, async |conn| {
            let old = api_keys::lock(conn, tenant, id).await?.ok_or_else(ApiError::not_found)?;
            if old.revoked_at.is_some() || old.expires_at.is_some_and(|end| end <= now) {
                return Err(Problem::conflict("KEY_ENDED", "The key is revoked or has ended; make a new one.").into());
            }
            api_keys::expire(conn, tenant, id, end).await?;
            let new = NewApiKey {
                id: ApiKeyId::new(now),
                tenant: Some(tenant),
                name: &old.name,
                key: &key,
                scopes: &old.scopes,
                expires_at: old.expires_at,
            };
            Ok(api_keys::insert(conn, &new, now).await?)
        })
        .await?;
    Ok(HttpResponse::Created().json(CreatedKey::new(made, &key)))
}
