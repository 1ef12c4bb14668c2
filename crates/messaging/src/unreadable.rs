//! Messages that no consumer of this version can read are set aside in one queue that alarms, never dropped.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::AMQPValue;
use lapin::{BasicProperties, Confirmation};
use metrics::counter;

use crate::config::Config;
use crate::connection::{close, connect, open_channel, within};
use crate::error::Error;
use crate::topology::{Queue, UNREADABLE, full_name};
use crate::wakeup::Unreadable;

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
    let connection = connect(config, "unreadable wake-ups").await?;
    let channel = open_channel(&connection).await?;
    within("ask for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let target = full_name(&config.namespace, UNREADABLE);
    for Aside { reason, message, properties } in messages {
        tracing::error!(queue = queue.name(), %reason, bytes = message.len(), "a wake-up is unreadable and set aside");
        let properties = with_reason(properties, queue, &reason);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirmed = async {
            channel.basic_publish("".into(), target.as_str().into(), options, &message, properties).await?.await
        };
        match within("set an unreadable wake-up aside", confirmed).await? {
            Confirmation::Ack(None) => {
                counter!("busbar_wakeups_unreadable_total", "queue" => queue.name()).increment(1);
            }
            Confirmation::Ack(Some(_)) | Confirmation::Nack(_) | Confirmation::NotRequested => {
                return Err(Error::Refused { queue: target });
            }
        }
    }
    close(&connection).await;
    Ok(())
}

/// The message's own properties, persistent, and where it was found and what was wrong.
fn with_reason(properties: BasicProperties, queue: Queue, reason: &Unreadable) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert("x-busbar-queue".into(), AMQPValue::LongString(queue.name().into()));
    headers.insert("x-busbar-reason".into(), AMQPValue::LongString(reason.to_string().into()));
    properties.with_headers(headers).with_delivery_mode(2)
}
