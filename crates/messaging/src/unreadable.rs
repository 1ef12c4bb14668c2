//! Messages that no consumer of this version can read are set aside in one queue that alarms, never dropped.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::AMQPValue;
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use metrics::counter;
use uuid::Uuid;

use crate::config::Config;
use crate::connection::{close, connect, open_channel, within};
use crate::error::Error;
use crate::topology::{Queue, UNREADABLE, full_name};
use crate::wakeup::Unreadable;

/// The header that says in which queue a message was found.
pub(crate) const QUEUE_HEADER: &str = "x-busbar-queue";
/// The header that says why it could not be read.
pub(crate) const REASON_HEADER: &str = "x-busbar-reason";

/// A message that could not be read, and why.
pub(crate) struct Aside {
    pub(crate) reason: Unreadable,
    pub(crate) message: Vec<u8>,
    pub(crate) properties: BasicProperties,
}

/// Moves `messages` of `queue` aside and returns once the broker has them.
///
/// This is rare, so it has a connection for itself: one that publishes may be blocked, and acks must not be.
pub(crate) async fn set_aside(config: &Config, queue: Queue, messages: Vec<Aside>) -> Result<(), Error> {
    let (connection, channel) = open(config, "unreadable wake-ups").await?;
    let target = full_name(&config.namespace, UNREADABLE);
    for Aside { reason, message, properties } in messages {
        tracing::error!(queue = queue.name(), %reason, bytes = message.len(), "a wake-up is unreadable and set aside");
        publish(&channel, &target, &message, with_reason(properties, queue, &reason)).await?;
        counter!("busbar_wakeups_unreadable_total", "queue" => queue.name()).increment(1);
    }
    close(&connection).await;
    Ok(())
}

/// Puts bytes into a queue as they are, whether they can be read or not; for tests of what becomes of them.
pub async fn plant(config: &Config, queue: Queue, messages: &[&[u8]]) -> Result<(), Error> {
    let (connection, channel) = open(config, "planting").await?;
    for message in messages {
        publish(&channel, &queue.full_name(&config.namespace), message, BasicProperties::default()).await?;
    }
    close(&connection).await;
    Ok(())
}

async fn open(config: &Config, name: &str) -> Result<(Connection, Channel), Error> {
    let connection = connect(config, name).await?;
    let channel = open_channel(&connection).await?;
    within("ask for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok((connection, channel))
}

/// Publishes one message and returns once the broker has it.
async fn publish(channel: &Channel, target: &str, message: &[u8], properties: BasicProperties) -> Result<(), Error> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let confirmed =
        async { channel.basic_publish("".into(), target.into(), options, message, properties).await?.await };
    match within("put a message into a queue", confirmed).await? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) | Confirmation::Nack(_) | Confirmation::NotRequested => {
            Err(Error::Refused { queue: target.to_owned() })
        }
    }
}

/// The message's own properties, persistent, with a time, and where it was found and what was wrong.
fn with_reason(properties: BasicProperties, queue: Queue, reason: &Unreadable) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(QUEUE_HEADER.into(), AMQPValue::LongString(queue.name().into()));
    headers.insert(REASON_HEADER.into(), AMQPValue::LongString(reason.to_string().into()));
    let now = Uuid::now_v7().get_timestamp().map_or(0, |at| at.to_unix().0);
    let sent_at = properties.timestamp().unwrap_or(now);
    properties.with_headers(headers).with_timestamp(sent_at).with_delivery_mode(2)
}
