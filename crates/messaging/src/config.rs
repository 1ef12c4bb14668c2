//! What the broker is called, where our queues stand on it, and how the caller hears of our health.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use secrecy::SecretString;
use serde::Deserialize;

use crate::error::Error;

/// Told `Ok` when the broker can be used and the reason when it cannot; called on each change, from any thread.
pub type HealthReport = Arc<dyn Fn(Result<(), String>) + Send + Sync>;

/// How to reach the broker and which queues on it are ours.
#[derive(Clone, Debug)]
pub struct Config {
    /// `amqp://` or `amqps://` with user, password and vhost; a `heartbeat` in its query wins over ours.
    pub url: SecretString,
    /// What the names of all our queues begin with.
    pub namespace: Namespace,
    /// The type of every queue.
    pub queue_type: QueueType,
    /// From how many waiting ids on a queue is saturated.
    pub backlog_limit: u32,
}

/// What the names of our queues begin with: 1 to 64 of `a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Namespace(String);

impl Namespace {
    /// Reads a namespace.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
            return Err(Error::Namespace);
        }
        Ok(Self(text.to_owned()))
    }

    /// The namespace as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Namespace {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the broker keeps a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    /// On one node; wake-ups are transient, and a broker restart loses hints only.
    #[default]
    Classic,
    /// Replicated, for clusters of three nodes; wake-ups are persistent.
    Quorum,
}

impl QueueType {
    /// The value of `x-queue-type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }

    /// The AMQP delivery mode of wake-ups: 1 is transient, 2 persistent.
    pub(crate) const fn delivery_mode(self) -> u8 {
        match self {
            Self::Classic => 1,
            Self::Quorum => 2,
        }
    }
}

impl FromStr for QueueType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Classic, Self::Quorum].into_iter().find(|kind| kind.as_str() == text).ok_or(Error::QueueType)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_plain_text() {
        assert_eq!(Namespace::parse("busbar").unwrap().as_str(), "busbar");
        for bad in ["", "Busbar", "a b", "ü", "a/b", &"x".repeat(65)] {
            assert!(Namespace::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_config_does_not_show_its_password() {
        let config = Config {
            url: "amqp://user:hunter2@broker/".into(),
            namespace: Namespace::parse("n").unwrap(),
            queue_type: "classic".parse().unwrap(),
            backlog_limit: 1,
        };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
