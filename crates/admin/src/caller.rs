//! Who calls and for which tenant: proven once per request, checked by each handler's extractor before its body is read.
//!
//! The tenant comes from the credential alone; only the platform's operator names one, by header.

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, web};
use busbar_domain::api_key::Scope;
use busbar_domain::id::TenantId;
use busbar_runtime::{Problem, http};
use busbar_storage::access::Caller;
use busbar_storage::tenants;
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::desk::Desk;
use crate::error::ApiError;

/// The header by which an operator names the tenant on whose behalf it acts.
pub(crate) const TENANT_HEADER: &str = "x-busbar-tenant";

/// What a route asks of its caller.
pub(crate) trait Needed {
    /// The scope.
    const SCOPE: Scope;
}

/// The scopes as types.
pub(crate) mod scope {
    use busbar_domain::api_key::Scope;

    /// Reading the tenant's data.
    pub(crate) struct Read;
    /// Changing the tenant's configuration.
    pub(crate) struct Admin;

    impl super::Needed for Read {
        const SCOPE: Scope = Scope::Read;
    }

    impl super::Needed for Admin {
        const SCOPE: Scope = Scope::Admin;
    }
}

/// What is known of the caller of one request.
#[derive(Clone)]
enum Standing {
    /// No credential at all.
    Absent,
    /// One that proves nothing.
    Bad,
    /// A key of a tenant.
    Key(Arc<Caller>, TenantId),
    /// The platform's operator by its key, and the tenant that it names.
    Operator(Uuid, Result<TenantId, Unnamed>),
    /// Whether the credential is good cannot be told now.
    Unknown,
}

/// Why an operator acts for no tenant.
#[derive(Clone, Copy)]
enum Unnamed {
    Missing,
    NoSuchTenant,
}

/// Why a caller may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No credential.
    Absent,
    /// A bad credential.
    Bad,
    /// A good one, but not for this.
    Scope,
    /// An operator's, but no tenant was named.
    TenantRequired,
    /// An operator's, but there is no such tenant.
    NoSuchTenant,
    /// Whether it is good cannot be told now.
    Unknown,
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        Self::Refused(match denied {
            Denied::Absent | Denied::Bad => Problem::unauthorized(),
            Denied::Scope => Problem::forbidden("MISSING_SCOPE", "The credential lacks the scope that this needs."),
            Denied::TenantRequired => Problem::bad_request(
                "TENANT_REQUIRED",
                format!("An operator names the tenant by the header {TENANT_HEADER}: <tenant id>."),
            ),
            Denied::NoSuchTenant => Problem::not_found(),
            Denied::Unknown => Problem::unavailable(1),
        })
    }
}

/// Proves the credential of each request, for the extractors of this file.
pub(crate) async fn prove(
    desk: web::Data<Desk>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let standing = standing(&desk, request.request()).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "a credential cannot be checked");
        Standing::Unknown
    });
    request.extensions_mut().insert(standing);
    next.call(request).await
}

async fn standing(desk: &Desk, request: &HttpRequest) -> Result<Standing, busbar_storage::Error> {
    let Some(credential) = http::credential(request) else { return Ok(Standing::Absent) };
    let is_set_operator =
        desk.operator_key().is_some_and(|key| key.expose_secret().as_bytes().ct_eq(credential.as_bytes()).into());
    if is_set_operator {
        return Ok(Standing::Operator(Uuid::nil(), named_tenant(desk, request).await?));
    }
    let Some(caller) = desk.callers().find(credential, desk.now()).await? else { return Ok(Standing::Bad) };
    Ok(match caller.tenant {
        Some(tenant) => Standing::Key(caller, tenant),
        None if caller.may(Scope::Operator) => {
            Standing::Operator(caller.key.uuid(), named_tenant(desk, request).await?)
        }
        None => Standing::Bad,
    })
}

async fn named_tenant(desk: &Desk, request: &HttpRequest) -> Result<Result<TenantId, Unnamed>, busbar_storage::Error> {
    let Some(header) = request.headers().get(TENANT_HEADER) else { return Ok(Err(Unnamed::Missing)) };
    let Some(id) = header.to_str().ok().and_then(|text| text.trim().parse().ok()) else {
        return Ok(Err(Unnamed::NoSuchTenant));
    };
    let mut conn = desk.database().pool().acquire().await?;
    Ok(tenants::find(&mut conn, id).await?.map(|tenant| tenant.id).ok_or(Unnamed::NoSuchTenant))
}

/// The tenant for which the caller of `request` may change things; the nil id for the operator who names none.
pub(crate) fn changes_for(request: &HttpRequest) -> Option<Uuid> {
    match request.extensions().get::<Standing>()? {
        Standing::Key(caller, tenant) => caller.may(Scope::Admin).then(|| tenant.uuid()),
        Standing::Operator(_, Ok(tenant)) => Some(tenant.uuid()),
        Standing::Operator(_, Err(Unnamed::Missing)) => Some(Uuid::nil()),
        Standing::Operator(_, Err(Unnamed::NoSuchTenant)) | Standing::Absent | Standing::Bad | Standing::Unknown => {
            None
        }
    }
}

/// A caller with scope `S`, and the tenant that it acts for.
pub(crate) struct Authorized<S> {
    /// The tenant.
    pub(crate) tenant: TenantId,
    /// The key that was used, for the audit; the nil id for the operator's key of the settings.
    pub(crate) actor: Uuid,
    scope: PhantomData<S>,
}

impl<S: Needed> Authorized<S> {
    /// The caller of `request`, if it may do what `S` allows.
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, Denied> {
        let (tenant, actor) = match request.extensions().get::<Standing>() {
            Some(Standing::Key(caller, tenant)) if caller.may(S::SCOPE) => (*tenant, caller.key.uuid()),
            Some(Standing::Key(..)) => return Err(Denied::Scope),
            Some(Standing::Operator(actor, Ok(tenant))) => (*tenant, *actor),
            Some(Standing::Operator(_, Err(Unnamed::Missing))) => return Err(Denied::TenantRequired),
            Some(Standing::Operator(_, Err(Unnamed::NoSuchTenant))) => return Err(Denied::NoSuchTenant),
            Some(Standing::Bad) => return Err(Denied::Bad),
            Some(Standing::Unknown) => return Err(Denied::Unknown),
            Some(Standing::Absent) | None => return Err(Denied::Absent),
        };
        Ok(Self { tenant, actor, scope: PhantomData })
    }
}

impl<S: Needed> FromRequest for Authorized<S> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request).map_err(ApiError::from))
    }
}

/// A caller with scope `S` who acts for a tenant, or the platform's operator who acts for none.
pub(crate) struct Party<S> {
    /// The tenant.
    pub(crate) whose: Option<TenantId>,
    /// The key that was used, for the audit; the nil id for the operator's key of the settings.
    pub(crate) actor: Uuid,
    scope: PhantomData<S>,
}

impl<S: Needed> FromRequest for Party<S> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        if let Some(Standing::Operator(actor, Err(Unnamed::Missing))) = request.extensions().get::<Standing>() {
            return ready(Ok(Self { whose: None, actor: *actor, scope: PhantomData }));
        }
        let known = Authorized::<S>::of(request);
        let party = |known: Authorized<S>| Self { whose: Some(known.tenant), actor: known.actor, scope: PhantomData };
        ready(known.map(party).map_err(ApiError::from))
    }
}

/// The platform's operator.
pub(crate) struct Operator;

impl FromRequest for Operator {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(match request.extensions().get::<Standing>() {
            Some(Standing::Operator(..)) => Ok(Self),
            Some(Standing::Key(..)) => Err(Denied::Scope.into()),
            Some(Standing::Bad) => Err(Denied::Bad.into()),
            Some(Standing::Unknown) => Err(Denied::Unknown.into()),
            Some(Standing::Absent) | None => Err(Denied::Absent.into()),
        })
    }
}
