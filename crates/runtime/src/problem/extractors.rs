//! Requests that no handler sees, as problems: what the extractors refuse, and addresses that nobody serves.
//! A body that cannot be read or has unknown fields is 400, a readable one with an invalid field 422.

use actix_web::error::{JsonPayloadError, PathError, QueryPayloadError};
use actix_web::web::{self, JsonConfig, PathConfig, QueryConfig, ServiceConfig};
use actix_web::{Error, HttpRequest, HttpResponse, ResponseError};
use serde_json::error::Category;

use super::{FieldError, Problem};

/// Everything of this file for an app whose JSON bodies have at most `limit` bytes: `App::new().configure(..)`.
pub fn configure(limit: usize) -> impl FnOnce(&mut ServiceConfig) {
    move |app| {
        app.app_data(json(limit)).app_data(path()).app_data(query()).default_service(web::to(unmatched));
    }
}

/// JSON bodies of at most `limit` bytes.
pub fn json(limit: usize) -> JsonConfig {
    JsonConfig::default().limit(limit).error_handler(move |error, _| body_refused(&error, limit).into())
}

/// Path parameters: one that cannot be read names nothing, hence 404.
pub fn path() -> PathConfig {
    PathConfig::default().error_handler(|_: PathError, _| Problem::not_found().into())
}

/// Query parameters.
pub fn query() -> QueryConfig {
    QueryConfig::default().error_handler(|error, _| {
        let QueryPayloadError::Deserialize(reason) = error else {
            return Problem::bad_request("INVALID_QUERY", "The query cannot be read.").into();
        };
        Error::from(Problem::bad_request("INVALID_QUERY", format!("The query cannot be read: {reason}.")))
    })
}

/// The default service of an app or a resource: 405 where another method is served, else 404.
pub async fn unmatched(request: HttpRequest) -> HttpResponse {
    let problem = if request.resource_map().has_resource(request.path()) {
        Problem::method_not_allowed()
    } else {
        Problem::not_found()
    };
    problem.error_response()
}

fn body_refused(error: &JsonPayloadError, limit: usize) -> Problem {
    match error {
        JsonPayloadError::OverflowKnownLength { .. } | JsonPayloadError::Overflow { .. } => {
            Problem::payload_too_large(limit)
        }
        JsonPayloadError::ContentType => Problem::unsupported_media_type(),
        JsonPayloadError::Deserialize(reason) => unreadable(reason),
        JsonPayloadError::Serialize(_) => Problem::internal(),
        _ => Problem::bad_request("INVALID_BODY", "The body ended early or could not be read."),
    }
}

fn unreadable(reason: &serde_json::Error) -> Problem {
    let text = reason.to_string();
    match reason.classify() {
        Category::Data if text.starts_with("unknown field") => Problem::bad_request("UNKNOWN_FIELD", text),
        Category::Data => Problem::unprocessable(vec![FieldError::new("", "INVALID_FIELD", text)]),
        Category::Io | Category::Syntax | Category::Eof => {
            Problem::bad_request("INVALID_JSON", format!("The body is not JSON: {text}."))
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use actix_web::{App, get, post};
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Permit {
        #[serde(rename = "number")]
        _number: u32,
    }

    #[post("/permits")]
    async fn create(_: web::Json<Permit>) -> HttpResponse {
        HttpResponse::Created().finish()
    }

    #[get("/permits/{id}")]
    async fn show(_: web::Path<u32>, _: web::Query<Permit>) -> HttpResponse {
        HttpResponse::Ok().finish()
    }

    async fn code_of(request: TestRequest) -> (u16, String) {
        let resource =
            web::resource("/plain").route(web::get().to(HttpResponse::Ok)).default_service(web::to(unmatched));
        let app = App::new().configure(configure(64)).service(web::scope("/api").service(create).service(show));
        let app = init_service(app.service(resource)).await;
        let response = call_service(&app, request.to_request()).await;
        let status = response.status().as_u16();
        assert_eq!(response.headers().get("content-type").unwrap(), super::super::CONTENT_TYPE);
        let body: Value = read_body_json(response).await;
        assert_eq!(body["status"], status);
        (status, body["code"].as_str().unwrap().to_owned())
    }

    fn post(body: &'static str) -> TestRequest {
        TestRequest::post().uri("/api/permits").insert_header(("content-type", "application/json")).set_payload(body)
    }

    #[actix_web::test]
    async fn what_extractors_refuse_is_a_problem() {
        let long = r#"{"number": 1                                                     }"#;
        let cases = [
            (post("{"), 400, "INVALID_JSON"),
            (post(r#"{"number":1,"x":2}"#), 400, "UNKNOWN_FIELD"),
            (post(r#"{"number":"one"}"#), 422, "INVALID_FIELD"),
            (post(r"{}"), 422, "INVALID_FIELD"),
            (post(long), 413, "PAYLOAD_TOO_LARGE"),
            (TestRequest::post().uri("/api/permits").set_payload("number=1"), 415, "UNSUPPORTED_MEDIA_TYPE"),
            (TestRequest::get().uri("/api/permits/seven"), 404, "NOT_FOUND"),
            (TestRequest::get().uri("/api/permits/7?number=x"), 400, "INVALID_QUERY"),
        ];
        for (request, status, code) in cases {
            assert_eq!(code_of(request).await, (status, code.to_owned()));
        }
    }

    #[actix_web::test]
    async fn an_unknown_address_is_404_and_an_unknown_method_405() {
        let (not_found, refused) = ((404, "NOT_FOUND".to_owned()), (405, "METHOD_NOT_ALLOWED".to_owned()));
        assert_eq!(code_of(TestRequest::get().uri("/api/nothing")).await, not_found);
        assert_eq!(code_of(TestRequest::delete().uri("/api/permits")).await, refused);
        assert_eq!(code_of(TestRequest::put().uri("/api/permits/7")).await, refused);
        assert_eq!(code_of(TestRequest::put().uri("/plain")).await, refused);
    }
}
