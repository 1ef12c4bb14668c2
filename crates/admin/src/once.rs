//! `Idempotency-Key` on every POST: a repeat gets the first answer again for a day, and nothing is done twice.
//!
//! Only final answers are kept; after an error of ours the same key may be tried again.

use actix_web::body::{BoxBody, MessageBody, to_bytes};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::CONTENT_TYPE;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse, web};
use busbar_runtime::Problem;
use busbar_storage::idempotency::{self, Answer, Known, Request};
use chrono::TimeDelta;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::caller;
use crate::desk::Desk;
use crate::error::ApiError;
use crate::facade;

const HEADER: &str = "idempotency-key";
const REPLAYED: &str = "idempotency-replayed";
const MAX_KEY: usize = 255;
/// How long a request may be under way: longer than any answer takes.
const UNDER_WAY: TimeDelta = TimeDelta::seconds(60);
const KEPT: TimeDelta = TimeDelta::hours(24);

/// Answers a repeated request like the first one.
pub(crate) async fn once(
    desk: web::Data<Desk>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let header = request.headers().get(HEADER).filter(|_| request.method() == Method::POST).cloned();
    // Who may change nothing gets no answer of somebody who may.
    let (Some(header), Some(tenant)) = (header, caller::changes_for(request.request())) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let Some(key) = header.to_str().ok().and_then(key) else {
        let detail = format!("An Idempotency-Key has 1 to {MAX_KEY} visible characters.");
        return Ok(refused(request, Problem::bad_request("INVALID_IDEMPOTENCY_KEY", detail).into()));
    };
    let body = match request.extract::<web::Bytes>().await {
        Ok(body) => body,
        Err(error) => return Ok(request.into_response(error.error_response())),
    };
    let digest = Sha256::digest(&body).into();
    request.set_payload(Payload::from(Box::pin(futures_util::stream::once(async { Ok(body) })) as Stream));
    let route = format!("POST {}", request.path().trim_end_matches('/'));
    let named = Request { tenant, route: &route, key: &key, digest };
    let owner = Uuid::now_v7();
    match begin(&desk, named, owner).await {
        Ok(None) => {}
        Ok(Some(answer)) => return Ok(replayed(request, answer)),
        Err(error) => return Ok(refused(request, error)),
    }
    let (request, response) = next.call(request).await?.into_parts();
    let (head, body) = response.into_parts();
    let body = to_bytes(body).await.map_err(|_| Problem::internal())?;
    keep(&desk, named, owner, &head, &body).await;
    Ok(ServiceResponse::new(request, head.set_body(BoxBody::new(body))))
}

type Stream = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<web::Bytes, actix_web::error::PayloadError>>>>;

/// The key, which may stand in quotes.
fn key(text: &str) -> Option<String> {
    let text = text.trim();
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let valid = (1..=MAX_KEY).contains(&bare.len()) && bare.bytes().all(|byte| byte.is_ascii_graphic());
    valid.then(|| bare.to_owned())
}

/// The first answer, if there is one; nothing, if this is the first request.
async fn begin(desk: &Desk, request: Request<'_>, owner: Uuid) -> Result<Option<Answer>, ApiError> {
    let now = desk.now();
    let keyring = desk.database().keyring();
    let known =
        desk.read(async |conn| idempotency::begin(conn, keyring, request, owner, now, now + UNDER_WAY).await).await?;
    match known {
        Known::First => Ok(None),
        Known::Answered(answer) => Ok(Some(answer)),
        Known::UnderWay => {
            let detail = "The first request with this Idempotency-Key is still under way.";
            Err(Problem::conflict("REQUEST_UNDER_WAY", detail).into())
        }
        Known::Other => {
            let detail = "This Idempotency-Key was used with another body.";
            Err(Problem::conflict("IDEMPOTENCY_KEY_REUSED", detail).into())
        }
    }
}

/// Keeps the answer, or gives the key free. What fails here leaves the key under way, which ends by itself.
async fn keep(desk: &Desk, request: Request<'_>, owner: Uuid, head: &HttpResponse<()>, body: &[u8]) {
    let status = head.status();
    let content_type = head.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let answer = Answer { status: status.as_u16(), content_type: content_type.to_owned(), body: body.to_vec() };
    let keyring = desk.database().keyring();
    let until = desk.now() + KEPT;
    let kept = desk
        .read(async |conn| {
            if status.is_server_error() {
                return idempotency::release(conn, request, owner).await;
            }
            idempotency::finish(conn, keyring, request, owner, &answer, until).await
        })
        .await;
    if let Err(error) = kept {
        tracing::warn!(%error, "an answer could not be kept for its repeats");
    }
}

fn replayed(request: ServiceRequest, answer: Answer) -> ServiceResponse<BoxBody> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.insert_header((REPLAYED, "true"));
    if !answer.content_type.is_empty() {
        response.content_type(answer.content_type);
    }
    request.into_response(response.body(answer.body))
}

fn refused(request: ServiceRequest, error: ApiError) -> ServiceResponse<BoxBody> {
    let response = answer_to(request.request(), error);
    request.into_response(response)
}

/// An error in the shape of the route.
fn answer_to(request: &HttpRequest, error: ApiError) -> HttpResponse {
    use actix_web::ResponseError;
    if facade::answers(request.path()) {
        return facade::FacadeError::from(error).error_response();
    }
    error.error_response()
}
