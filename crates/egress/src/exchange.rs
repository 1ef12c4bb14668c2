//! One request on its way: what has arrived of its answer so far, and over which connection. Both
//! outlive the deadline, so that an attempt that ran out of time still has its status and its times.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{Extensions, HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};

use crate::client::Answer;
use crate::connector::Connector;
use crate::failure::Failure;
use crate::phases::{COURSE, Course, Reached};
use crate::wire::Made;

/// Longer `Retry-After` values are no delay and no date.
const MAX_RETRY_AFTER: usize = 64;

/// The pooled client under the door.
pub(crate) type Pool = Client<Connector, Full<Bytes>>;

/// A request that is being made.
pub(crate) struct Exchange {
    started: Instant,
    course: Arc<Course>,
    connection: CaptureConnection,
    head: Option<Head>,
    body: BytesMut,
    is_cut: bool,
}

/// What is there once the headers are.
struct Head {
    status: u16,
    headers: HeaderMap,
    made: Option<Made>,
    at: Duration,
}

impl Exchange {
    pub(crate) fn new(request: &mut Request<Full<Bytes>>, started: Instant) -> Self {
        let connection = capture_connection(request);
        Self { started, course: Arc::default(), connection, head: None, body: BytesMut::new(), is_cut: false }
    }

    /// Sends the request and takes in what comes back, up to `cap` bytes of a body.
    pub(crate) async fn run(
        &mut self,
        pool: &Pool,
        request: Request<Full<Bytes>>,
        cap: usize,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let response = COURSE.scope(Arc::clone(&self.course), pool.request(request)).await?;
        let (mut head, mut body) = response.into_parts();
        self.head = Some(Head {
            status: head.status.as_u16(),
            headers: head.headers,
            made: head.extensions.remove(),
            at: self.started.elapsed(),
        });
        while let Some(frame) = body.frame().await {
            let Ok(chunk) = frame?.into_data() else { continue };
            let room = cap - self.body.len();
            // Copying lets the connection reuse its buffer, of which a chunk is a slice.
            self.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                self.is_cut = true;
                break;
            }
        }
        Ok(())
    }

    /// What the request came to, where `failure` ended it, if anything did.
    ///
    /// A connection that failed or is older than `age` is not used again.
    pub(crate) fn end(self, failure: Option<Failure>, elapsed: Duration, age: Duration) -> Result<Answer, Failure> {
        let reached = self.reached();
        let made = self.head.as_ref().and_then(|head| head.made.as_ref());
        if failure.is_some() || made.is_some_and(|made| made.at.elapsed() > age) {
            self.give_the_connection_up();
        }
        let (failed, Some(head)) = (failure.is_some(), self.head) else {
            return Err(failure.unwrap_or_else(|| Failure::without_answer(elapsed)).reached(reached));
        };
        match failure {
            Some(failure) if (200..300).contains(&head.status) => {
                Err(Failure { status: Some(head.status), ..failure }.reached(reached))
            }
            _ => Ok(Answer {
                status: head.status,
                retry_after: retry_after(&head.headers),
                headers: head.headers,
                body: self.body.freeze(),
                truncated: self.is_cut || failed,
                elapsed,
                phases: reached.phases,
                address: reached.address,
            }),
        }
    }

    /// How far this request came; a connection that another request had made took it no time to make.
    fn reached(&self) -> Reached {
        let made = self.head.as_ref().map_or_else(|| self.made(), |head| head.made.clone());
        let mut reached = match made {
            Some(made) if !Arc::ptr_eq(&made.course, &self.course) => {
                Reached { address: Some(made.address), ..Reached::default() }
            }
            Some(_) | None => self.course.reached(),
        };
        reached.phases.first_byte = self.head.as_ref().map(|head| head.at);
        reached
    }

    /// How the connection came about that carries the request, once one does.
    fn made(&self) -> Option<Made> {
        let mut facts = Extensions::new();
        self.connection.connection_metadata().as_ref()?.get_extras(&mut facts);
        facts.remove()
    }

    /// Sees to it that no later request uses the connection; HTTP/2 would share it on.
    fn give_the_connection_up(&self) {
        if let Some(connected) = self.connection.connection_metadata().as_ref() {
            connected.poison();
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(RETRY_AFTER).filter(|value| value.len() <= MAX_RETRY_AFTER)?;
    value.to_str().ok().map(str::to_owned)
}
