//! What the publisher promises: nothing waits, everything is confirmed, and it knows when to hold back.

use busbar_messaging::{Config, MAX_IDS, Publisher, Queue, topology};

use crate::broker::{Health, Running, Worker, counted, depth, eventually, ids, publisher, with_topology};

#[tokio::test]
async fn a_thousand_ids_all_arrive() {
    with_topology(async |config| {
        let ids = ids(1000);
        let (publisher, worker) = (publisher(&config).await, Worker::willing());
        let consumer = Running::start(&config, Queue::Deliveries, &worker);
        for some in ids.chunks(37) {
            publisher.wake(Queue::Deliveries, some, None);
        }
        worker.has_worked(&ids).await;
        consumer.stop().await;
        publisher.close().await;
        assert_eq!(depth(&config, "deliveries").await, Some(0));
        assert_eq!(worker.worked().len(), 1000);
        assert!(counted("busbar_wakeups_published_total", Queue::Deliveries) >= 28);
        assert!(counted("busbar_wakeups_consumed_total", Queue::Deliveries) >= 28);
    })
    .await;
}

#[tokio::test]
async fn closing_sends_what_is_queued() {
    with_topology(async |config| {
        let publisher = Publisher::start(config.clone(), Health::default().report()).unwrap();
        publisher.wake(Queue::Jobs, &ids(MAX_IDS * 20), None);
        publisher.close().await;
        assert!(!publisher.ready());
        assert_eq!(depth(&config, "jobs").await, Some(20));
    })
    .await;
}

#[tokio::test]
async fn a_missing_queue_is_unready_and_its_wake_ups_count_as_unconfirmed() {
    with_topology(async |config| {
        let health = Health::default();
        let publisher = Publisher::start(config.clone(), health.report()).unwrap();
        eventually("the publisher is up", async || health.is_up()).await;
        let before = counted("busbar_wakeups_unconfirmed_total", Queue::InboundExact);

        topology::remove(&config).await.unwrap();
        publisher.wake(Queue::InboundExact, &ids(1), None);
        let unconfirmed = async || counted("busbar_wakeups_unconfirmed_total", Queue::InboundExact) > before;
        eventually("the loss is counted", unconfirmed).await;
        eventually("the queue is named", async || health.is_down_naming("inbound.exact")).await;
        assert!(publisher.ready(), "the broker itself is fine");
        assert!(!publisher.takes(Queue::InboundExact));

        topology::apply(&config).await.unwrap();
        eventually("the publisher is up again", async || health.is_up()).await;
        assert!(publisher.takes(Queue::InboundExact));
        publisher.wake(Queue::InboundExact, &ids(1), None);
        eventually("the next one arrives", async || depth(&config, "inbound.exact").await == Some(1)).await;
        publisher.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_long_backlog_saturates_its_queue_only() {
    with_topology(async |config| {
        let config = Config { backlog_limit: 1000, ..config };
        let publisher = publisher(&config).await;
        assert!(publisher.takes(Queue::Deliveries));
        publisher.wake(Queue::Deliveries, &ids(1280), None);
        eventually("the queue is saturated", async || publisher.saturated(Queue::Deliveries)).await;
        assert!(!publisher.takes(Queue::Deliveries));
        assert!(publisher.takes(Queue::Jobs));

        let consumer = Running::start(&config, Queue::Deliveries, &Worker::willing());
        eventually("the queue takes again", async || publisher.takes(Queue::Deliveries)).await;
        consumer.stop().await;
        publisher.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_finds_no_room_is_dropped_and_counted() {
    with_topology(async |config| {
        let absent = Config { url: "amqp://guest:guest@127.0.0.1:1/%2f".to_owned().into(), ..config };
        let health = Health::default();
        let publisher = Publisher::start(absent, health.report()).unwrap();
        let one = ids(1);
        for _ in 0..9000 {
            publisher.wake(Queue::InboundWorkpro, &one, None);
        }
        assert!(counted("busbar_wakeups_dropped_total", Queue::InboundWorkpro) >= 9000 - 8192);
        eventually("the broker is missed", async || health.is_down_naming("connect")).await;
        assert!(!publisher.ready());
        publisher.close().await;
    })
    .await;
}
