//! Which headers a caller may put on a request: all but those that frame the message or steer the
//! connection, since a tenant who sets one could smuggle a second request.

use http::header::{self, HeaderMap, HeaderName};

use crate::refusal::Refusal;

const OF_THE_CONNECTION: [HeaderName; 11] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
];

/// Whether a caller may set the header.
pub fn may_set(name: &HeaderName) -> bool {
    !OF_THE_CONNECTION.contains(name)
}

/// Refuses a request that sets a header of the connection.
pub(crate) fn vet(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.keys().all(may_set) { Ok(()) } else { Err(Refusal::HeaderNotAllowed) }
}
