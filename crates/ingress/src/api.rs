//! The routes of the public listener and the OpenAPI document that is generated from them.

use actix_web::web;
use busbar_runtime::problem;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};

use crate::door::Door;
use crate::{erpops, events, exact, ptw};

/// Adds every route of the public listener.
pub(crate) fn routes(door: Door) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        config
            .app_data(web::Data::new(door))
            .service(ptw::publish)
            .service(events::publish)
            .service(events::publish_batch)
            .service(erpops::receive)
            .service(exact::receive)
            .service(exact::receive_for)
            .default_service(web::to(problem::unmatched));
    }
}

/// The document of the public API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
        "x-api-key",
        "An API key; `Authorization: Bearer <key>` works as well.",
    )));
    document.components.get_or_insert_default().add_security_scheme("api_key", key);
    document
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Busbar public API",
        description = "Where systems and producers send events.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        ptw::publish,
        events::publish,
        events::publish_batch,
        erpops::receive,
        exact::receive,
        exact::receive_for,
    ),
    tags(
        (name = "events", description = "Events of any producer."),
        (name = "ptw", description = "Permit events."),
        (name = "erpops", description = "Signed integration events."),
        (name = "exact", description = "Actions of Exact Online, through Zapier.")
    )
)]
struct Document;

#[cfg(test)]
mod tests {
    #[test]
    fn every_route_is_in_the_document() {
        let document = super::openapi();
        let paths: Vec<_> = document.paths.paths.keys().map(String::as_str).collect();
        let routes = [
            "/api/v1/events",
            "/api/v1/events/batch",
            "/api/v1/ptw/events",
            "/functions/v1/receive-event",
            "/functions/v1/webhook-receiver",
            "/functions/v1/webhook-receiver/{connector_id}",
        ];
        assert_eq!(paths, routes);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let document = super::openapi();
        let operations = document.paths.paths.values().filter_map(|path| path.post.as_ref());
        let names: Vec<_> = operations.filter_map(|operation| operation.operation_id.as_deref()).collect();
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!((names.len(), distinct.len()), (6, 6), "{names:?}");
    }
}
