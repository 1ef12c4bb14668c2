//! `/inbound`: calls of outside systems as the hub received them.

pub(crate) mod detail;
pub(crate) mod replay;

use actix_web::{HttpResponse, get, web};
use busbar_domain::id::{ConnectorId, first_at};
use busbar_domain::inbound::{InboundState, System};
use busbar_runtime::Problem;
use busbar_storage::inbound_log::{self, CallRecord, Filter};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::desk::At;
use crate::error::ApiError;
use crate::fields::Faults;
use crate::paging::{List, Paging};

/// Which calls are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct InboundQuery {
    /// `received`, `processed`, `failed` or `dead`.
    status: Option<String>,
    /// Of this connector only.
    connector: Option<Uuid>,
    /// Of this system only, such as `erpops`.
    system: Option<String>,
    /// Received at this time or later.
    since: Option<DateTime<Utc>>,
    /// Received before this time.
    until: Option<DateTime<Utc>>,
    /// 1 to 200, by default 50. A page may be shorter, even empty, while there is more.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A connector as its calls name it.
#[derive(Serialize, ToSchema)]
struct CalledConnector {
    /// Its id.
    id: Uuid,
    /// Its name.
    name: String,
}

/// A call.
#[derive(Serialize, ToSchema)]
struct InboundView {
    /// Its id.
    id: Uuid,
    /// The system that called.
    system: String,
    /// The connector that it called.
    connector: CalledConnector,
    /// `received`, `processed`, `failed` or `dead`.
    status: String,
    /// Why its processing failed, or why it was given up.
    reason: Option<String>,
    /// How often its processing has failed.
    failures: i16,
    /// When it was received.
    received_at: DateTime<Utc>,
    /// When it is processed next, if it will be.
    next_attempt_at: Option<DateTime<Utc>>,
    /// When it was processed or given up.
    finished_at: Option<DateTime<Utc>>,
    /// The call that it repeats.
    replay_of: Option<Uuid>,
}

impl From<CallRecord> for InboundView {
    fn from(call: CallRecord) -> Self {
        let is_due = matches!(call.state.as_str(), "received" | "failed");
        Self {
            id: call.id,
            system: call.system,
            connector: CalledConnector { id: call.connector_id, name: call.connector_name },
            status: call.state,
            reason: call.reason,
            failures: call.failures,
            received_at: call.received_at,
            next_attempt_at: is_due.then_some(call.due_at),
            finished_at: call.finished_at,
            replay_of: call.replay_of,
        }
    }
}

impl InboundQuery {
    fn filter(&self, paging: &Paging) -> Result<Filter<'_>, ApiError> {
        let mut faults = Faults::default();
        let states = InboundState::ALL.map(InboundState::as_str);
        let state = self.status.as_deref();
        if state.is_some_and(|state| !states.contains(&state)) {
            faults.add("/status", "UNKNOWN_STATUS", format!("A status is one of {}.", states.join(", ")));
        }
        let system = self.system.as_deref().map(System::parse);
        if system == Some(None) {
            let names = System::ALL.map(System::as_str).join(", ");
            faults.add("/system", "UNKNOWN_SYSTEM", format!("A system is one of {names}."));
        }
        faults.check()?;
        Ok(Filter {
            state,
            connector: self.connector.map(ConnectorId::from),
            system: system.flatten(),
            from: self.since.map_or(Uuid::nil(), first_at),
            before: self.until.map_or(paging.before, |until| first_at(until).min(paging.before)),
            limit: paging.limit(),
        })
    }
}

/// The tenant's calls, newest first.
///
/// A page may be shorter than `limit`, even empty; there is more as long as `next_cursor` is not null.
#[utoipa::path(tag = "inbound", responses(
    (status = 200, body = List<InboundView>),
    (status = 422, body = Problem, description = "A parameter is invalid"),
))]
#[get("/inbound")]
pub(crate) async fn list_inbound(
    desk: At,
    caller: Authorized<scope::Read>,
    query: web::Query<InboundQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let filter = query.filter(&paging)?;
    let listed = desk.read(async |conn| inbound_log::list(conn, caller.tenant, &filter).await).await?;
    Ok(HttpResponse::Ok().json(List::new(listed.rows, listed.next, InboundView::from)))
}
