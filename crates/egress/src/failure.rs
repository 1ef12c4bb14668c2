//! What a request without an answer came to. Tenants read the details, so they are coarse
//! sentences of our own: a library's text would tell which addresses and ports lie behind a name.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::AlertDescription;

use crate::connector::ConnectError;
use crate::phases::{Phases, Reached};
use crate::refusal::Refusal;
use crate::resolver::LookupError;

const HANDSHAKE_FAILED: &str = "The TLS handshake failed.";

/// Where a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The guard said no; nothing was sent.
    Refused,
    /// The name did not resolve.
    Dns,
    /// No connection came about.
    Connect,
    /// The connection could not be secured.
    Tls,
    /// The deadline passed; whether the receiver has acted on the request is unknown.
    Timeout,
    /// The connection broke, or what came back is not HTTP.
    Protocol,
}

impl FailureClass {
    /// The stable word for logs, metrics and attempts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
        }
    }
}

/// A request that got no whole answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// Where it ended.
    pub class: FailureClass,
    /// A sentence fit for the tenant.
    pub detail: String,
    /// The status, where the answer had begun.
    pub status: Option<u16>,
    /// From the start of the request.
    pub elapsed: Duration,
    /// The guard's reason, where the class is [`FailureClass::Refused`].
    pub refusal: Option<Refusal>,
    /// How long each step took.
    pub phases: Phases,
    /// The address that was dialled last, or that the open connection led to. It is for operators' eyes.
    pub address: Option<SocketAddr>,
}

impl Failure {
    fn new(class: FailureClass, detail: impl Into<String>, elapsed: Duration) -> Self {
        let (phases, address) = (Phases::default(), None);
        Self { class, detail: detail.into(), status: None, elapsed, refusal: None, phases, address }
    }

    pub(crate) fn refused(refusal: Refusal, elapsed: Duration) -> Self {
        let failure = Self::new(FailureClass::Refused, refusal.sentence(), elapsed);
        Self { refusal: Some(refusal), ..failure }
    }

    pub(crate) fn timed_out(deadline: Duration, elapsed: Duration) -> Self {
        let detail = format!("No complete answer came within {} ms.", deadline.as_millis());
        Self::new(FailureClass::Timeout, detail, elapsed)
    }

    pub(crate) fn without_answer(elapsed: Duration) -> Self {
        let detail = "The receiver closed the connection early or did not answer in HTTP.";
        Self::new(FailureClass::Protocol, detail, elapsed)
    }

    /// The same failure with what is known of its connection.
    pub(crate) fn reached(self, reached: Reached) -> Self {
        Self { phases: reached.phases, address: reached.address, ..self }
    }

    /// Reads the client's error by the types in its chain, never by its text.
    pub(crate) fn from_client(error: &(dyn StdError + 'static), elapsed: Duration) -> Self {
        let mut broken = false;
        let mut cause = Some(error);
        while let Some(current) = cause {
            if let Some(failure) = Self::from_cause(current, elapsed) {
                return failure;
            }
            broken |= current.downcast_ref::<io::Error>().is_some_and(|io| is_break(io.kind()));
            cause = beneath(current);
        }
        if broken {
            Self::new(FailureClass::Protocol, "The receiver broke the connection off.", elapsed)
        } else {
            Self::without_answer(elapsed)
        }
    }

    fn from_cause(cause: &(dyn StdError + 'static), elapsed: Duration) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<ConnectError>() {
            return Some(Self::from_connector(error, elapsed));
        }
        let error = cause.downcast_ref::<rustls::Error>()?;
        Some(Self::new(FailureClass::Tls, tls_detail(error), elapsed))
    }

    fn from_connector(error: &ConnectError, elapsed: Duration) -> Self {
        let (class, detail) = match error {
            ConnectError::Refused(refusal) => return Self::refused(*refusal, elapsed),
            ConnectError::Lookup(LookupError::NotFound) => {
                (FailureClass::Dns, "The host's name could not be resolved.")
            }
            ConnectError::Lookup(LookupError::TimedOut) => {
                (FailureClass::Dns, "The host's name was not resolved in time.")
            }
            ConnectError::Unreachable(_) => (FailureClass::Connect, "The receiver accepted no connection."),
            ConnectError::Insecure(error) => {
                let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                (FailureClass::Tls, reason.map_or(HANDSHAKE_FAILED, tls_detail))
            }
            ConnectError::TimedOut => (FailureClass::Timeout, "No connection was established in time."),
        };
        Self::new(class, detail, elapsed)
    }
}

/// The next error of a chain; an I/O error hides from `source` the error that it was made of.
fn beneath<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn tls_detail(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(reason) => certificate_detail(reason),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "The receiver asks for a client certificate, and there is none."
        }
        _ => HANDSHAKE_FAILED,
    }
}

fn certificate_detail(reason: &rustls::CertificateError) -> &'static str {
    use rustls::CertificateError as Reason;
    match reason {
        Reason::Expired | Reason::ExpiredContext { .. } => "The receiver's certificate has expired.",
        Reason::NotValidForName | Reason::NotValidForNameContext { .. } => {
            "The receiver's certificate is for another name."
        }
        Reason::UnknownIssuer => "The receiver's certificate comes from an unknown authority.",
        Reason::Revoked => "The receiver's certificate was revoked.",
        _ => "The receiver's certificate is not valid.",
    }
}

fn is_break(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}
