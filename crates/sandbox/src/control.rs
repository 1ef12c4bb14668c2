//! The control API under `/_sandbox/`: what was received, and what is answered next. It is for
//! whoever drives the sandbox from outside the process, and is never recorded itself.

use bytes::Bytes;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::control_script;
use crate::receiver::Shared;
use crate::recording::Received;
use crate::reply;
use crate::request::Request;
use crate::routes::{covers, without_query};

/// The paths that belong to the control API.
pub(crate) const ROOT: &str = "/_sandbox/";

/// Answers a request to the control API.
pub(crate) fn answer(shared: &Shared, request: &Request<'_>) -> Bytes {
    let path = path_parameter(request.path);
    let route = without_query(request.path).strip_prefix(ROOT).unwrap_or_default();
    match (request.method, route) {
        ("GET", "healthz") => reply::json(200, &json!({ "status": "ok" })),
        ("GET", "requests") => reply::json(200, &requests(shared, path.as_deref())),
        ("DELETE", "requests") => {
            shared.log.clear();
            reply::render(204, &[], &[])
        }
        ("PUT", "script") => match control_script::parse(request.body) {
            Ok(steps) => {
                shared.routes.set(path.as_deref().unwrap_or("/"), steps);
                reply::render(204, &[], &[])
            }
            Err(error) => reply::json(400, &json!({ "message": error.to_string() })),
        },
        (_, "healthz" | "requests" | "script") => reply::json(405, &json!({ "message": "method not allowed" })),
        _ => reply::json(404, &json!({ "message": "no such path" })),
    }
}

/// The `path` parameter of the query, decoded.
fn path_parameter(target: &str) -> Option<String> {
    let (_, query) = target.split_once('?')?;
    form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "path").map(|(_, path)| path.into_owned())
}

fn requests(shared: &Shared, path: Option<&str>) -> Value {
    shared
        .log
        .requests()
        .iter()
        .filter(|received| path.is_none_or(|path| covers(path, without_query(&received.path))))
        .map(show)
        .collect()
}

fn show(received: &Received) -> Value {
    let mut headers = serde_json::Map::new();
    for (name, value) in &received.headers {
        let shown = headers.entry(name.to_ascii_lowercase()).or_insert_with(|| json!(""));
        *shown = match shown.as_str() {
            Some("") | None => json!(value),
            Some(earlier) => json!(format!("{earlier}, {value}")),
        };
    }
    json!({
        "method": received.method,
        "path": received.path,
        "headers": headers,
        "body": String::from_utf8_lossy(&received.body),
        "received_at_ms": received.unix_nanos / 1_000_000,
        "received_at_ns": received.unix_nanos,
    })
}
