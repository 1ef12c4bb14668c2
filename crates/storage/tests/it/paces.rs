//! What processes share of a webhook: its circuit with one probe at a time, and its pace.

use std::time::Duration;

use busbar_storage::budgets::{self, Want};
use busbar_storage::circuits::{self, Probe};
use chrono::TimeDelta;

use crate::place::{Place, now};

const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));

#[tokio::test]
async fn each_failed_probe_doubles_the_pause_and_another_opening_does_not() {
    let place = Place::make().await;
    let (webhook, start) = (place.webhook("a").await, now());
    let mut conn = place.connection().await;
    let whose = (place.tenant, webhook);
    for _ in 0..3 {
        let at = circuits::open(&mut conn, whose, start, ("down", false), PAUSES, start).await.unwrap();
        assert_eq!((at - start).num_seconds(), 5);
    }
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let at = circuits::open(&mut conn, whose, start, ("down", true), PAUSES, start).await.unwrap();
        pauses.push((at - start).num_seconds());
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300]);
    drop(conn);
    place.end().await;
}

#[tokio::test]
async fn one_process_has_the_probe_and_one_hears_that_it_closed() {
    let place = Place::make().await;
    let (webhook, start) = (place.webhook("a").await, now());
    let mut conn = place.connection().await;
    let since = start - TimeDelta::hours(1);
    circuits::open(&mut conn, (place.tenant, webhook), since, ("down", false), PAUSES, start).await.unwrap();
    let (due, until) = (start + TimeDelta::seconds(5), start + TimeDelta::seconds(20));
    assert!(matches!(circuits::take_probe(&mut conn, webhook, start, until).await.unwrap(), Probe::NotYet(_)));
    let (mut other, mut third) = (place.connection().await, place.connection().await);
    let asked = tokio::join!(
        circuits::take_probe(&mut conn, webhook, due, until),
        circuits::take_probe(&mut other, webhook, due, until),
        circuits::take_probe(&mut third, webhook, due, until),
    );
    let asked = [asked.0.unwrap(), asked.1.unwrap(), asked.2.unwrap()];
    assert_eq!(asked.iter().filter(|probe| **probe == Probe::Granted).count(), 1, "{asked:?}");
    assert_eq!(circuits::find(&mut conn, &[webhook]).await.unwrap().len(), 1);
    let closed = tokio::join!(circuits::close(&mut conn, webhook), circuits::close(&mut other, webhook));
    let heard: Vec<_> = [closed.0.unwrap(), closed.1.unwrap()].into_iter().flatten().collect();
    assert_eq!(heard.len(), 1);
    assert_eq!((start - heard[0]).num_minutes(), 60);
    assert_eq!(circuits::take_probe(&mut conn, webhook, due, until).await.unwrap(), Probe::Closed);
    drop((conn, other, third));
    place.end().await;
}

#[tokio::test]
async fn two_processes_share_a_pace() {
    let place = Place::make().await;
    let (webhook, start) = (place.webhook("a").await, now());
    let (mut one, mut two) = (place.connection().await, place.connection().await);
    let want = [Want { webhook, rate: 20, count: 100 }];
    let ahead = Duration::from_millis(100);
    let mut made = [0, 0];
    for round in 0..50 {
        let at = start + TimeDelta::milliseconds(100 * round);
        let asked = tokio::join!(
            budgets::take(&mut one, &want, ahead, at),
            budgets::take(&mut two, &want, ahead, at + TimeDelta::milliseconds(50)),
        );
        made[0] += asked.0.unwrap()[0];
        made[1] += asked.1.unwrap()[0];
    }
    let both = made[0] + made[1];
    assert!((95..=104).contains(&both), "{made:?} in five seconds");
    assert!(made.iter().all(|one| *one > 0), "{made:?}");
    drop((one, two));
    place.end().await;
}
