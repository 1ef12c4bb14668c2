//! The task behind the publisher: pipelined publishes with confirms, each under a deadline, over one connection that
//! is rebuilt when it breaks. Unconfirmed wake-ups of a broken connection are sent once more; consumers expect repeats.
//! While the broker blocks, nothing is taken from the bounded inbox, so that memory stays flat.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Event};
use metrics::counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backlog::Backlog;
use crate::backoff::Backoff;
use crate::config::{Config, HealthReport};
use crate::connection::{DEADLINE, close, connect, open_channel, within};
use crate::error::Error;
use crate::publisher::{State, Wake};
use crate::seldom::Seldom;
use crate::topology::Queue;

/// How many confirms may be outstanding: more than this only adds latency.
const WINDOW: usize = 1000;

/// How many wake-ups are taken from the inbox at once.
const GULP: usize = 64;

/// How long a closing publisher tries to send what it still has.
const FLUSH: Duration = Duration::from_secs(5);

/// A connection that lived this long was a good one: the next try begins at the shortest wait.
const SETTLED: Duration = Duration::from_secs(5);

/// The broker's names of the queues, made once.
type Names = [String; Queue::COUNT];

/// The publisher's background task.
pub(crate) struct Publishing {
    config: Config,
    names: Names,
    health: HealthReport,
    state: Arc<State>,
    inbox: mpsc::Receiver<Wake>,
    closing: CancellationToken,
    /// Sent on a connection that broke, to be sent once more.
    again: VecDeque<Wake>,
    warned: Seldom,
}

/// What became of one publish.
enum Outcome {
    Confirmed,
    Refused,
    Late,
    Broken(lapin::Error),
}

impl Publishing {
    pub(crate) fn new(
        config: Config,
        health: HealthReport,
        state: Arc<State>,
        inbox: mpsc::Receiver<Wake>,
        closing: CancellationToken,
    ) -> Self {
        let mut names = Names::default();
        for queue in Queue::all() {
            names[queue.index()] = queue.full_name(&config.namespace);
        }
        Self { config, names, health, state, inbox, closing, again: VecDeque::new(), warned: Seldom::default() }
    }

    /// Works until closed and empty, or until the flush deadline after the close.
    pub(crate) async fn run(mut self) {
        let closing = self.closing.clone();
        let deadline = async {
            closing.cancelled().await;
            tokio::time::sleep(FLUSH).await;
        };
        let in_time = tokio::select! {
            () = self.reconnecting() => true,
            () = deadline => false,
        };
        self.state.set_connected(false);
        let left = self.inbox.len() + self.again.len();
        if !in_time {
            tracing::warn!(wakeups = left, "the publisher was closed before everything was confirmed");
        }
    }

    async fn reconnecting(&mut self) {
        let mut backoff = Backoff::of_connections();
        loop {
            let begun = Instant::now();
            let Err(error) = self.session().await else { return };
            self.state.set_connected(false);
            tracing::warn!(%error, "the publisher lost the broker");
            (self.health)(Err(error.to_string()));
            if begun.elapsed() > SETTLED {
                backoff.reset();
            }
            // A closing publisher still has something to send, so it waits here as well, under its deadline.
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// One connection from its opening until it breaks or the publisher is closed and empty.
    async fn session(&mut self) -> Result<(), Error> {
        let connection = connect(&self.config, "publisher").await?;
        let channel = open_channel(&connection).await?;
        within("ask for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let mut events = connection.events_listener();
        let mut backlog = Backlog::new(&self.config, Arc::clone(&self.state), Arc::clone(&self.health));
        backlog.read(&connection).await?;
        self.state.set_connected(true);
        self.state.set_blocked(connection.status().blocked());
        (self.health)(self.state.verdict(&self.config));

        let closing = self.closing.clone();
        let delivery_mode = self.config.queue_type.delivery_mode();
        let names = self.names.clone();
        let mut watch = pin!(backlog.watch(&connection));
        let mut unconfirmed: HashMap<u64, Wake> = HashMap::new();
        let mut in_flight = FuturesUnordered::new();
        let mut next = 0_u64;
        let mut gulp = Vec::with_capacity(GULP);
        let mut drained = false;

        let ended = loop {
            let room = if self.state.blocked() { 0 } else { WINDOW.saturating_sub(in_flight.len()).min(GULP) };
            let repeats = room.min(self.again.len());
            gulp.extend(self.again.drain(..repeats));
            if gulp.is_empty() {
                if drained && in_flight.is_empty() {
                    break Ok(());
                }
                tokio::select! {
                    Some((key, outcome)) = in_flight.next() => {
                        if let Err(error) = self.settle(&mut unconfirmed, key, outcome) {
                            break Err(error);
                        }
                    }
                    taken = self.inbox.recv_many(&mut gulp, room), if room > 0 && !drained => drained = taken == 0,
                    () = closing.cancelled(), if !self.inbox.is_closed() => self.inbox.close(),
                    Some(event) = events.next() => {
                        if let Err(error) = self.heed(event) {
                            break Err(error);
                        }
                    }
                    error = &mut watch => break Err(error),
                }
            }
            for wake in gulp.drain(..) {
                let properties = properties(&wake, delivery_mode);
                in_flight.push(publish(&channel, next, &names[wake.queue.index()], wake.clone(), properties));
                self.count_published(&wake);
                unconfirmed.insert(next, wake);
                next += 1;
            }
        };

        // Confirms that came before the end are not repeated.
        while let Some(Some((key, outcome))) = in_flight.next().now_or_never() {
            if matches!(outcome, Outcome::Confirmed) {
                unconfirmed.remove(&key);
            }
        }
        drop(in_flight);
        self.keep(unconfirmed);
        self.state.set_connected(false);
        close(&connection).await;
        ended
    }

    /// Books one outcome; an error ends the session, and then the wake-up stays among the unconfirmed.
    fn settle(&mut self, unconfirmed: &mut HashMap<u64, Wake>, key: u64, outcome: Outcome) -> Result<(), Error> {
        let reason = match outcome {
            Outcome::Confirmed => {
                unconfirmed.remove(&key);
                return Ok(());
            }
            Outcome::Broken(error) => return Err(Error::broker("publish", error)),
            // A broker that is silent but does not say that it blocks may be gone without a word.
            Outcome::Late if !self.state.blocked() => {
                return Err(Error::Deadline { doing: "await a confirm", after: DEADLINE });
            }
            Outcome::Late => "no confirm in time",
            Outcome::Refused => "the broker took it back",
        };
        if let Some(wake) = unconfirmed.remove(&key) {
            self.give_up(&wake, reason);
        }
        Ok(())
    }

    /// Keeps what a broken connection left unconfirmed, in the order it was sent, unless it was a repeat already.
    fn keep(&mut self, unconfirmed: HashMap<u64, Wake>) {
        let mut left: Vec<_> = unconfirmed.into_iter().collect();
        left.sort_unstable_by_key(|(key, _)| *key);
        for (_, wake) in left {
            if wake.again {
                self.give_up(&wake, "its second connection broke");
            } else {
                self.again.push_back(Wake { again: true, ..wake });
            }
        }
    }

    fn heed(&self, event: Event) -> Result<(), Error> {
        match event {
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(reason, "the broker blocks publishing");
                self.state.set_blocked(true);
            }
            Event::ConnectionUnblocked => {
                tracing::info!("the broker takes messages again");
                self.state.set_blocked(false);
            }
            Event::Error(error) if !error.is_amqp_soft_error() => return Err(Error::broker("publish", error)),
            _ => return Ok(()),
        }
        (self.health)(self.state.verdict(&self.config));
        Ok(())
    }

    fn count_published(&self, wake: &Wake) {
        self.state.note_published(wake.queue, wake.ids);
        counter!("busbar_wakeups_published_total", "queue" => wake.queue.name()).increment(1);
    }

    /// The scheduler wakes the rows when they are due, so nothing more is done here.
    fn give_up(&mut self, wake: &Wake, reason: &'static str) {
        counter!("busbar_wakeups_unconfirmed_total", "queue" => wake.queue.name()).increment(1);
        if let Some(count) = self.warned.due() {
            tracing::warn!(queue = wake.queue.name(), reason, count, "wake-ups were not confirmed");
        }
    }
}

/// Publishes one wake-up and awaits its confirm, both under one deadline.
async fn publish(channel: &Channel, key: u64, queue: &str, wake: Wake, properties: BasicProperties) -> (u64, Outcome) {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let confirmed =
        async { channel.basic_publish("".into(), queue.into(), options, &wake.body, properties).await?.await };
    let outcome = match tokio::time::timeout(DEADLINE, confirmed).await {
        Ok(Ok(Confirmation::Ack(None))) => Outcome::Confirmed,
        Ok(Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(_) | Confirmation::NotRequested)) => Outcome::Refused,
        Ok(Err(error)) => Outcome::Broken(error),
        Err(_) => Outcome::Late,
    };
    (key, outcome)
}

/// The readable envelope, for people who look into the queue.
fn properties(wake: &Wake, delivery_mode: u8) -> BasicProperties {
    let id = Uuid::now_v7();
    let seconds = id.get_timestamp().map_or(0, |at| at.to_unix().0);
    let properties = BasicProperties::default()
        .with_message_id(id.hyphenated().to_string().into())
        .with_type(wake.queue.kind().as_str().into())
        .with_timestamp(seconds)
        .with_app_id("busbar".into())
        .with_content_type("application/x-protobuf".into())
        .with_delivery_mode(delivery_mode);
    let Some(trace) = wake.trace else { return properties };
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(trace.to_string().into()));
    properties.with_headers(headers)
}
