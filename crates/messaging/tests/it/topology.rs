//! Declaring, looking at and removing the queues.

use busbar_messaging::{Config, Error, Publisher, Queue, topology};

use crate::broker::{Health, depth, with_topology};

#[tokio::test]
async fn applying_twice_changes_nothing_and_removing_leaves_nothing() {
    with_topology(async |config| {
        topology::apply(&config).await.unwrap();
        assert!(topology::depths(&config).await.unwrap().iter().all(|(_, depth)| *depth == Some(0)));
        topology::remove(&config).await.unwrap();
        assert!(topology::depths(&config).await.unwrap().iter().all(|(_, depth)| depth.is_none()));
        assert_eq!(depth(&config, topology::UNREADABLE).await, None);
        assert_eq!(Queue::all().count() + 1, topology::depths(&config).await.unwrap().len());
    })
    .await;
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_refused_at_the_start_without_showing_it() {
    with_topology(async |config| {
        let wrong = Config { url: "http://user:hunter2@broker".to_owned().into(), ..config };
        let Err(error) = Publisher::start(wrong, Health::default().report()) else {
            panic!("a URL of HTTP was taken");
        };
        assert!(matches!(error, Error::Url));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    })
    .await;
}
