//! What the consumer promises: batches form, failures repeat, panics are contained, nothing unreadable is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use busbar_domain::Failure;
use busbar_domain::trace::TraceContext;
use busbar_messaging::{Queue, topology};
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};

use crate::broker::{Running, Worker, counted, depth, eventually, ids, publisher, url, with_topology};

#[tokio::test]
async fn waiting_wake_ups_are_merged_sorted_and_distinct() {
    with_topology(async |config| {
        let (publisher, worker) = (publisher(&config).await, Worker::willing());
        let ids = ids(30);
        for id in ids.iter().rev() {
            publisher.wake(Queue::Jobs, &[*id, ids[0]], None);
        }
        eventually("all wait", async || depth(&config, "jobs").await == Some(30)).await;
        let consumer = Running::start(&config, Queue::Jobs, &worker);
        worker.has_worked(&ids).await;
        consumer.stop().await;
        let calls = worker.calls();
        assert!(calls.len() < 30, "{} calls", calls.len());
        assert!(calls.iter().all(|call| call.ids.is_sorted_by(|a, b| a < b)));
        publisher.close().await;
    })
    .await;
}

#[tokio::test]
async fn no_call_gets_more_ids_than_allowed() {
    with_topology(async |config| {
        let (publisher, worker) = (publisher(&config).await, Worker::willing());
        let ids = ids(60 * 30);
        for some in ids.chunks(60) {
            publisher.wake(Queue::Jobs, some, None);
        }
        eventually("all wait", async || depth(&config, "jobs").await == Some(30)).await;
        let consumer = Running::start(&config, Queue::Jobs, &worker);
        worker.has_worked(&ids).await;
        consumer.stop().await;
        let sizes: Vec<_> = worker.calls().iter().map(|call| call.ids.len()).collect();
        assert!(sizes.iter().all(|size| *size <= 500), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 1800);
        assert_eq!(depth(&config, "jobs").await, Some(0));
        publisher.close().await;
    })
    .await;
}

#[tokio::test]
async fn the_trace_travels_with_the_wake_up() {
    with_topology(async |config| {
        let (publisher, worker) = (publisher(&config).await, Worker::willing());
        let consumer = Running::start(&config, Queue::InboundErpops, &worker);
        let (ids, trace) = (ids(2), TraceContext::root());
        publisher.wake(Queue::InboundErpops, &ids, Some(trace));
        worker.has_worked(&ids).await;
        assert_eq!(worker.calls()[0].trace, Some(trace));
        consumer.stop().await;
        publisher.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_transient_failure_is_called_again_and_nothing_is_lost() {
    with_topology(async |config| {
        let worker = Worker::answering(|call, _| match call {
            1..=3 => Err(Failure::transient("the database is away")),
            _ => Ok(()),
        });
        let publisher = publisher(&config).await;
        let consumer = Running::start(&config, Queue::Deliveries, &worker);
        let ids = ids(100);
        publisher.wake(Queue::Deliveries, &ids, None);
        worker.has_worked(&ids).await;
        let calls = worker.calls();
        assert_eq!(calls[0].ids, calls[3].ids);
        consumer.stop().await;
        publisher.close().await;
        assert_eq!(depth(&config, "deliveries").await, Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_panic_is_contained_and_only_its_id_is_given_up() {
    with_topology(async |config| {
        let ids = ids(40);
        let poison = ids[17];
        let worker = Worker::answering(move |_, ids| {
            assert!(!ids.contains(&poison), "this id is poison");
            Ok(())
        });
        let publisher = publisher(&config).await;
        let before = counted("busbar_wakeups_given_up_total", Queue::Deliveries);
        let consumer = Running::start(&config, Queue::Deliveries, &worker);
        publisher.wake(Queue::Deliveries, &ids, None);
        let others: Vec<_> = ids.iter().copied().filter(|id| *id != poison).collect();
        worker.has_worked(&others).await;
        let given_up = async || counted("busbar_wakeups_given_up_total", Queue::Deliveries) > before;
        eventually("the poison is given up", given_up).await;
        consumer.stop().await;
        publisher.close().await;
        assert_eq!(depth(&config, "deliveries").await, Some(0));
        assert!(!worker.worked().contains(&poison));
    })
    .await;
}

#[tokio::test]
async fn a_stopping_consumer_gives_back_what_only_fails() {
    with_topology(async |config| {
        let well = Arc::new(AtomicBool::new(false));
        let answer = Arc::clone(&well);
        let worker = Worker::answering(move |_, _| {
            if answer.load(Ordering::Relaxed) { Ok(()) } else { Err(Failure::transient("the database is away")) }
        });
        let publisher = publisher(&config).await;
        let consumer = Running::start(&config, Queue::Deliveries, &worker);
        let ids = ids(200);
        publisher.wake(Queue::Deliveries, &ids, None);
        eventually("the handler was called", async || !worker.calls().is_empty()).await;
        consumer.stop().await;
        eventually("all are back", async || depth(&config, "deliveries").await == Some(4)).await;

        well.store(true, Ordering::Relaxed);
        let consumer = Running::start(&config, Queue::Deliveries, &worker);
        worker.has_worked(&ids).await;
        consumer.stop().await;
        publisher.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_goes_to_its_queue_with_the_reason() {
    with_topology(async |config| {
        let foreign = Connection::connect(&url(), ConnectionProperties::default()).await.unwrap();
        let channel = foreign.create_channel().await.unwrap();
        let (publisher, worker) = (publisher(&config).await, Worker::willing());
        let consumer = Running::start(&config, Queue::Jobs, &worker);
        let jobs = Queue::Jobs.full_name(&config.namespace);
        let before = counted("busbar_wakeups_unreadable_total", Queue::Jobs);
        for bytes in [b"hello".as_slice(), &[0x08, 0x09], &[]] {
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            channel.basic_publish("".into(), jobs.as_str().into(), options, bytes, properties).await.unwrap();
        }
        let ids = ids(1);
        publisher.wake(Queue::Jobs, &ids, None);
        worker.has_worked(&ids).await;
        eventually("all are aside", async || depth(&config, topology::UNREADABLE).await == Some(3)).await;
        assert!(counted("busbar_wakeups_unreadable_total", Queue::Jobs) >= before + 3);

        let aside = format!("{}.{}", config.namespace, topology::UNREADABLE);
        let message = channel.basic_get(aside.into(), BasicGetOptions::default()).await.unwrap().unwrap();
        assert_eq!(message.delivery.data, b"hello");
        let headers = message.delivery.properties.headers().clone().unwrap();
        let queue = headers.inner()["x-busbar-queue"].as_long_string().unwrap();
        assert_eq!(queue.as_bytes(), b"jobs");
        consumer.stop().await;
        publisher.close().await;
        assert_eq!(depth(&config, "jobs").await, Some(0));
    })
    .await;
}
