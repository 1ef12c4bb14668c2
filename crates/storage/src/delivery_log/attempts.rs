//! The attempts of one delivery as the log keeps them.

use busbar_domain::Timestamp;
use busbar_domain::id::DeliveryId;
use sqlx::PgConnection;

use crate::Error;

/// One attempt as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct AttemptRow {
    /// Counted from 1.
    pub number: i32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: i64,
    /// The response's status, if there was a response.
    pub status: Option<i16>,
    /// The stable word for what went wrong.
    pub error_class: Option<String>,
    /// What went wrong, in a sentence.
    pub error: Option<String>,
    /// The start of the response's body.
    pub response_body: Option<Vec<u8>>,
    /// What was sent, as lines of `name: value`, with what is secret masked.
    pub request_headers: Option<Vec<u8>>,
    /// What came back, as lines of `name: value`; the start of it.
    pub response_headers: Option<Vec<u8>>,
    /// The address that was dialled.
    pub address: Option<String>,
    /// How long it took to resolve the name, in microseconds.
    pub dns_us: Option<i32>,
    /// How long it took to connect, in microseconds.
    pub connect_us: Option<i32>,
    /// How long the TLS handshake took, in microseconds.
    pub tls_us: Option<i32>,
    /// From the start to the first byte of the answer, in microseconds.
    pub first_byte_us: Option<i32>,
}

/// The attempts of a delivery, the first one first.
pub async fn attempts(conn: &mut PgConnection, id: DeliveryId) -> Result<Vec<AttemptRow>, Error> {
    let found = sqlx::query_as(
        "select number, started_at, duration_us, status, error_class, error, response_body, request_headers,
             response_headers, address, dns_us, connect_us, tls_us, first_byte_us
         from attempts where delivery_id = $1 order by number",
    )
    .bind(id.uuid())
    .fetch_all(conn);
    Ok(found.await?)
}
