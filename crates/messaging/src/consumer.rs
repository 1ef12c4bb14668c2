//! The batch consumer: one connection, one channel, manual acks in groups, rebuilt whenever it breaks.
//! A message is acked after its batch is settled and never before; nothing is requeued to wait.

use std::time::{Duration, Instant};

use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use metrics::{counter, histogram};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::{Config, HealthReport};
use crate::connection::{self, close, connect, open_channel, within};
use crate::error::Error;
use crate::handler::Handler;
use crate::intake::{Batch, Intake};
use crate::settle::{Settled, Settling};
use crate::topology::{Queue, check};
use crate::unreadable::set_aside;

/// A connection that lived this long was a good one: the next try begins at the shortest wait.
const SETTLED: Duration = Duration::from_secs(5);

const TAG: &str = "busbar";

/// Consumes `queue` until `stop`, on a connection of its own; many consumers may share a queue.
///
/// Up to `prefetch` messages are held unacked, two batches' worth, and up to `max_ids` ids go into one call of
/// `handler`; a single message may hold more. On `stop` the batch in hand is finished and acked, one that only waits to
/// be tried again is given back. Fails only on a URL that cannot be read; all else is told to `health` and tried again.
pub async fn consume<H: Handler>(
    config: Config,
    queue: Queue,
    prefetch: u16,
    max_ids: usize,
    handler: H,
    health: HealthReport,
    stop: CancellationToken,
) -> Result<(), Error> {
    connection::parse(&config)?;
    // Zero would mean no limit at all.
    let prefetch = prefetch.max(1);
    let consumer = Consumer { config, queue, prefetch, max_ids, handler, health, stop };
    let mut backoff = Backoff::of_connections();
    loop {
        let begun = Instant::now();
        let Err(error) = consumer.session().await else { return Ok(()) };
        tracing::warn!(queue = queue.name(), %error, "the consumer lost the broker");
        if consumer.stop.is_cancelled() {
            return Ok(());
        }
        (consumer.health)(Err(error.to_string()));
        if begun.elapsed() > SETTLED {
            backoff.reset();
        }
        backoff.pause(&consumer.stop).await;
    }
}

struct Consumer<H> {
    config: Config,
    queue: Queue,
    prefetch: u16,
    max_ids: usize,
    handler: H,
    health: HealthReport,
    stop: CancellationToken,
}

impl<H: Handler> Consumer<H> {
    /// One connection from its opening until it breaks or the consumer stops.
    async fn session(&self) -> Result<(), Error> {
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = self.stop.cancelled() => return Ok(()),
        };
        let (connection, channel, mut intake) = opened?;
        (self.health)(Ok(()));
        let ended = self.work(&channel, &mut intake).await;
        if ended.is_ok() {
            within("stop consuming", channel.basic_cancel(TAG.into(), BasicCancelOptions::default())).await?;
        }
        close(&connection).await;
        ended
    }

    async fn open(&self) -> Result<(Connection, Channel, Intake), Error> {
        let connection = connect(&self.config, &format!("consumer of {}", self.queue.name())).await?;
        check(&connection, &self.config.namespace, self.queue).await?;
        let channel = open_channel(&connection).await?;
        within("set the prefetch", channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        let name = self.queue.full_name(&self.config.namespace);
        let options = BasicConsumeOptions::default();
        let started = channel.basic_consume(name.as_str().into(), TAG.into(), options, FieldTable::default());
        let stream = within("start to consume", started).await?;
        let intake = Intake::new(stream, self.queue, name, usize::from(self.prefetch), self.max_ids);
        Ok((connection, channel, intake))
    }

    async fn work(&self, channel: &Channel, intake: &mut Intake) -> Result<(), Error> {
        loop {
            let batch = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                batch = intake.next() => batch?,
            };
            let Batch { ids, trace, last, messages, aside } = batch;
            self.count(messages, ids.len());
            if !aside.is_empty() {
                set_aside(&self.config, self.queue, aside).await?;
            }
            let alive = || channel.status().connected();
            let settling = Settling { handler: &self.handler, queue: self.queue, stop: &self.stop, alive };
            match settling.settle(ids, trace).await {
                Settled::Done => {
                    within("ack", channel.basic_ack(last, BasicAckOptions { multiple: true })).await?;
                }
                Settled::Stopped => {
                    let options = BasicNackOptions { multiple: true, requeue: true };
                    return within("give a batch back", channel.basic_nack(last, options)).await;
                }
                // The next call on the channel would say the same, with the reason.
                Settled::Lost => return Err(Error::Cancelled { queue: self.queue.full_name(&self.config.namespace) }),
            }
        }
    }

    fn count(&self, messages: usize, ids: usize) {
        let queue = self.queue.name();
        counter!("busbar_wakeups_consumed_total", "queue" => queue).increment(messages as u64);
        #[expect(clippy::cast_precision_loss, reason = "batches are small")]
        histogram!("busbar_wakeup_batch_ids", "queue" => queue).record(ids as f64);
    }
}
