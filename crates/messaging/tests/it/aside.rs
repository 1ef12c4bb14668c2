//! What is set aside as unreadable is taken out of its queue once it is stored, and not before.

use std::sync::{Arc, Mutex};

use busbar_domain::Failure;
use busbar_messaging::{CancellationToken, Config, Queue, Shelf, Unread, consume_unreadable, plant, topology};
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use tokio::task::JoinSet;

use crate::broker::{Health, Running, Worker, depth, eventually, url, with_topology};
use crate::proxy::Proxy;

/// Keeps what it gets, unless it was told to refuse.
#[derive(Clone, Default)]
struct Kept {
    messages: Arc<Mutex<Vec<Unread>>>,
    offered: Arc<Mutex<usize>>,
    refusing: Arc<Mutex<bool>>,
}

impl Kept {
    fn all(&self) -> Vec<Unread> {
        self.messages.lock().unwrap().clone()
    }

    fn offered(&self) -> usize {
        *self.offered.lock().unwrap()
    }

    fn refuse(&self, refusing: bool) {
        *self.refusing.lock().unwrap() = refusing;
    }
}

impl Shelf for Kept {
    async fn keep(&self, messages: Vec<Unread>) -> Result<(), Failure> {
        *self.offered.lock().unwrap() += 1;
        if *self.refusing.lock().unwrap() {
            return Err(Failure::transient("the database is away"));
        }
        self.messages.lock().unwrap().extend(messages);
        Ok(())
    }
}

struct Emptying {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    health: Health,
}

impl Emptying {
    fn start(config: &Config, kept: &Kept) -> Self {
        let (stop, health, mut tasks) = (CancellationToken::new(), Health::default(), JoinSet::new());
        let (config, kept, report, token) = (config.clone(), kept.clone(), health.report(), stop.clone());
        tasks.spawn(async move { consume_unreadable(config, kept, report, token).await.unwrap() });
        Self { tasks, stop, health }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

async fn send(config: &Config, queue: &str, messages: &[&[u8]]) {
    let connection = Connection::connect(&url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let name = format!("{}.{queue}", config.namespace);
    for message in messages {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        channel.basic_publish("".into(), name.as_str().into(), options, message, properties).await.unwrap();
    }
    connection.close(200, "OK".into()).await.unwrap();
}

async fn waiting(config: &Config) -> Option<u32> {
    depth(config, topology::UNREADABLE).await
}

#[tokio::test]
async fn what_a_consumer_could_not_read_is_kept_with_its_queue_and_reason() {
    with_topology(async |config| {
        let (worker, kept) = (Worker::willing(), Kept::default());
        let consumer = Running::start(&config, Queue::Jobs, &worker);
        let emptying = Emptying::start(&config, &kept);
        plant(&config, Queue::Jobs, &[b"hello", &vec![7; 1 << 20]]).await.unwrap();
        eventually("both are kept", async || kept.all().len() == 2).await;
        eventually("the queue is empty", async || waiting(&config).await == Some(0)).await;
        let mut all = kept.all();
        all.sort_unstable_by_key(|unread| unread.message.len());
        assert_eq!((all[0].queue.as_str(), all[0].reason.as_str()), ("jobs", "not a wake-up"));
        assert_eq!((all[0].message.as_slice(), all[0].message_id.as_str()), (b"hello".as_slice(), ""));
        assert!(all[0].sent_at > 1_700_000_000, "{}", all[0].sent_at);
        assert_eq!(all[1].message.len(), 1 << 20);
        emptying.stop().await;
        consumer.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_stored_stays_on_the_broker() {
    with_topology(async |config| {
        let kept = Kept::default();
        kept.refuse(true);
        let emptying = Emptying::start(&config, &kept);
        send(&config, topology::UNREADABLE, &[b"bare"]).await;
        eventually("it is offered again", async || kept.offered() > 2).await;
        emptying.stop().await;
        eventually("it is given back", async || waiting(&config).await == Some(1)).await;

        let emptying = Emptying::start(&config, &kept);
        kept.refuse(false);
        eventually("it is kept", async || kept.all().len() == 1).await;
        eventually("the queue is empty", async || waiting(&config).await == Some(0)).await;
        let unread = kept.all().remove(0);
        assert_eq!((unread.queue.as_str(), unread.reason.as_str()), (topology::UNREADABLE, "no reason was given"));
        emptying.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_cut_connection_and_a_missing_queue_are_told_and_healed() {
    with_topology(async |config| {
        let proxy = Proxy::start().await;
        let through = Config { url: proxy.url().into(), ..config.clone() };
        let kept = Kept::default();
        let emptying = Emptying::start(&through, &kept);
        eventually("it is up", async || emptying.health.is_up()).await;
        proxy.refuse(true);
        proxy.cut();
        eventually("the cut is told", async || !emptying.health.is_up()).await;
        topology::remove(&config).await.unwrap();
        proxy.refuse(false);
        eventually("the queue is missed", async || emptying.health.is_down_naming("is missing")).await;
        topology::apply(&config).await.unwrap();
        send(&config, topology::UNREADABLE, &[b"one", b"two"]).await;
        eventually("both are kept", async || kept.all().len() == 2).await;
        emptying.stop().await;
    })
    .await;
}
