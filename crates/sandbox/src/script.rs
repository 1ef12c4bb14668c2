//! What the receiver answers: per path prefix a list of steps, taken in order.

use std::time::Duration;

use bytes::Bytes;

use crate::recording::Recording;

/// The receiver's behaviour at its start; paths can be changed while it runs.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub(crate) routes: Vec<(String, Vec<Step>)>,
    pub(crate) recording: Recording,
    pub(crate) controlled: bool,
}

impl Script {
    /// Answers one status everywhere, with an empty body.
    pub fn answering(status: u16) -> Self {
        Self::default().on("/", vec![Step::status(status)])
    }

    /// Sets the steps of a path and all paths below it; the longest match wins, the last step
    /// repeats. What no path covers is answered with 200.
    #[must_use]
    pub fn on(mut self, path: impl Into<String>, steps: Vec<Step>) -> Self {
        self.routes.push((path.into(), steps));
        self
    }

    /// Sets what is kept of the requests.
    #[must_use]
    pub fn recording(mut self, recording: Recording) -> Self {
        self.recording = recording;
        self
    }

    /// Serves the control API under `/_sandbox/`.
    #[must_use]
    pub fn controlled(mut self) -> Self {
        self.controlled = true;
        self
    }
}

/// One answer, a number of times.
#[derive(Clone, Debug)]
pub struct Step {
    /// The answer.
    pub answer: Answer,
    /// How often, or without end.
    pub times: Option<u32>,
}

impl Step {
    /// The answer from here on.
    pub fn new(answer: Answer) -> Self {
        Self { answer, times: None }
    }

    /// An empty answer with a status.
    pub fn status(status: u16) -> Self {
        Self::new(Answer::status(status))
    }

    /// Limits the step to a number of requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// How one request is answered; all but [`Answer::Status`] end the connection.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A well-formed answer.
    Status {
        /// The status code.
        status: u16,
        /// Headers; `Content-Length` is added unless it is among them.
        headers: Vec<(String, String)>,
        /// The body.
        body: Bytes,
        /// How long the answer waits once the request is read.
        delay: Duration,
    },
    /// Reads the request and never answers; the connection stays open.
    BlackHole,
    /// Answers as soon as the head is read and closes without reading the body.
    RefuseBody {
        /// The status code.
        status: u16,
    },
    /// A well-formed answer, slowly.
    Trickle {
        /// The status code.
        status: u16,
        /// The body.
        body: Bytes,
        /// The pace.
        bytes_per_second: u32,
        /// Where the slowness begins.
        part: Part,
    },
    /// 200 with a chunked body that goes on until the client leaves.
    EndlessChunked,
    /// Reads the request and resets the connection.
    Reset,
    /// Bytes that are not HTTP.
    Garbage,
}

/// A part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// From the first byte of the status line.
    Head,
    /// From the first byte of the body.
    Body,
}

impl Answer {
    /// An empty answer with a status.
    pub fn status(status: u16) -> Self {
        Self::Status { status, headers: Vec::new(), body: Bytes::new(), delay: Duration::ZERO }
    }

    /// Adds a header, if the answer is [`Answer::Status`].
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Self::Status { headers, .. } = &mut self {
            headers.push((name.into(), value.into()));
        }
        self
    }

    /// Sets the body, if the answer is [`Answer::Status`].
    #[must_use]
    pub fn with_body(mut self, text: impl Into<Bytes>) -> Self {
        if let Self::Status { body, .. } = &mut self {
            *body = text.into();
        }
        self
    }

    /// Delays the answer, if it is [`Answer::Status`].
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        if let Self::Status { delay, .. } = &mut self {
            *delay = time;
        }
        self
    }
}
