//! `/audit`: who did what by hand, newest first.

use actix_web::{HttpResponse, get, web};
use busbar_storage::audit::{self, Record};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::caller::{Party, scope};
use crate::desk::At;
use crate::error::ApiError;
use crate::paging::{List, Paging};

/// Which acts are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// 1 to 200, by default 50.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One act.
#[derive(Serialize, ToSchema)]
struct ActView {
    /// Its own id.
    id: Uuid,
    /// When it was done.
    at: DateTime<Utc>,
    /// The id of the API key that did it; the nil id for the operator's key of the settings.
    actor: Uuid,
    /// What was done, as a stable word: `dead_letter.resubmitted`.
    action: String,
    /// What it was done to; the webhook or connector for acts on many letters of one cause.
    object_id: Uuid,
    /// What changed, in few words.
    detail: Option<String>,
}

impl From<Record> for ActView {
    fn from(record: Record) -> Self {
        Self {
            id: record.id,
            at: record.at,
            actor: record.actor,
            action: record.action,
            object_id: record.object_id,
            detail: record.detail,
        }
    }
}

/// What was done by hand to the tenant's deliveries, calls, letters and replays, newest first.
///
/// The platform's operator who names no tenant gets what was done to what belongs to no tenant.
#[utoipa::path(tag = "audit", responses((status = 200, body = List<ActView>)))]
#[get("/audit")]
pub(crate) async fn list_audit(
    desk: At,
    caller: Party<scope::Admin>,
    query: web::Query<AuditQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let (before, limit) = (paging.before, paging.fetch());
    let found = desk.read(async |conn| audit::list(conn, caller.whose, before, limit).await).await?;
    Ok(HttpResponse::Ok().json(paging.page(found, |act| act.id, ActView::from)))
}
