//! What the public listeners share: where a request carries its credential.

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;

/// The credential of `x-api-key`, else of `Authorization: Bearer`; `None` where neither is there.
///
/// Nothing of it is checked yet.
pub fn credential(request: &HttpRequest) -> Option<&str> {
    let header = |name: &str| request.headers().get(name)?.to_str().ok().map(str::trim);
    let bearer = || {
        let (scheme, token) = header(AUTHORIZATION.as_str())?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    };
    header("x-api-key").or_else(bearer).filter(|credential| !credential.is_empty())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn found(headers: &[(&'static str, &'static str)]) -> Option<String> {
        let request = headers.iter().fold(TestRequest::default(), |request, header| request.insert_header(*header));
        credential(&request.to_http_request()).map(str::to_owned)
    }

    #[test]
    fn a_credential_is_found_in_either_header() {
        assert_eq!(found(&[("x-api-key", "bb_k")]).as_deref(), Some("bb_k"));
        assert_eq!(found(&[("authorization", "Bearer bb_t")]).as_deref(), Some("bb_t"));
        assert_eq!(found(&[("authorization", "bearer  bb_t ")]).as_deref(), Some("bb_t"));
        assert_eq!(found(&[("authorization", "Basic eDp5")]), None);
        assert_eq!(found(&[("authorization", "Bearer ")]), None);
        assert_eq!(found(&[]), None);
    }
}
