//! Sends requests through one pooled client. One deadline spans look-up, connection, TLS, headers
//! and body; at most `response_cap` bytes of an answer are ever kept.
//! This is the delivery's hot path: no URL is parsed and no client built per request.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::connector::Connector;
use crate::exchange::{Exchange, Pool};
use crate::failure::Failure;
use crate::headers;
use crate::limits::Limits;
use crate::phases::Phases;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::resolver::NameResolver;
use crate::target::Target;
use crate::tls;

const AGENT: HeaderValue = HeaderValue::from_static("Busbar/0.1");
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
/// A head of an answer that is still going on after so many bytes is no answer; as much is read ahead of a body.
const HEAD_LIMIT: usize = 32 * 1_024;
/// What one HTTP/2 stream may send ahead of our reading.
const STREAM_WINDOW: u32 = 64 * 1_024;
const CONNECTION_WINDOW: u32 = 1_024 * 1_024;

/// The client could not be built; its source says why.
#[derive(Debug, thiserror::Error)]
#[error("the outgoing HTTP client could not be built")]
pub struct Error(#[source] Box<dyn StdError + Send + Sync>);

/// The guarded client; a clone shares its connections.
#[derive(Clone)]
pub struct Egress {
    parts: Arc<Parts>,
}

struct Parts {
    pool: Pool,
    policy: Arc<Policy>,
    response_cap: usize,
    connection_age: Duration,
}

/// What the client takes from around it; by default all of it is the operating system's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Who is asked for names; the system's name servers where the list is empty.
    pub name_servers: Vec<SocketAddr>,
    /// A PEM file of authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// One POST to make.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Where it goes.
    pub target: &'a Target,
    /// The headers; those of the connection are refused, see [`crate::may_set`].
    pub headers: HeaderMap,
    /// The body, sent as it is.
    pub body: Bytes,
    /// For everything from look-up to the body's last byte.
    pub deadline: Duration,
}

/// A receiver's answer, whatever its status; redirects are answers like any other.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's first bytes, up to the cap, never decoded.
    pub body: Bytes,
    /// Whether the body went on, or broke off under a status other than 2xx.
    pub truncated: bool,
    /// From the start of the request.
    pub elapsed: Duration,
    /// The `Retry-After` header as sent.
    pub retry_after: Option<String>,
    /// How long each step took.
    pub phases: Phases,
    /// The address that answered.
    pub address: Option<SocketAddr>,
}

impl Egress {
    /// Builds the client and its empty pool.
    pub fn new(policy: Policy, limits: Limits) -> Result<Self, Error> {
        Self::with_surroundings(policy, limits, &Surroundings::default())
    }

    /// Builds a client that asks these name servers and no others; of an empty list, the system's.
    pub fn with_name_servers(policy: Policy, limits: Limits, name_servers: &[SocketAddr]) -> Result<Self, Error> {
        let surroundings = Surroundings { name_servers: name_servers.to_vec(), ..Surroundings::default() };
        Self::with_surroundings(policy, limits, &surroundings)
    }

    /// Builds a client in other surroundings than the operating system's.
    ///
    /// Files are read here and never again.
    pub fn with_surroundings(policy: Policy, limits: Limits, surroundings: &Surroundings) -> Result<Self, Error> {
        let policy = Arc::new(policy);
        let resolver = NameResolver::new(&surroundings.name_servers, &limits).map_err(|error| Error(error.into()))?;
        let tls = tls::connector(surroundings.ca_file.as_deref()).map_err(|error| Error(error.into()))?;
        let connector = Connector::new(Arc::clone(&policy), resolver, tls, limits.connect_timeout);
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits.idle_timeout)
            .pool_max_idle_per_host(limits.idle_per_host)
            .http1_max_buf_size(HEAD_LIMIT)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .build(connector);
        let Limits { response_cap, connection_age, .. } = limits;
        Ok(Self { parts: Arc::new(Parts { pool, policy, response_cap, connection_age }) })
    }

    /// The rules that this client keeps; [`Target::parse`] takes them.
    pub fn policy(&self) -> &Policy {
        &self.parts.policy
    }

    /// Posts once and reads the answer.
    ///
    /// A 2xx whose body stays incomplete at the deadline is a failure that keeps its status. Under
    /// any other status the answer stands without the rest of its body.
    pub async fn post(&self, request: Outgoing<'_>) -> Result<Answer, Failure> {
        self.send(Method::POST, request).await
    }

    /// Sends once with any method and reads the answer, as [`Egress::post`] does.
    pub async fn send(&self, method: Method, outgoing: Outgoing<'_>) -> Result<Answer, Failure> {
        let started = Instant::now();
        let deadline = outgoing.deadline;
        self.vet(&outgoing).map_err(|refusal| Failure::refused(refusal, started.elapsed()))?;

        let mut request = request(method, outgoing);
        let mut exchange = Exchange::new(&mut request, started);
        let outcome =
            tokio::time::timeout(deadline, exchange.run(&self.parts.pool, request, self.parts.response_cap)).await;
        let elapsed = started.elapsed();
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Failure::from_client(&*error, elapsed)),
            Err(_) => Some(Failure::timed_out(deadline, elapsed)),
        };
        exchange.end(failure, elapsed, self.parts.connection_age)
    }

    fn vet(&self, request: &Outgoing<'_>) -> Result<(), Refusal> {
        request.target.vet(&self.parts.policy)?;
        headers::vet(&request.headers)
    }
}

fn request(method: Method, outgoing: Outgoing<'_>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(outgoing.body));
    *request.method_mut() = method;
    *request.uri_mut() = outgoing.target.uri().clone();
    *request.headers_mut() = outgoing.headers;
    request.headers_mut().entry(USER_AGENT).or_insert(AGENT);
    request.headers_mut().entry(ACCEPT).or_insert(ANYTHING);
    request
}
