//! `/connectors`: one customer's configured links to outside systems; a secret shows once, when it is made.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use busbar_domain::id::ConnectorId;
use busbar_domain::inbound::System;
use busbar_domain::json;
use busbar_domain::secret::Secret;
use busbar_runtime::Problem;
use busbar_storage::access::{CONNECTOR_CONFIG, CONNECTOR_SECRET};
use busbar_storage::connectors::{self, ConnectorRecord, NewConfig, NewConnector, NewSecret};
use busbar_storage::seal::Place;
use busbar_systems::exact;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::desk::{At, Desk};
use crate::error::ApiError;
use crate::fields::{Faults, Overlap, Rotated};
use crate::paging::{List, Paging};

/// A connector to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConnectorToCreate {
    /// The system at its other end: `ptw`, `erpops` or `exact`.
    system: Option<String>,
    /// Its name, for people; 1 to 200 characters.
    name: Option<String>,
    /// What the system needs to know; an object.
    #[schema(value_type = Option<Object>)]
    config: Option<Box<RawValue>>,
    /// The shared secret that signs its calls; made by the hub, if absent.
    secret: Option<String>,
}

/// What changes of a connector.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConnectorChange {
    /// Its name, for people; 1 to 200 characters.
    name: Option<String>,
    /// What the system needs to know, as a whole; an object.
    #[schema(value_type = Option<Object>)]
    config: Option<Box<RawValue>>,
}

/// Which connectors are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ConnectorQuery {
    /// 1 to 200, by default 50.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A connector.
#[derive(Serialize, ToSchema)]
struct ConnectorView {
    /// Its id.
    id: Uuid,
    /// The system at its other end.
    system: &'static str,
    /// Its name, for people.
    name: String,
    /// What the system needs to know.
    #[schema(value_type = Object)]
    config: Option<Box<RawValue>>,
    /// Where the system sends its calls.
    inbound_url: String,
    /// Until when the secret before the last rotation is taken as well.
    old_secret_until: Option<DateTime<Utc>>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was changed last.
    updated_at: DateTime<Utc>,
}

/// A new connector with its secret, which shows here and nowhere else.
#[derive(Serialize, ToSchema)]
struct CreatedConnector {
    #[serde(flatten)]
    connector: ConnectorView,
    /// The shared secret.
    secret: String,
}

impl ConnectorView {
    fn new(desk: &Desk, record: ConnectorRecord) -> Self {
        let path = match record.system {
            System::Ptw => "/api/v1/ptw/events".to_owned(),
            System::Erpops => "/functions/v1/receive-event".to_owned(),
            System::Exact => format!("/functions/v1/webhook-receiver/{}", record.id),
        };
        Self {
            id: record.id.uuid(),
            system: record.system.as_str(),
            name: record.name,
            config: String::from_utf8(record.config).ok().and_then(|text| RawValue::from_string(text).ok()),
            inbound_url: desk.inbound_url(&path),
            old_secret_until: record.old_secret_until,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

fn system(faults: &mut Faults, name: Option<&str>) -> Option<System> {
    let known = name.and_then(System::parse);
    if known.is_none() {
        let names: Vec<_> = System::ALL.iter().map(|system| system.as_str()).collect();
        faults.add("/system", "UNKNOWN_SYSTEM", format!("A connector's system is one of {}.", names.join(", ")));
    }
    known
}

/// A configuration as it is stored: compact, and an object.
fn config(faults: &mut Faults, config: Option<&RawValue>) -> Option<Vec<u8>> {
    let text = config.map_or("{}", RawValue::get);
    let compact = faults.take("/config", "INVALID_FIELD", json::compact(text.as_bytes()))?;
    if compact.first() != Some(&b'{') {
        faults.add("/config", "INVALID_FIELD", "A configuration is an object.");
        return None;
    }
    Some(compact)
}

/// A configuration in two parts, once the system's own rules have been kept.
struct Settings {
    public: Vec<u8>,
    secrets: Option<Vec<u8>>,
}

/// What a configuration means for `system`; what is wrong with it is noted.
fn settings(faults: &mut Faults, system: System, config: Vec<u8>) -> Option<Settings> {
    match system {
        System::Ptw | System::Erpops => Some(Settings { public: config, secrets: None }),
        System::Exact => match exact::Config::parse(&config) {
            Ok(_) => {
                let (public, secrets) = exact::stored::split(&config);
                Some(Settings { public, secrets })
            }
            Err(refusals) => {
                for refusal in refusals {
                    faults.add(format!("/config{}", refusal.pointer), refusal.code, refusal.sentence);
                }
                None
            }
        },
    }
}

fn seal_config(desk: &Desk, id: ConnectorId, secrets: Option<&[u8]>) -> Result<Option<Vec<u8>>, ApiError> {
    let place = Place { column: CONNECTOR_CONFIG, row: id.uuid() };
    Ok(secrets.map(|secrets| desk.database().keyring().seal_bytes(place, secrets)).transpose()?)
}

/// The configuration that takes the place of the one of `record`: secrets that are left out stay what they were.
fn changed(desk: &Desk, record: &ConnectorRecord, config: Vec<u8>) -> Result<Settings, ApiError> {
    let mut faults = Faults::default();
    let whole = match record.system {
        System::Ptw | System::Erpops => Some(config),
        System::Exact => {
            let place = Place { column: CONNECTOR_CONFIG, row: record.id.uuid() };
            let open = |sealed: &[u8]| desk.database().keyring().open_bytes(place, sealed);
            let secrets = record.config_secrets.as_deref().map(open).transpose()?;
            exact::stored::completed(&config, &record.config, secrets.as_deref())
        }
    };
    if whole.is_none() {
        faults.add("/config/direct", "SECRET_REQUIRED", "Secrets that go to another address must be given again.");
    }
    let settings = whole.and_then(|whole| settings(&mut faults, record.system, whole));
    Ok(faults.finish(settings)?)
}

fn seal(desk: &Desk, id: ConnectorId, secret: &Secret) -> Result<Vec<u8>, ApiError> {
    let place = Place { column: CONNECTOR_SECRET, row: id.uuid() };
    Ok(desk.database().keyring().seal(place, secret)?)
}

/// Makes a connector.
#[utoipa::path(tag = "connectors", responses(
    (status = 201, body = CreatedConnector),
    (status = 422, body = Problem, description = "A field is invalid"),
    (status = 503, body = Problem, description = "`MASTER_KEY_MISSING`: no secret can be stored"),
))]
#[post("/connectors")]
pub(crate) async fn create_connector(
    desk: At,
    caller: Authorized<scope::Admin>,
    body: web::Json<ConnectorToCreate>,
) -> Result<HttpResponse, ApiError> {
    let mut faults = Faults::default();
    let system = system(&mut faults, body.system.as_deref());
    let name = faults.name("/name", body.name.as_deref());
    let config = config(&mut faults, body.config.as_deref());
    let config = system.zip(config).and_then(|(system, config)| settings(&mut faults, system, config));
    let secret = faults.secret("/secret", body.secret.as_deref());
    let (((system, name), config), secret) = faults.finish(system.zip(name).zip(config).zip(secret))?;
    let now = desk.now();
    let id = ConnectorId::new(now);
    let sealed = seal(&desk, id, &secret)?;
    let config_secrets = seal_config(&desk, id, config.secrets.as_deref())?;
    // A secret that a person chose may be another connector's as well, so none is found by it.
    let is_made_here = body.secret.is_none();
    let code = is_made_here.then(|| desk.database().keyring().code(secret.expose().as_bytes())).transpose()?;
    let new = NewConnector {
        id,
        tenant: caller.tenant,
        system,
        name: &name,
        config: &config.public,
        secret: &sealed,
        secret_code: code.as_deref(),
        config_secrets: config_secrets.as_deref(),
    };
    let made = desk.change(caller.tenant, async |conn| Ok(connectors::insert(conn, &new, now).await?)).await?;
    let connector = ConnectorView::new(&desk, made);
    Ok(HttpResponse::Created().json(CreatedConnector { connector, secret: secret.expose().to_owned() }))
}

/// The tenant's connectors, newest first.
#[utoipa::path(tag = "connectors", responses((status = 200, body = List<ConnectorView>)))]
#[get("/connectors")]
pub(crate) async fn list_connectors(
    desk: At,
    caller: Authorized<scope::Read>,
    query: web::Query<ConnectorQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let found =
        desk.read(async |conn| connectors::list(conn, caller.tenant, paging.before, paging.fetch()).await).await?;
    let page = paging.page(found, |one| one.id.uuid(), |one| ConnectorView::new(&desk, one));
    Ok(HttpResponse::Ok().json(page))
}

/// One connector.
#[utoipa::path(tag = "connectors", responses((status = 200, body = ConnectorView), (status = 404, body = Problem)))]
#[get("/connectors/{id}")]
pub(crate) async fn get_connector(
    desk: At,
    caller: Authorized<scope::Read>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let id = ConnectorId::from(*id);
    let found = desk.read(async |conn| connectors::find(conn, caller.tenant, id).await).await?;
    Ok(HttpResponse::Ok().json(ConnectorView::new(&desk, found.ok_or_else(ApiError::not_found)?)))
}

/// Changes the name or configuration of a connector.
#[utoipa::path(tag = "connectors", responses(
    (status = 200, body = ConnectorView),
    (status = 404, body = Problem),
    (status = 422, body = Problem, description = "A field is invalid"),
))]
#[patch("/connectors/{id}")]
pub(crate) async fn change_connector(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
    body: web::Json<ConnectorChange>,
) -> Result<HttpResponse, ApiError> {
    let mut faults = Faults::default();
    let name = body.name.as_deref().and_then(|name| faults.name("/name", Some(name)));
    let config = body.config.as_deref().and_then(|given| config(&mut faults, Some(given)));
    faults.check()?;
    let (tenant, id, now) = (caller.tenant, ConnectorId::from(*id), desk.now());
    let changed = desk
        .change(tenant, async |conn| {
            let Some(config) = config else {
                return Ok(connectors::update(conn, tenant, id, name.as_deref(), None, now).await?);
            };
            let record = connectors::lock(conn, tenant, id).await?.ok_or_else(ApiError::not_found)?;
            let settings = changed(&desk, &record, config)?;
            let secrets = seal_config(&desk, id, settings.secrets.as_deref())?;
            let config = NewConfig { public: &settings.public, secrets: secrets.as_deref() };
            Ok(connectors::update(conn, tenant, id, name.as_deref(), Some(config), now).await?)
        })
        .await?;
    Ok(HttpResponse::Ok().json(ConnectorView::new(&desk, changed.ok_or_else(ApiError::not_found)?)))
}

/// Deletes a connector: its calls are refused from now on.
#[utoipa::path(tag = "connectors", responses((status = 204), (status = 404, body = Problem)))]
#[delete("/connectors/{id}")]
pub(crate) async fn delete_connector(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let (tenant, id, now) = (caller.tenant, ConnectorId::from(*id), desk.now());
    let deleted = desk.change(tenant, async |conn| Ok(connectors::delete(conn, tenant, id, now).await?)).await?;
    if deleted { Ok(HttpResponse::NoContent().finish()) } else { Err(ApiError::not_found()) }
}

/// Makes a new secret; the old one is taken as well until the overlap ends.
#[utoipa::path(tag = "connectors", responses(
    (status = 200, body = Rotated),
    (status = 404, body = Problem),
    (status = 409, body = Problem, description = "The overlap of the rotation before has not ended"),
))]
#[post("/connectors/{id}/rotate-secret")]
pub(crate) async fn rotate_connector_secret(
    desk: At,
    caller: Authorized<scope::Admin>,
    id: web::Path<Uuid>,
    body: web::Json<Overlap>,
) -> Result<HttpResponse, ApiError> {
    let (tenant, id, now) = (caller.tenant, ConnectorId::from(*id), desk.now());
    let until = body.end(now)?;
    let secret = Secret::generate();
    let sealed = seal(&desk, id, &secret)?;
    let code = desk.database().keyring().code(secret.expose().as_bytes())?;
    let new = NewSecret { sealed: &sealed, code: &code };
    let rotated = desk
        .change(tenant, async |conn| Ok(connectors::rotate_secret(conn, tenant, id, new, until, now).await?))
        .await?;
    Ok(HttpResponse::Ok().json(Rotated::answer(rotated, &secret, until, now)?))
}
