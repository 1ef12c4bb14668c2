//! What happens when the network, a queue or the broker goes away in the middle.

use std::time::{Duration, Instant};

use busbar_messaging::{Config, Publisher, Queue, topology};

use crate::broker::{Health, Running, Worker, depth, eventually, ids, publisher, with_topology};
use crate::proxy::Proxy;

/// From the moment the broker listens again.
const HEALED: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_connection_cut_before_the_confirms_publishes_again() {
    with_topology(async |config| {
        let proxy = Proxy::start().await;
        let through = Config { url: proxy.url().into(), ..config.clone() };
        let (publisher, worker) = (publisher(&through).await, Worker::willing());

        // The broker gets the wake-ups, but no confirm of it arrives before the cut.
        proxy.deafen(true);
        let (ids, before) = (ids(64 * 50), proxy.sent());
        publisher.wake(Queue::Deliveries, &ids, None);
        let body = 64 * 16 * 50;
        eventually("the broker was sent all", async || proxy.sent() > before + body).await;
        proxy.cut();
        proxy.deafen(false);
        let listening = Instant::now();
        eventually("the publisher is ready", async || {
            publisher.ready() && depth(&config, "deliveries").await == Some(100)
        })
        .await;
        assert!(listening.elapsed() < HEALED, "{:?}", listening.elapsed());

        let consumer = Running::start(&config, Queue::Deliveries, &worker);
        worker.has_worked(&ids).await;
        consumer.stop().await;
        publisher.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_queued_while_the_broker_is_away_goes_out_when_it_is_back() {
    with_topology(async |config| {
        let proxy = Proxy::start().await;
        let through = Config { url: proxy.url().into(), ..config.clone() };
        let health = Health::default();
        let publisher = Publisher::start(through.clone(), health.report()).unwrap();
        eventually("the publisher is up", async || health.is_up()).await;
        let worker = Worker::willing();
        let consumer = Running::start(&through, Queue::Deliveries, &worker);
        eventually("the consumer is up", async || consumer.health.is_up()).await;

        proxy.refuse(true);
        proxy.cut();
        eventually("both miss the broker", async || !publisher.ready() && !health.is_up() && !consumer.health.is_up())
            .await;
        let ids = ids(5000);
        publisher.wake(Queue::Deliveries, &ids, None);
        proxy.refuse(false);
        let listening = Instant::now();
        worker.has_worked(&ids).await;
        assert!(listening.elapsed() < HEALED, "{:?}", listening.elapsed());
        assert!(publisher.ready() && health.is_up() && consumer.health.is_up());
        consumer.stop().await;
        publisher.close().await;
    })
    .await;
}

#[tokio::test]
async fn cuts_in_the_middle_of_everything_lose_no_id() {
    with_topology(async |config| {
        let proxy = Proxy::start().await;
        let through = Config { url: proxy.url().into(), ..config.clone() };
        let (publisher, worker) = (publisher(&through).await, Worker::willing());
        let consumer = Running::start(&through, Queue::Deliveries, &worker);
        let ids = ids(6000);
        for (round, some) in ids.chunks(1500).enumerate() {
            for few in some.chunks(3) {
                publisher.wake(Queue::Deliveries, few, None);
            }
            let enough = round * 1500 + 200;
            eventually("the work has begun", async || worker.worked().len() >= enough).await;
            proxy.cut();
            eventually("the publisher is ready", async || publisher.ready()).await;
            worker.has_worked(&ids[..(round + 1) * 1500]).await;
        }
        worker.has_worked(&ids).await;
        consumer.stop().await;
        publisher.close().await;
        assert_eq!(depth(&config, "deliveries").await, Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_silent_broker_is_noticed_by_the_missing_answer() {
    with_topology(async |config| {
        let proxy = Proxy::start().await;
        let through = Config { url: proxy.url().into(), ..config.clone() };
        let health = Health::default();
        let publisher = Publisher::start(through, health.report()).unwrap();
        eventually("the publisher is up", async || health.is_up()).await;
        proxy.deafen(true);
        eventually("the silence is noticed", async || health.is_down_naming("no answer")).await;
        assert!(!publisher.ready());
        proxy.deafen(false);
        eventually("the publisher is up again", async || health.is_up()).await;
        publisher.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_queue_deleted_while_consuming_is_named_and_heals() {
    with_topology(async |config| {
        let (publisher, worker) = (publisher(&config).await, Worker::willing());
        let consumer = Running::start(&config, Queue::Jobs, &worker);
        eventually("the consumer is up", async || consumer.health.is_up()).await;
        topology::remove(&config).await.unwrap();
        let name = Queue::Jobs.full_name(&config.namespace);
        eventually("the queue is missed", async || consumer.health.is_down_naming(&format!("{name} is missing"))).await;

        topology::apply(&config).await.unwrap();
        eventually("the consumer is up again", async || consumer.health.is_up()).await;
        let ids = ids(10);
        publisher.wake(Queue::Jobs, &ids, None);
        worker.has_worked(&ids).await;
        consumer.stop().await;
        publisher.close().await;
    })
    .await;
}
