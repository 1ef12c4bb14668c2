//! The API's description, and what no route answers.

use crate::hub::Hub;

#[actix_web::test]
async fn the_document_names_every_resource_and_opens_in_a_browser() {
    let hub = Hub::start().await;
    let document = hub.call("", "GET", "/openapi/admin.json", None).await.expect(200);
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/api/v1/tenants/{id}",
        "/api/v1/api-keys/{id}/rotate",
        "/api/v1/connectors/{id}/rotate-secret",
        "/api/v1/webhooks/{id}/test",
        "/api/v1/ptw/webhooks/",
        "/api/v1/ptw/webhooks/{id}/deliveries/",
        "/api/v1/deliveries/{id}",
        "/api/v1/events",
    ] {
        assert!(paths.contains_key(path), "{path}: {:?}", paths.keys());
    }
    let ids: Vec<_> = paths
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (63, 63));
    assert!(hub.call("", "GET", "/docs/", None).await.text.contains("swagger-ui"));
    hub.call("", "GET", "/openapi/public.json", None).await.expect(200);
    hub.end().await;
}

#[actix_web::test]
async fn every_reference_of_the_document_leads_somewhere() {
    let hub = Hub::start().await;
    let answer = hub.call("", "GET", "/openapi/admin.json", None).await;
    let schemas = answer.body["components"]["schemas"].as_object().unwrap();
    for reference in answer.text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
    hub.end().await;
}

#[actix_web::test]
async fn an_unknown_address_is_404_and_an_unknown_method_405() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    assert_eq!(hub.call(&tenant.key, "GET", "/api/v1/nothing", None).await.expect(404)["code"], "NOT_FOUND");
    let wrong = hub.call(&tenant.key, "DELETE", "/api/v1/webhooks", None).await;
    assert_eq!(wrong.expect(405)["code"], "METHOD_NOT_ALLOWED");
    hub.end().await;
}
