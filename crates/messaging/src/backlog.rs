//! How much waits in each queue, read twice a second by passive declares on a channel of their own.
//! The same look finds a queue that is missing and one that came back.

use std::sync::Arc;
use std::time::Duration;

use lapin::{Channel, Connection};
use metrics::gauge;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{Config, HealthReport};
use crate::connection::open_channel;
use crate::error::Error;
use crate::publisher::State;
use crate::topology::{Queue, UNREADABLE, depth, full_name};

const EVERY: Duration = Duration::from_millis(500);

/// Keeps the publisher's picture of the queues fresh.
pub(crate) struct Backlog {
    config: Config,
    state: Arc<State>,
    health: HealthReport,
    channel: Option<Channel>,
}

impl Backlog {
    pub(crate) fn new(config: &Config, state: Arc<State>, health: HealthReport) -> Self {
        Self { config: config.clone(), state, health, channel: None }
    }

    /// Looks at every queue once; true when one went missing or came back.
    pub(crate) async fn read(&mut self, connection: &Connection) -> Result<bool, Error> {
        let mut changed = false;
        for queue in Queue::all() {
            let depth = self.depth(connection, queue.name()).await?;
            changed |= self.state.set_depth(queue, depth);
        }
        self.depth(connection, UNREADABLE).await?;
        Ok(changed)
    }

    /// Looks every half second until the connection fails, and tells `health` of each change.
    pub(crate) async fn watch(mut self, connection: &Connection) -> Error {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // A blocked connection is not read by the broker, so a question would only time out.
            if self.state.blocked() {
                continue;
            }
            match self.read(connection).await {
                Ok(true) => (self.health)(self.state.verdict(&self.config)),
                Ok(false) => {}
                Err(_) if self.state.blocked() => self.channel = None,
                Err(error) => return error,
            }
        }
    }

    /// The depth of one queue; where it is missing the broker closes the channel, and the next look opens another.
    async fn depth(&mut self, connection: &Connection, name: &'static str) -> Result<Option<u32>, Error> {
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => open_channel(connection).await?,
        };
        let found = depth(&channel, &full_name(&self.config.namespace, name)).await?;
        if let Some(messages) = found {
            gauge!("busbar_queue_depth_messages", "queue" => name).set(messages);
            self.channel = Some(channel);
        }
        Ok(found)
    }
}
