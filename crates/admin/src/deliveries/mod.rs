//! `/deliveries` and `/webhooks/{id}/deliveries`: what was owed to whom, and what became of it.

pub(crate) mod control;
pub(crate) mod detail;
mod view;

use actix_web::{HttpResponse, get, web};
use busbar_domain::delivery::STATES;
use busbar_domain::event::{EventType, Label};
use busbar_domain::id::{WebhookId, first_at};
use busbar_runtime::Problem;
use busbar_storage::delivery_log::{self, Filter};
use busbar_storage::webhooks;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::deliveries::view::DeliveryView;
use crate::desk::At;
use crate::error::ApiError;
use crate::fields::Faults;
use crate::paging::{List, Paging};

/// Which deliveries are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveryQuery {
    /// `pending`, `retrying`, `succeeded`, `held`, `dead` or `cancelled`.
    status: Option<String>,
    /// To this webhook only.
    webhook: Option<Uuid>,
    /// Of events of this type only.
    event_type: Option<String>,
    /// Made at this time or later.
    since: Option<DateTime<Utc>>,
    /// Made before this time.
    until: Option<DateTime<Utc>>,
    /// Exactly the id of a delivery, of the one that it repeats, of an event or of a message (`webhook-id`), a trace id
    /// (32 hexadecimal digits), a subject such as a permit number, or an ordering key. The newest 200 events that fit
    /// are considered, an ordering key among the newest 5,000 deliveries; `until` reaches older ones.
    q: Option<String>,
    /// 1 to 200, by default 50. A page may be shorter, even empty, while there is more.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which deliveries to one webhook are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OwnDeliveryQuery {
    /// `pending`, `retrying`, `succeeded`, `held`, `dead` or `cancelled`.
    status: Option<String>,
    /// 1 to 200, by default 50. A page may be shorter, even empty, while there is more.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

impl DeliveryQuery {
    /// What the log is asked for; all that is wrong is told at once.
    fn filter(&self, paging: &Paging) -> Result<Filter<'_>, ApiError> {
        let mut faults = Faults::default();
        let state = known_status(&mut faults, self.status.as_deref());
        let kind = self.event_type.as_deref();
        if let Some(kind) = kind {
            faults.take("/event_type", "INVALID_FIELD", EventType::parse(kind));
        }
        let text = self.q.as_deref().map(str::trim);
        if let Some(text) = text {
            faults.take("/q", "INVALID_FIELD", Label::parse(text));
        }
        faults.check()?;
        Ok(Filter {
            state,
            webhook: self.webhook.map(WebhookId::from),
            kind,
            text,
            from: self.since.map_or(Uuid::nil(), first_at),
            until: self.until.map_or(Uuid::max(), first_at),
            before: paging.before,
            limit: paging.limit(),
        })
    }
}

fn known_status<'s>(faults: &mut Faults, status: Option<&'s str>) -> Option<&'s str> {
    let known = status.filter(|word| STATES.contains(word));
    if known != status {
        faults.add("/status", "UNKNOWN_STATUS", format!("A status is one of {}.", STATES.join(", ")));
    }
    known
}

/// The tenant's deliveries, newest first.
///
/// What a page costs is bounded however long the log is: it may be shorter than `limit`, even empty, and there is more
/// as long as `next_cursor` is not null.
#[utoipa::path(tag = "deliveries", responses(
    (status = 200, body = List<DeliveryView>),
    (status = 422, body = Problem, description = "A parameter is invalid"),
))]
#[get("/deliveries")]
pub(crate) async fn list_deliveries(
    desk: At,
    caller: Authorized<scope::Read>,
    query: web::Query<DeliveryQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let filter = query.filter(&paging)?;
    let listed = desk.read(async |conn| delivery_log::list(conn, caller.tenant, &filter).await).await?;
    Ok(HttpResponse::Ok().json(List::new(listed.rows, listed.next, DeliveryView::from)))
}

/// The deliveries to one webhook, newest first.
///
/// A page may be shorter than `limit`, even empty; there is more as long as `next_cursor` is not null.
#[utoipa::path(tag = "webhooks", responses((status = 200, body = List<DeliveryView>), (status = 404, body = Problem)))]
#[get("/webhooks/{id}/deliveries")]
pub(crate) async fn list_webhook_deliveries(
    desk: At,
    caller: Authorized<scope::Read>,
    id: web::Path<Uuid>,
    query: web::Query<OwnDeliveryQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let (tenant, id, mut faults) = (caller.tenant, WebhookId::from(*id), Faults::default());
    let state = known_status(&mut faults, query.status.as_deref());
    faults.check()?;
    let filter = Filter {
        state,
        webhook: Some(id),
        kind: None,
        text: None,
        from: Uuid::nil(),
        until: Uuid::max(),
        before: paging.before,
        limit: paging.limit(),
    };
    let webhook = desk.read(async |conn| webhooks::find(conn, tenant, id, None).await).await?;
    webhook.ok_or_else(ApiError::not_found)?;
    let listed = desk.read(async |conn| delivery_log::list(conn, tenant, &filter).await).await?;
    Ok(HttpResponse::Ok().json(List::new(listed.rows, listed.next, DeliveryView::from)))
}
