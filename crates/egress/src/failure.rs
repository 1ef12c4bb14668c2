//! What a request without an answer came to. Tenants read the details, so they are coarse
//! sentences of our own: a library's text would tell which addresses and ports lie behind a name.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use crate::refusal::Refusal;
use crate::resolver::LookupError;

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
}

impl Failure {
    pub(crate) fn new(class: FailureClass, detail: impl Into<String>, elapsed: Duration) -> Self {
        Self { class, detail: detail.into(), status: None, elapsed, refusal: None }
    }

    pub(crate) fn refused(refusal: Refusal, elapsed: Duration) -> Self {
        let failure = Self::new(FailureClass::Refused, refusal.sentence(), elapsed);
        Self { refusal: Some(refusal), ..failure }
    }

    pub(crate) fn timed_out(deadline: Duration, elapsed: Duration) -> Self {
        let detail = format!("No complete answer came within {} ms.", deadline.as_millis());
        Self::new(FailureClass::Timeout, detail, elapsed)
    }

    /// Reads the client's error by the types in its chain, never by its text.
    pub(crate) fn from_client(error: &reqwest::Error, elapsed: Duration) -> Self {
        let mut broken = false;
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(current) = cause {
            if let Some(failure) = Self::from_cause(current, elapsed) {
                return failure;
            }
            let io = current.downcast_ref::<io::Error>();
            broken |= io.is_some_and(|io| is_break(io.kind()));
            // An I/O error hides the error that it was made of from `source`.
            cause = match io.and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => current.source(),
            };
        }

        let (class, detail) = if error.is_timeout() {
            (FailureClass::Timeout, "No connection was established in time.")
        } else if error.is_connect() {
            (FailureClass::Connect, "The receiver accepted no connection.")
        } else if broken {
            (FailureClass::Protocol, "The receiver broke the connection off.")
        } else {
            (FailureClass::Protocol, "The receiver closed the connection early or did not answer in HTTP.")
        };
        Self::new(class, detail, elapsed)
    }

    fn from_cause(cause: &(dyn StdError + 'static), elapsed: Duration) -> Option<Self> {
        if let Some(lookup) = cause.downcast_ref::<LookupError>() {
            return Some(match *lookup {
                LookupError::Refused(refusal) => Self::refused(refusal, elapsed),
                LookupError::NotFound => {
                    Self::new(FailureClass::Dns, "The host's name could not be resolved.", elapsed)
                }
                LookupError::TimedOut => {
                    Self::new(FailureClass::Dns, "The host's name was not resolved in time.", elapsed)
                }
            });
        }
        let detail = match cause.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidCertificate(reason) => certificate_detail(reason),
            _ => "The TLS handshake failed.",
        };
        Some(Self::new(FailureClass::Tls, detail, elapsed))
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
