//! Sends requests through one pooled client. One deadline spans look-up, connection, TLS, headers
//! and body; at most `response_cap` bytes of an answer are ever kept.
//! This is the delivery's hot path: no URL is parsed and no client built per request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Method, Request};

use crate::failure::Failure;
use crate::headers;
use crate::limits::Limits;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::resolver::VettingResolver;
use crate::target::Target;

const USER_AGENT: &str = "Busbar/0.1";
/// Longer `Retry-After` values are no delay and no date.
const MAX_RETRY_AFTER: usize = 64;
/// What one HTTP/2 stream may send ahead of our reading.
const STREAM_WINDOW: u32 = 64 * 1_024;
const CONNECTION_WINDOW: u32 = 1_024 * 1_024;

/// The client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the outgoing HTTP client could not be built")]
pub struct Error(#[from] reqwest::Error);

/// The guarded client; a clone shares its connections.
#[derive(Clone)]
pub struct Egress {
    client: Client,
    policy: Arc<Policy>,
    response_cap: usize,
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
}

/// As much of an answer as has arrived.
struct Partial {
    status: u16,
    headers: HeaderMap,
    body: BytesMut,
    truncated: bool,
}

impl Egress {
    /// Builds the client and its empty pool.
    pub fn new(policy: Policy, limits: Limits) -> Result<Self, Error> {
        let policy = Arc::new(policy);
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .dns_resolver(VettingResolver::new(Arc::clone(&policy), &limits))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(limits.connect_timeout)
            .tcp_nodelay(true)
            .pool_idle_timeout(limits.idle_timeout)
            .pool_max_idle_per_host(limits.idle_per_host)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .build()?;
        Ok(Self { client, policy, response_cap: limits.response_cap })
    }

    /// The rules that this client keeps; [`Target::parse`] takes them.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Posts once and reads the answer.
    ///
    /// A 2xx whose body stays incomplete at the deadline is a failure that keeps its status. Under
    /// any other status the answer stands without the rest of its body.
    pub async fn post(&self, request: Outgoing<'_>) -> Result<Answer, Failure> {
        self.send(Method::POST, request).await
    }

    /// Sends once with any method and reads the answer, as [`Egress::post`] does.
    pub async fn send(&self, method: Method, request: Outgoing<'_>) -> Result<Answer, Failure> {
        let started = Instant::now();
        let deadline = request.deadline;
        self.vet(&request).map_err(|refusal| Failure::refused(refusal, started.elapsed()))?;

        let mut partial = None;
        let outcome = tokio::time::timeout(deadline, self.exchange(method, request, &mut partial)).await;
        let elapsed = started.elapsed();
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Failure::from_client(&error, elapsed)),
            Err(_) => Some(Failure::timed_out(deadline, elapsed)),
        };
        match (partial, failure) {
            (Some(partial), None) => Ok(partial.into_answer(elapsed)),
            (Some(partial), Some(failure)) if (200..300).contains(&partial.status) => {
                Err(Failure { status: Some(partial.status), ..failure })
            }
            (Some(partial), Some(_)) => Ok(Partial { truncated: true, ..partial }.into_answer(elapsed)),
            (None, failure) => Err(failure.unwrap_or_else(|| Failure::timed_out(deadline, elapsed))),
        }
    }

    fn vet(&self, request: &Outgoing<'_>) -> Result<(), Refusal> {
        request.target.vet(&self.policy)?;
        headers::vet(&request.headers)
    }

    /// Fills `partial` as the answer arrives, so that its status outlives a deadline.
    async fn exchange(
        &self,
        method: Method,
        outgoing: Outgoing<'_>,
        partial: &mut Option<Partial>,
    ) -> Result<(), reqwest::Error> {
        let mut request = Request::new(method, outgoing.target.url().clone());
        *request.headers_mut() = outgoing.headers;
        *request.body_mut() = Some(outgoing.body.into());

        let mut response = self.client.execute(request).await?;
        let answer = partial.insert(Partial {
            status: response.status().as_u16(),
            headers: std::mem::take(response.headers_mut()),
            body: BytesMut::new(),
            truncated: false,
        });
        // Copying lets the connection reuse its buffer, of which a chunk is a slice.
        while let Some(chunk) = response.chunk().await? {
            let room = self.response_cap - answer.body.len();
            if chunk.len() > room {
                answer.body.extend_from_slice(&chunk[..room]);
                answer.truncated = true;
                break;
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(())
    }
}

impl Partial {
    fn into_answer(self, elapsed: Duration) -> Answer {
        let retry_after = self
            .headers
            .get(RETRY_AFTER)
            .filter(|value| value.len() <= MAX_RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        Answer {
            status: self.status,
            headers: self.headers,
            body: self.body.freeze(),
            truncated: self.truncated,
            elapsed,
            retry_after,
        }
    }
}
