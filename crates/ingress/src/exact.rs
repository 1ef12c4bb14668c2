//! `POST /functions/v1/webhook-receiver`: Exact's side sends actions through Zapier and waits for their answers.
//!
//! Order of checks: secret (401), connector (403), body (413, 400). What is durable is answered within eight seconds:
//! with what the processor made of it, or with 202 and where to look for that.

use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, post, web};
use busbar_domain::id::{ConnectorId, InboundId};
use busbar_domain::inbound::{Answer, NewInbound, System};
use busbar_domain::json;
use busbar_domain::secret::Secret;
use busbar_runtime::Problem;
use busbar_storage::access::Connector;
use busbar_systems::exact::{auth, outbound};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::body;
use crate::commit::Refused;
use crate::door::Door;
use crate::metric;

/// How long a call's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(8);

/// The least that the limit of a body may be here: a catalogue comes in one call of well over a megabyte.
const MIN_LIMIT: usize = 4 * 1024 * 1024;

/// Why a call is refused at the door.
#[derive(Debug)]
enum Refusal {
    Unauthorized,
    Disabled,
    Unreadable(String),
    Body(Problem),
    Unavailable,
    Internal,
}

/// The body of every refusal.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActionRefused {
    /// Always false.
    success: bool,
    /// What is wrong, with the path of the field at fault.
    error: String,
    /// The stable word for it, such as `MISSING_REQUIRED_FIELD`.
    code: &'static str,
}

impl Refusal {
    fn respond(self) -> HttpResponse {
        let (status, code, error) = match self {
            Self::Unauthorized => {
                let error = "The header X-Webhook-Secret is missing or holds another secret.";
                (StatusCode::UNAUTHORIZED, "UNAUTHORIZED", error.to_owned())
            }
            Self::Disabled => {
                (StatusCode::FORBIDDEN, "CONNECTOR_DISABLED", "This connector takes no calls any more.".to_owned())
            }
            Self::Unreadable(error) => (StatusCode::BAD_REQUEST, "INVALID_JSON", error),
            Self::Body(problem) => {
                let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
                (status, problem.code, problem.detail)
            }
            Self::Unavailable => {
                let error = "The hub cannot take this call now; try again.";
                (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", error.to_owned())
            }
            Self::Internal => {
                let error = "Something went wrong on our side; it has been logged.";
                (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", error.to_owned())
            }
        };
        metrics::counter!(metric::REFUSED, "route" => "exact", "status" => status.as_u16().to_string()).increment(1);
        let mut response = HttpResponse::build(status);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header(("Retry-After", "1"));
        }
        response.json(ActionRefused { success: false, error, code })
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full | Refused::TimedOut => Self::Unavailable,
            Refused::Rejected => Self::Internal,
        }
    }
}

impl From<busbar_storage::Error> for Refusal {
    fn from(error: busbar_storage::Error) -> Self {
        tracing::warn!(%error, "a connector cannot be looked up");
        if error.is_transient() { Self::Unavailable } else { Self::Internal }
    }
}

/// An action of Exact.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct ActionBody {
    /// `sync_products`, `sync_exact_work_order`, `assign_batch_numbers` or `sync_customers`; further members are its own.
    action: String,
}

/// The answer to an action that is durable and not done yet.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct ActionAccepted {
    /// Always true.
    success: bool,
    /// Always `accepted`.
    message: String,
    /// The call's id.
    event_id: Uuid,
    /// Where its outcome is told; a key of the tenant is needed there.
    status_url: String,
}

/// Takes one action; the connector is the one that the secret was made for.
///
/// Only secrets that the hub has made are known here; one that a person chose belongs to the path with the connector.
#[utoipa::path(
    operation_id = "receive_exact_action",
    tag = "exact",
    request_body = ActionBody,
    params(("X-Webhook-Secret" = String, Header, description = "The connector's secret.")),
    responses(
        (status = 200, description = "Done; the body is the action's own answer."),
        (status = 202, description = "Durable, and not done within eight seconds.", body = ActionAccepted),
        (status = 400, description = "Refused; `code` says why.", body = ActionRefused),
        (status = 401, description = "The secret is missing or wrong.", body = ActionRefused),
        (status = 403, description = "The connector was deleted.", body = ActionRefused),
        (status = 404, description = "The order or product does not exist.", body = ActionRefused),
        (status = 409, description = "The call contradicts what is stored.", body = ActionRefused),
        (status = 413, description = "Too large.", body = ActionRefused),
        (status = 503, description = "Not durable now; try again after `Retry-After`.", body = ActionRefused),
    )
)]
#[post("/functions/v1/webhook-receiver")]
pub(crate) async fn receive(request: HttpRequest, door: web::Data<Door>, payload: web::Payload) -> HttpResponse {
    respond(accept(&request, &door, payload, None).await, &door)
}

/// Takes one action for the connector that the path names, with any secret of it.
#[utoipa::path(
    operation_id = "receive_exact_action_of_connector",
    tag = "exact",
    request_body = ActionBody,
    params(
        ("connector_id" = Uuid, Path, description = "The connector."),
        ("X-Webhook-Secret" = String, Header, description = "The connector's secret."),
    ),
    responses(
        (status = 200, description = "Done; the body is the action's own answer."),
        (status = 202, description = "Durable, and not done within eight seconds.", body = ActionAccepted),
        (status = 400, description = "Refused; `code` says why.", body = ActionRefused),
        (status = 401, description = "The secret is missing or wrong.", body = ActionRefused),
        (status = 403, description = "The connector was deleted.", body = ActionRefused),
        (status = 404, description = "The order or product does not exist.", body = ActionRefused),
        (status = 409, description = "The call contradicts what is stored.", body = ActionRefused),
        (status = 413, description = "Too large.", body = ActionRefused),
        (status = 503, description = "Not durable now; try again after `Retry-After`.", body = ActionRefused),
    )
)]
#[post("/functions/v1/webhook-receiver/{connector_id}")]
pub(crate) async fn receive_for(
    request: HttpRequest,
    door: web::Data<Door>,
    connector: web::Path<String>,
    payload: web::Payload,
) -> HttpResponse {
    respond(accept(&request, &door, payload, Some(&connector)).await, &door)
}

/// A call that is durable, and its answer if there was one in time.
struct Accepted {
    id: InboundId,
    answer: Option<Answer>,
}

fn respond(accepted: Result<Accepted, Refusal>, door: &Door) -> HttpResponse {
    let Accepted { id, answer } = match accepted {
        Ok(accepted) => accepted,
        Err(refusal) => return refusal.respond(),
    };
    metrics::counter!(metric::ACCEPTED, "route" => "exact").increment(1);
    let (status, body) = match answer {
        Some(answer) => (answer.status, answer.body),
        None => (202, outbound::accepted(id.uuid(), &door.status_url(id))),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status).content_type("application/json").body(body)
}

async fn accept(
    request: &HttpRequest,
    door: &Door,
    payload: web::Payload,
    named: Option<&str>,
) -> Result<Accepted, Refusal> {
    let (began, step) = (Instant::now(), door.begin(request));
    let connector = authorized(request, door, named).await?;
    let limits = door.limits();
    let body = body::read(request, payload, limits.body.max(MIN_LIMIT), limits.body_timeout).await;
    let body = body.map_err(Refusal::Body)?;
    check_object(&body)?;
    let now = door.now();
    let call = NewInbound {
        id: InboundId::new(now),
        tenant: connector.tenant,
        connector: connector.id,
        system: System::Exact,
        once: None,
        body,
        received_at: now,
        trace: step.context(),
    };
    // Before the call is durable, since its answer may be there a moment later.
    let awaited = door.answers().expect(call.id);
    let id = door.receive(call).await?;
    let answer = awaited.within(PATIENCE.saturating_sub(began.elapsed())).await;
    Ok(Accepted { id, answer })
}

/// The connector that is called, with a secret of its own.
async fn authorized(
    request: &HttpRequest,
    door: &Door,
    named: Option<&str>,
) -> Result<std::sync::Arc<Connector>, Refusal> {
    let header = request.headers().get(auth::SECRET_HEADER).map(actix_web::http::header::HeaderValue::as_bytes);
    let secret = header.filter(|secret| !secret.is_empty()).ok_or(Refusal::Unauthorized)?;
    let connector = match named {
        Some(text) => {
            let id: ConnectorId = text.parse().map_err(|_| Refusal::Unauthorized)?;
            door.connectors().find_any(id).await?
        }
        None => door.connectors().find_by_secret(secret).await?,
    };
    let connector = connector.filter(|connector| connector.system == System::Exact).ok_or(Refusal::Unauthorized)?;
    let stored: Vec<&Secret> = connector.secrets(door.now()).collect();
    auth::verify_secret(&stored, header).map_err(|_| Refusal::Unauthorized)?;
    if connector.is_deleted { Err(Refusal::Disabled) } else { Ok(connector) }
}

/// What is no JSON object is told at once and never stored.
fn check_object(body: &Bytes) -> Result<(), Refusal> {
    let compact = json::compact(body).map_err(|invalid| Refusal::Unreadable(format!("The body is {invalid}.")))?;
    if compact.first() == Some(&b'{') {
        Ok(())
    } else {
        Err(Refusal::Unreadable("The body is not a JSON object.".to_owned()))
    }
}
