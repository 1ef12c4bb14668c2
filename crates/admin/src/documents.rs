//! `/openapi/*.json` and `/docs/`: the API's description, collected from the handlers, and a page to browse it.

use actix_web::{HttpResponse, get, web};
use busbar_runtime::Problem;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::desk::At;
use crate::run::routes;

/// What stands before the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Busbar management API",
        description = "Configuration of tenants, keys, connectors and webhooks, and the logs of events and deliveries. \
            Lists are newest first; errors are RFC 9457 problems; bodies with unknown fields are refused with 400."
    ),
    components(schemas(Problem)),
    security(("api_key" = []), ("bearer" = [])),
    modifiers(&Credentials)
)]
struct Head;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        let header = ApiKeyValue::with_description("x-api-key", "An API key, `bb_<env>_<id>_<secret>_<checksum>`.");
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(header)));
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The `OpenAPI` document of the management API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    use utoipa_actix_web::AppExt;
    let (_, api) = actix_web::App::new().into_utoipa_app().openapi(Head::openapi()).configure(routes).split_for_parts();
    api
}

/// The document as it is served.
pub(crate) struct AdminDocument(String);

impl AdminDocument {
    /// The document, written once.
    pub(crate) fn new() -> Self {
        // Only maps with keys that are no text cannot be written, and there are none.
        Self(openapi().to_pretty_json().unwrap_or_default())
    }
}

/// The browsable page over both documents.
pub(crate) fn page() -> SwaggerUi {
    SwaggerUi::new("/docs/{_:.*}").config(Config::new(["/openapi/admin.json", "/openapi/public.json"]))
}

/// The management API's document.
#[get("/openapi/admin.json")]
pub(crate) async fn admin_document(document: web::Data<AdminDocument>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(document.0.clone())
}

/// The public door's document.
#[get("/openapi/public.json")]
pub(crate) async fn public_document(desk: At) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(desk.public_openapi())
}
