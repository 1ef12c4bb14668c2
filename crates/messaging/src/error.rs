//! What can go wrong with the broker. No text of an error holds the broker's URL.

use std::time::Duration;

use lapin::ErrorKind;

/// Why the broker could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not one of AMQP; its text stays out of the message, since it holds the password.
    #[error("the broker's URL cannot be read")]
    Url,
    /// Not a namespace.
    #[error("a namespace is 1 to 64 of a-z 0-9 . _ -")]
    Namespace,
    /// Not a queue type.
    #[error("the queue type is neither classic nor quorum")]
    QueueType,
    /// The broker did not answer.
    #[error("{doing}: no answer from the broker within {} s", .after.as_secs())]
    Deadline {
        /// What was asked of it.
        doing: &'static str,
        /// How long it was given.
        after: Duration,
    },
    /// A queue of the topology does not exist; `busbar topology apply` declares it.
    #[error("queue {queue} is missing")]
    MissingQueue {
        /// Its full name.
        queue: String,
    },
    /// The broker ended the consumer: its queue was deleted or its node left.
    #[error("the broker cancelled the consumer of {queue}")]
    Cancelled {
        /// The full name of the queue.
        queue: String,
    },
    /// The broker gave back a message that we published.
    #[error("the broker took no message for {queue}")]
    Refused {
        /// The full name of the queue.
        queue: String,
    },
    /// The connection or a channel of it failed.
    #[error("{doing}: {source}")]
    Broker {
        /// What was asked of the broker.
        doing: &'static str,
        /// What it, or the network, said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    pub(crate) fn broker(doing: &'static str, source: lapin::Error) -> Self {
        Self::Broker { doing, source: source.into() }
    }
}

/// Whether `error` says that a queue does not exist; the channel is closed then.
pub(crate) fn is_not_found(error: &lapin::Error) -> bool {
    const NOT_FOUND: u16 = 404;
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == NOT_FOUND)
}
