//! Takes what was set aside as unreadable out of its queue, so that it does not lie on the broker for ever.
//! A message is acked after it was stored and never before; what cannot be stored now stays in the queue.

use std::future::Future;
use std::time::{Duration, Instant};

use busbar_domain::Failure;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::{Config, HealthReport};
use crate::connection::{self, close, connect, open_channel, within};
use crate::error::Error;
use crate::seldom::Seldom;
use crate::topology::{UNREADABLE, depth, full_name};
use crate::unreadable::{QUEUE_HEADER, REASON_HEADER};

/// How many messages are taken at once; each may be long.
const MOST: u16 = 16;
/// The longest header that is believed, in characters.
const LONGEST: usize = 200;
/// A connection that lived this long was a good one: the next try begins at the shortest wait.
const SETTLED: Duration = Duration::from_secs(5);

const TAG: &str = "busbar";

/// A message that no consumer could read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The queue that it was found in, without namespace.
    pub queue: String,
    /// Why it could not be read, in a sentence.
    pub reason: String,
    /// When it was published, in seconds since 1970; when it was set aside, if its publisher did not say.
    pub sent_at: u64,
    /// The id that its publisher gave it; empty if there was none.
    pub message_id: String,
    /// The message, byte for byte.
    pub message: Vec<u8>,
}

/// Keeps messages that nobody could read.
pub trait Shelf: Send + Sync + 'static {
    /// Makes `messages` durable; they are gone from the broker when this has succeeded.
    ///
    /// The same messages may come again. After a failure they come again until they are taken.
    fn keep(&self, messages: Vec<Unread>) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Empties the queue of unreadable wake-ups into `shelf` until `stop`; many may do so at once.
///
/// Fails only on a URL that cannot be read; all else is told to `health` and tried again.
pub async fn consume_unreadable<S: Shelf>(
    config: Config,
    shelf: S,
    health: HealthReport,
    stop: CancellationToken,
) -> Result<(), Error> {
    connection::parse(&config)?;
    let name = full_name(&config.namespace, UNREADABLE);
    let emptying = Emptying { config, name, shelf, health, stop };
    let mut backoff = Backoff::of_connections();
    loop {
        let begun = Instant::now();
        let Err(error) = emptying.session().await else { return Ok(()) };
        tracing::warn!(queue = UNREADABLE, %error, "the consumer lost the broker");
        if emptying.stop.is_cancelled() {
            return Ok(());
        }
        (emptying.health)(Err(error.to_string()));
        if begun.elapsed() > SETTLED {
            backoff.reset();
        }
        backoff.pause(&emptying.stop).await;
    }
}

struct Emptying<S> {
    config: Config,
    name: String,
    shelf: S,
    health: HealthReport,
    stop: CancellationToken,
}

impl<S: Shelf> Emptying<S> {
    /// One connection from its opening until it breaks or the consumer stops; what is unacked then is queued again.
    async fn session(&self) -> Result<(), Error> {
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = self.stop.cancelled() => return Ok(()),
        };
        let (connection, channel, mut stream) = opened?;
        (self.health)(Ok(()));
        let ended = self.work(&channel, &mut stream).await;
        close(&connection).await;
        ended
    }

    async fn open(&self) -> Result<(Connection, Channel, lapin::Consumer), Error> {
        let connection = connect(&self.config, "consumer of unreadable wake-ups").await?;
        let looking = open_channel(&connection).await?;
        if depth(&looking, &self.name).await?.is_none() {
            return Err(Error::MissingQueue { queue: self.name.clone() });
        }
        let channel = open_channel(&connection).await?;
        within("set the prefetch", channel.basic_qos(MOST, BasicQosOptions::default())).await?;
        let options = BasicConsumeOptions::default();
        let started = channel.basic_consume(self.name.as_str().into(), TAG.into(), options, FieldTable::default());
        let stream = within("start to consume", started).await?;
        Ok((connection, channel, stream))
    }

    async fn work(&self, channel: &Channel, stream: &mut lapin::Consumer) -> Result<(), Error> {
        loop {
            let first = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                first = stream.next() => first,
            };
            let mut batch = vec![self.delivery(first)?];
            while batch.len() < usize::from(MOST)
                && let Some(next) = stream.next().now_or_never()
            {
                batch.push(self.delivery(next)?);
            }
            let Some(last) = batch.last().map(|delivery| delivery.delivery_tag) else { continue };
            let unread: Vec<Unread> = batch.into_iter().map(unread).collect();
            if !self.keep(channel, &unread).await? {
                return Ok(());
            }
            within("ack", channel.basic_ack(last, BasicAckOptions { multiple: true })).await?;
        }
    }

    fn delivery(&self, next: Option<lapin::Result<Delivery>>) -> Result<Delivery, Error> {
        match next {
            Some(Ok(delivery)) => Ok(delivery),
            Some(Err(error)) => Err(Error::broker("consume", error)),
            None => Err(Error::Cancelled { queue: self.name.clone() }),
        }
    }

    /// Offers messages to the shelf until it has taken them; false when the consumer stops before.
    async fn keep(&self, channel: &Channel, unread: &[Unread]) -> Result<bool, Error> {
        let mut backoff = Backoff::of_connections();
        let mut warned = Seldom::default();
        while let Err(error) = self.shelf.keep(unread.to_vec()).await {
            if let Some(count) = warned.due() {
                tracing::warn!(queue = UNREADABLE, messages = unread.len(), %error, count, "messages cannot be stored");
            }
            backoff.pause(&self.stop).await;
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            if !channel.status().connected() {
                return Err(Error::Cancelled { queue: self.name.clone() });
            }
        }
        Ok(true)
    }
}

fn unread(delivery: Delivery) -> Unread {
    let header = |name: &str| {
        let value = delivery.properties.headers().as_ref()?.inner().get(name)?;
        Some(text(value.as_long_string()?.as_bytes()))
    };
    Unread {
        queue: header(QUEUE_HEADER).unwrap_or_else(|| UNREADABLE.to_owned()),
        reason: header(REASON_HEADER).unwrap_or_else(|| "no reason was given".to_owned()),
        sent_at: delivery.properties.timestamp().unwrap_or_default(),
        message_id: delivery.properties.message_id().as_ref().map(ShortString::to_string).unwrap_or_default(),
        message: delivery.data,
    }
}

/// What somebody else wrote into a header, fit for a column and a line of a log.
fn text(bytes: &[u8]) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    String::from_utf8_lossy(bytes).chars().take(LONGEST).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_plain_and_bounded() {
        assert_eq!(text(b"a\0b\nc"), "a b c");
        assert_eq!(text(b"\xff"), "\u{fffd}");
        assert_eq!(text("ü".repeat(1000).as_bytes()), "ü".repeat(LONGEST));
    }
}
