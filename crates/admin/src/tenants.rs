//! `/tenants`: the customers of the hub, for the platform's operator alone.

use actix_web::{HttpResponse, get, patch, post, web};
use busbar_domain::api_key::{ApiKey, Scope};
use busbar_domain::id::{ApiKeyId, TenantId};
use busbar_runtime::Problem;
use busbar_storage::api_keys::{self, NewApiKey};
use busbar_storage::tenants::{self, Plan, Tenant};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api_keys::KEY_ENVIRONMENT;
use crate::caller::Operator;
use crate::desk::At;
use crate::error::ApiError;
use crate::fields::Faults;
use crate::paging::{List, Paging};

/// A tenant to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TenantToCreate {
    /// Its name, for people; 1 to 200 characters.
    name: Option<String>,
    /// `free`, `professional` or `enterprise`.
    plan: Option<String>,
}

/// What changes of a tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TenantChange {
    /// Its name, for people; 1 to 200 characters.
    name: Option<String>,
    /// `free`, `professional` or `enterprise`.
    plan: Option<String>,
}

/// Which tenants are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TenantQuery {
    /// 1 to 200, by default 50.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A tenant.
#[derive(Serialize, ToSchema)]
struct TenantView {
    /// Its id.
    id: Uuid,
    /// Its name, for people.
    name: String,
    /// `free`, `professional` or `enterprise`.
    plan: &'static str,
    /// When it was made.
    created_at: DateTime<Utc>,
}

/// A new tenant with the key of its first admin, which shows here and nowhere else.
#[derive(Serialize, ToSchema)]
struct CreatedTenant {
    #[serde(flatten)]
    tenant: TenantView,
    /// The key of its first admin.
    admin_key: String,
}

impl From<Tenant> for TenantView {
    fn from(tenant: Tenant) -> Self {
        Self { id: tenant.id.uuid(), name: tenant.name, plan: tenant.plan.as_str(), created_at: tenant.created_at }
    }
}

fn plan(faults: &mut Faults, plan: Option<&str>) -> Option<Plan> {
    let Some(plan) = plan else {
        faults.add("/plan", "REQUIRED", "This field is required.");
        return None;
    };
    let known = Plan::parse(plan);
    if known.is_none() {
        faults.add("/plan", "UNKNOWN_PLAN", "A plan is one of free, professional, enterprise.");
    }
    known
}

/// Makes a tenant and a key with scope `admin` for it.
#[utoipa::path(tag = "tenants", responses(
    (status = 201, body = CreatedTenant),
    (status = 422, body = Problem, description = "A field is invalid"),
))]
#[post("/tenants")]
pub(crate) async fn create_tenant(
    desk: At,
    _: Operator,
    body: web::Json<TenantToCreate>,
) -> Result<HttpResponse, ApiError> {
    let mut faults = Faults::default();
    let name = faults.name("/name", body.name.as_deref());
    let plan = plan(&mut faults, body.plan.as_deref());
    let (name, plan) = faults.finish(name.zip(plan))?;
    let now = desk.now();
    let tenant = Tenant { id: TenantId::new(now), name, plan, created_at: now };
    let key = ApiKey::generate(KEY_ENVIRONMENT);
    desk.change(tenant.id, async |conn| {
        tenants::insert(conn, &tenant).await?;
        let key = NewApiKey {
            id: ApiKeyId::new(now),
            tenant: Some(tenant.id),
            name: "first admin",
            key: &key,
            scopes: &[Scope::Admin],
            expires_at: None,
        };
        api_keys::insert(conn, &key, now).await?;
        Ok(())
    })
    .await?;
    Ok(HttpResponse::Created().json(CreatedTenant { tenant: tenant.into(), admin_key: key.expose().to_owned() }))
}

/// Tenants, newest first.
#[utoipa::path(tag = "tenants", responses((status = 200, body = List<TenantView>)))]
#[get("/tenants")]
pub(crate) async fn list_tenants(
    desk: At,
    _: Operator,
    query: web::Query<TenantQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let found = desk.read(async |conn| tenants::list(conn, paging.before, paging.fetch()).await).await?;
    Ok(HttpResponse::Ok().json(paging.page(found, |tenant| tenant.id.uuid(), TenantView::from)))
}

/// One tenant.
#[utoipa::path(tag = "tenants", responses((status = 200, body = TenantView), (status = 404, body = Problem)))]
#[get("/tenants/{id}")]
pub(crate) async fn get_tenant(desk: At, _: Operator, id: web::Path<Uuid>) -> Result<HttpResponse, ApiError> {
    let id = TenantId::from(*id);
    let found = desk.read(async |conn| tenants::find(conn, id).await).await?;
    Ok(HttpResponse::Ok().json(TenantView::from(found.ok_or_else(ApiError::not_found)?)))
}

/// Changes the name or plan of a tenant.
#[utoipa::path(tag = "tenants", responses(
    (status = 200, body = TenantView),
    (status = 404, body = Problem),
    (status = 422, body = Problem, description = "A field is invalid"),
))]
#[patch("/tenants/{id}")]
pub(crate) async fn change_tenant(
    desk: At,
    _: Operator,
    id: web::Path<Uuid>,
    body: web::Json<TenantChange>,
) -> Result<HttpResponse, ApiError> {
    let mut faults = Faults::default();
    let name = body.name.as_deref().and_then(|name| faults.name("/name", Some(name)));
    let plan = body.plan.as_deref().and_then(|text| plan(&mut faults, Some(text)));
    faults.check()?;
    let id = TenantId::from(*id);
    let changed = desk.change(id, async |conn| Ok(tenants::update(conn, id, name.as_deref(), plan).await?)).await?;
    Ok(HttpResponse::Ok().json(TenantView::from(changed.ok_or_else(ApiError::not_found)?)))
}
