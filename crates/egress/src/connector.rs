//! Makes connections: looks the name up, vets every address, dials what was vetted, secures it.
//! Nothing is looked up twice, so an answer cannot change between check and use.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Uri;
use http::uri::Scheme;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::dial::dial;
use crate::permitted::Permitted;
use crate::phases::{COURSE, Course, Step};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::resolver::{LookupError, NameResolver};
use crate::wire::{Made, Wire};

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the host leads to a forbidden address")]
    Refused(#[from] Refusal),
    #[error("the host has no address")]
    Lookup(#[from] LookupError),
    #[error("no address accepts a connection")]
    Unreachable(#[source] io::Error),
    #[error("the connection cannot be secured")]
    Insecure(#[source] io::Error),
    #[error("the connection took too long")]
    TimedOut,
}

/// What opens every connection of the door; a clone shares everything.
#[derive(Clone)]
pub(crate) struct Connector {
    parts: Arc<Parts>,
}

struct Parts {
    policy: Arc<Policy>,
    resolver: NameResolver,
    tls: TlsConnector,
    timeout: Duration,
}

impl Connector {
    /// `timeout` is for everything from look-up to the end of the TLS handshake.
    pub(crate) fn new(policy: Arc<Policy>, resolver: NameResolver, tls: TlsConnector, timeout: Duration) -> Self {
        Self { parts: Arc::new(Parts { policy, resolver, tls, timeout }) }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (parts, course) = (Arc::clone(&self.parts), COURSE.try_with(Arc::clone).unwrap_or_default());
        Box::pin(async move {
            let connecting = tokio::time::timeout(parts.timeout, parts.connect(&uri, course));
            connecting.await.unwrap_or(Err(ConnectError::TimedOut)).map(TokioIo::new)
        })
    }
}

impl Parts {
    async fn connect(&self, uri: &Uri, course: Arc<Course>) -> Result<Wire, ConnectError> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let is_plain = uri.scheme() == Some(&Scheme::HTTP);
        let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });

        let answer = match host.parse::<IpAddr>() {
            Ok(literal) => vec![literal],
            Err(_) => course.timed(Step::Dns, self.resolver.look_up(host)).await?,
        };
        let permitted = Permitted::all_of(&answer, port, &self.policy)?;
        let dialled = course.timed(Step::Connect, dial(&permitted, &course)).await;
        let (stream, address) = dialled.map_err(ConnectError::Unreachable)?;
        let made = Made { course: Arc::clone(&course), address, at: Instant::now() };
        if is_plain {
            return Ok(Wire::plain(made, stream));
        }
        let name =
            ServerName::try_from(host.to_owned()).map_err(|error| ConnectError::Insecure(io::Error::other(error)))?;
        let secured = course.timed(Step::Tls, async { self.tls.connect(name, stream).await }).await;
        Ok(Wire::tls(made, secured.map_err(ConnectError::Insecure)?))
    }
}
