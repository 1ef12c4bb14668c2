//! Connections with deadlines. The library's own recovery stays off: each side rebuilds its connection itself.
//! Every call to the broker goes through [`within`], since a blocked or half-open connection never answers.

use std::future::Future;
use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use secrecy::ExposeSecret;

use crate::config::Config;
use crate::error::Error;

/// How long the broker may take to answer one call.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// In seconds; a peer that fell silent is noticed after two of these and half of one.
const HEARTBEAT: u16 = 8;

/// Wake-ups are small; the library reserves 64 frames of this size per connection.
const FRAME_MAX: u32 = 16 * 1024;

const GOODBYE: Duration = Duration::from_secs(1);
const REPLY_SUCCESS: u16 = 200;

/// Awaits an answer of the broker under [`DEADLINE`].
pub(crate) async fn within<T>(doing: &'static str, call: impl Future<Output = lapin::Result<T>>) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Error::broker(doing, error)),
        Err(_) => Err(Error::Deadline { doing, after: DEADLINE }),
    }
}

/// Opens a connection that operators see as `busbar <name>`.
pub(crate) async fn connect(config: &Config, name: &str) -> Result<Connection, Error> {
    let mut uri = parse(config)?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    uri.query.frame_max.get_or_insert(FRAME_MAX);
    let properties = ConnectionProperties::default().with_connection_name(format!("busbar {name}").into());
    within("connect to the broker", Connection::connect_uri(uri, properties)).await
}

/// Reads the URL, so that a wrong one is an error at the start and not one that is tried again for ever.
pub(crate) fn parse(config: &Config) -> Result<AMQPUri, Error> {
    config.url.expose_secret().parse().map_err(|_| Error::Url)
}

/// Opens a channel.
pub(crate) async fn open_channel(connection: &Connection) -> Result<Channel, Error> {
    within("open a channel", connection.create_channel()).await
}

/// Says goodbye where the broker still listens; what is unacked on the connection is then queued again.
pub(crate) async fn close(connection: &Connection) {
    let goodbye = connection.close(REPLY_SUCCESS, "OK".into());
    if !matches!(tokio::time::timeout(GOODBYE, goodbye).await, Ok(Ok(()))) {
        tracing::debug!("the connection was gone before it was closed");
    }
}
