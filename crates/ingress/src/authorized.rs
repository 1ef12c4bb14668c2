//! Who publishes: an API key with scope `publish`, the tenant that it names, and how often the event was here before.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest, web};
use busbar_domain::api_key::Scope;
use busbar_domain::event::{HOPS_HEADER, MAX_HOPS, hops_of};
use busbar_domain::id::TenantId;
use busbar_runtime::{Problem, http};

use crate::door::Door;

/// A caller that may publish events of this tenant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Producer {
    pub(crate) tenant: TenantId,
    /// How often what led to the event has left the hub and come back.
    pub(crate) hops: u8,
}

impl FromRequest for Producer {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let door = request.app_data::<web::Data<Door>>().ok_or_else(Problem::internal)?;
            let credential = http::credential(&request).ok_or_else(Problem::unauthorized)?;
            let caller = door.callers().find(credential, door.now()).await.map_err(|error| {
                tracing::warn!(%error, "a key cannot be looked up");
                if error.is_transient() { Problem::unavailable(1) } else { Problem::internal() }
            })?;
            let caller = caller.ok_or_else(Problem::unauthorized)?;
            if !caller.may(Scope::Publish) {
                return Err(Problem::forbidden("SCOPE_MISSING", "This needs a key with the scope publish."));
            }
            let tenant = caller.tenant.ok_or_else(|| {
                Problem::forbidden("TENANT_REQUIRED", "Events belong to a tenant; use one of that tenant's keys.")
            })?;
            let hops = hops_of(request.headers().get(HOPS_HEADER).map(actix_web::http::header::HeaderValue::as_bytes));
            if hops >= MAX_HOPS {
                let detail = format!(
                    "This event has left the hub and come back {MAX_HOPS} times: a webhook leads back to the hub."
                );
                return Err(Problem::new(StatusCode::LOOP_DETECTED, "LOOP_DETECTED", detail));
            }
            Ok(Self { tenant, hops })
        })
    }
}
