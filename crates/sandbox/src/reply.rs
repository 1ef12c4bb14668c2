//! Writes answers as bytes, once per script and not once per request.

use std::fmt::Write;

use bytes::Bytes;

/// A whole answer; `Content-Length` is added unless the headers have one or the status has no body.
pub(crate) fn render(status: u16, headers: &[(String, String)], body: &[u8]) -> Bytes {
    let mut bytes = head(status, headers, Some(body.len()));
    bytes.extend_from_slice(body);
    Bytes::from(bytes)
}

/// The head of an answer, its empty line included.
pub(crate) fn head(status: u16, headers: &[(String, String)], length: Option<usize>) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    let is_framed = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let has_body = status >= 200 && status != 204 && status != 304;
    if let Some(length) = length.filter(|_| has_body && !is_framed) {
        let _ = write!(text, "Content-Length: {length}\r\n");
    }
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text += "\r\n";
    text.into_bytes()
}

/// A JSON answer of the control API.
pub(crate) fn json(status: u16, value: &serde_json::Value) -> Bytes {
    let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
    render(status, &headers, value.to_string().as_bytes())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Scripted",
    }
}
