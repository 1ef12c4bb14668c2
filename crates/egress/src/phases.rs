//! How long each step of a request took. The connector writes down its steps as it takes them, so
//! that they are known even where the deadline cut it off in the middle of one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

tokio::task_local! {
    /// The course of the request that is being polled: of a request, the client tells its connector the URL only.
    pub(crate) static COURSE: Arc<Course>;
}

/// How long the steps of one request took; `None` for a step that was not taken.
///
/// A request over a connection that was open already has only `first_byte`. A step that failed or
/// was cut off has the time until then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Looking the name up; an address written as the host needs none.
    pub dns: Option<Duration>,
    /// Opening a TCP connection, with every address that was tried.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the start of the request to the end of the answer's headers.
    pub first_byte: Option<Duration>,
}

/// What a connector has done so far for the request that asked it for a connection.
#[derive(Debug, Default)]
pub(crate) struct Course {
    reached: Mutex<Reached>,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reached {
    pub(crate) phases: Phases,
    /// The address that was dialled, or is being dialled.
    pub(crate) address: Option<SocketAddr>,
}

/// A step that only a connector takes.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    Dns,
    Connect,
    Tls,
}

impl Course {
    pub(crate) fn reached(&self) -> Reached {
        *self.lock()
    }

    pub(crate) fn dials(&self, address: SocketAddr) {
        self.lock().address = Some(address);
    }

    /// Does the work of a step and notes how long it took, however it ends.
    pub(crate) async fn timed<T>(&self, step: Step, work: impl Future<Output = T>) -> T {
        let _watch = Stopwatch { course: self, step, began: Instant::now() };
        work.await
    }

    fn lock(&self) -> MutexGuard<'_, Reached> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the time of its step when it is dropped, and so when the step is cut off too.
struct Stopwatch<'a> {
    course: &'a Course,
    step: Step,
    began: Instant,
}

impl Drop for Stopwatch<'_> {
    fn drop(&mut self) {
        let took = Some(self.began.elapsed());
        let phases = &mut self.course.lock().phases;
        match self.step {
            Step::Dns => phases.dns = took,
            Step::Connect => phases.connect = took,
            Step::Tls => phases.tls = took,
        }
    }
}
