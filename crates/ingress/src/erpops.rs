//! `POST /functions/v1/receive-event`: ERPs and their middleware push signed integration events.
//!
//! Order of checks: headers (401), connector (403), signature over the raw bytes (401), body (422).

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, post, web};
use busbar_domain::id::InboundId;
use busbar_domain::inbound::{NewInbound, System};
use busbar_runtime::{Problem, http};
use busbar_storage::access::Connector;
use busbar_systems::FieldRefusal;
use busbar_systems::erpops::{IntegrationEvent, auth, inbound};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::body;
use crate::commit::Refused;
use crate::door::Door;
use crate::metric;

/// Why a call is refused, with the status that the page promises for it.
#[derive(Debug)]
enum Refusal {
    HeaderMissing(&'static str),
    Authorization,
    Connector,
    Signature,
    Body(Vec<FieldRefusal>),
    Unreadable(Problem),
    Unavailable,
    Internal,
}

/// The body of every refusal.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rejected {
    /// Always `rejected`.
    status: &'static str,
    /// The stable word for the reason.
    code: &'static str,
    /// The reason, and what to change.
    message: String,
    /// The fields at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<RejectedField>,
}

/// A field at fault.
#[derive(Serialize, ToSchema)]
struct RejectedField {
    /// JSON pointer to the field.
    field: String,
    /// The stable word for what is wrong.
    code: &'static str,
    /// What is wrong.
    message: String,
}

impl Refusal {
    fn respond(self) -> HttpResponse {
        let (status, code, message, fields) = match self {
            Self::HeaderMissing(name) => {
                (StatusCode::UNAUTHORIZED, "HEADER_MISSING", format!("The header {name} is missing."), Vec::new())
            }
            Self::Authorization => {
                let message = "The Authorization header holds no valid key; leave it out or send a good one.";
                (StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message.to_owned(), Vec::new())
            }
            Self::Connector => {
                let message = "There is no such connector, or it does not belong to the caller.";
                (StatusCode::FORBIDDEN, "CONNECTOR_UNKNOWN", message.to_owned(), Vec::new())
            }
            Self::Signature => {
                let message = "X-ERPOps-Signature must be sha256= and the hex HMAC-SHA256 of the body as sent.";
                (StatusCode::UNAUTHORIZED, "SIGNATURE_INVALID", message.to_owned(), Vec::new())
            }
            Self::Body(fields) => {
                let message = "The body is malformed or misses required fields; see errors.";
                (StatusCode::UNPROCESSABLE_ENTITY, "BODY_INVALID", message.to_owned(), fields)
            }
            Self::Unreadable(problem) => {
                let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
                (status, problem.code, problem.detail, Vec::new())
            }
            Self::Unavailable => {
                let message = "The hub cannot take this event now; try again.";
                (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message.to_owned(), Vec::new())
            }
            Self::Internal => {
                let message = "Something went wrong on our side; it has been logged.";
                (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", message.to_owned(), Vec::new())
            }
        };
        metrics::counter!(metric::REFUSED, "route" => "erpops", "status" => status.as_u16().to_string()).increment(1);
        let mut response = HttpResponse::build(status);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header(("Retry-After", "1"));
        }
        let errors = fields.into_iter().map(|field| RejectedField {
            field: field.pointer,
            code: field.code,
            message: field.sentence.into_owned(),
        });
        response.json(Rejected { status: "rejected", code, message, errors: errors.collect() })
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
        tracing::warn!(%error, "a connector or key cannot be looked up");
        if error.is_transient() { Self::Unavailable } else { Self::Internal }
    }
}

/// An ERPOps integration event.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct IntegrationBody {
    /// The connector's id, equal to the header's.
    connector_id: Uuid,
    /// Such as `integration.failed`; `integration.event` if it is missing.
    event_type: Option<String>,
    /// When it happened, ISO 8601 with a zone; at most five minutes ahead.
    timestamp: String,
    /// `info` if it is missing.
    #[schema(example = "error")]
    severity: Option<String>,
    /// The job or interface that it happened to.
    source: Option<String>,
    /// What happened, without personal data.
    message: Option<String>,
    /// At most 50 scalars.
    metadata: Option<serde_json::Value>,
}

/// The answer to an accepted event.
#[derive(Serialize, ToSchema)]
pub(crate) struct IntegrationAccepted {
    /// Always `accepted`.
    status: &'static str,
    /// The event's id; for the same body within five minutes, the first one's.
    event_id: Uuid,
    /// Always null: incidents are made after the answer.
    incident_id: Option<Uuid>,
}

/// Accepts one signed integration event and answers once it is durable.
#[utoipa::path(
    operation_id = "receive_integration_event",
    tag = "erpops",
    request_body = IntegrationBody,
    params(
        ("X-ERPOps-Connector-Id" = Uuid, Header, description = "The connector."),
        ("X-ERPOps-Signature" = String, Header, description = "`sha256=` and the hex HMAC-SHA256 of the body as sent."),
    ),
    responses(
        (status = 202, description = "Durable.", body = IntegrationAccepted),
        (status = 401, description = "A header is missing, or the signature is wrong.", body = Rejected),
        (status = 403, description = "No such connector, or another tenant's.", body = Rejected),
        (status = 413, description = "Too large.", body = Rejected),
        (status = 422, description = "Malformed, or required fields are missing.", body = Rejected),
        (status = 503, description = "Not durable now; try again after `Retry-After`.", body = Rejected),
    )
)]
#[post("/functions/v1/receive-event")]
pub(crate) async fn receive(request: HttpRequest, door: web::Data<Door>, payload: web::Payload) -> HttpResponse {
    match accept(&request, &door, payload).await {
        Ok(id) => {
            metrics::counter!(metric::ACCEPTED, "route" => "erpops").increment(1);
            let accepted = IntegrationAccepted { status: "accepted", event_id: id.uuid(), incident_id: None };
            HttpResponse::Accepted().json(accepted)
        }
        Err(refusal) => refusal.respond(),
    }
}

async fn accept(request: &HttpRequest, door: &Door, payload: web::Payload) -> Result<InboundId, Refusal> {
    let step = door.begin(request);
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let named = auth::connector(header(auth::CONNECTOR_HEADER)).map_err(|error| match error {
        auth::InvalidConnector::Missing => Refusal::HeaderMissing("X-ERPOps-Connector-Id"),
        auth::InvalidConnector::Unknown => Refusal::Connector,
    });
    let signature = header(auth::SIGNATURE_HEADER).filter(|text| !text.is_empty());
    let signature = signature.ok_or(Refusal::HeaderMissing("X-ERPOps-Signature"))?;
    let connector = named.map(busbar_domain::id::ConnectorId::from)?;
    let connector = door.connectors().find(connector).await?;
    let connector = connector.filter(|connector| connector.system == System::Erpops).ok_or(Refusal::Connector)?;
    check_authorization(request, door, &connector).await?;

    let limits = door.limits();
    let body = body::read(request, payload, limits.body, limits.body_timeout).await.map_err(Refusal::Unreadable)?;
    let now = door.now();
    // Every valid key is tried whatever the first one says, so that the time does not tell which of them is right.
    let signed =
        connector.keys(now).fold(false, |signed, key| auth::verify(key, Some(signature), &body).is_ok() | signed);
    if !signed {
        return Err(Refusal::Signature);
    }
    IntegrationEvent::parse(&body, connector.id.uuid(), now).map_err(Refusal::Body)?;
    let call = NewInbound {
        id: InboundId::new(now),
        tenant: connector.tenant,
        connector: connector.id,
        system: System::Erpops,
        once: Some(inbound::once(connector.id, &body, now)),
        body,
        received_at: now,
        trace: step.context(),
    };
    Ok(door.receive(call).await?)
}

/// A key is not needed, but one that is sent must be good and of the connector's tenant.
async fn check_authorization(request: &HttpRequest, door: &Door, connector: &Connector) -> Result<(), Refusal> {
    let sent = request.headers().contains_key("authorization") || request.headers().contains_key("x-api-key");
    if !sent {
        return Ok(());
    }
    let credential = http::credential(request).ok_or(Refusal::Authorization)?;
    let caller = door.callers().find(credential, door.now()).await?.ok_or(Refusal::Authorization)?;
    if caller.tenant == Some(connector.tenant) { Ok(()) } else { Err(Refusal::Connector) }
}
