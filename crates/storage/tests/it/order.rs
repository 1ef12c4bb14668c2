//! Ordering keys: one delivery of a key is open to be sent at a time, in the order of acceptance, whatever happens.

use busbar_domain::delivery::{DeadReason, DeliveryState};
use busbar_storage::claims::{About, AttemptRecord, Claimed, Finished};
use busbar_storage::{order, settle};
use chrono::TimeDelta;

use crate::place::{Place, now};

/// How a claimed delivery ended.
fn ended(claimed: &Claimed, state: DeliveryState) -> Finished {
    let about = About {
        tenant: claimed.tenant,
        webhook: claimed.webhook,
        event: claimed.event,
        kind: claimed.kind.clone(),
        test: claimed.test,
        attempts: claimed.attempts + 1,
    };
    let attempt = AttemptRecord { number: claimed.attempts + 1, started_at: now(), ..AttemptRecord::default() };
    Finished { claim: claimed.claim, state, attempt: Some(attempt), about: Some(Box::new(about)) }
}

const STATES: &str =
    "select string_agg(state || coalesce('/' || reason, ''), ' ' order by seq) from deliveries where seq is not null";

#[tokio::test]
async fn each_end_releases_the_next_of_its_key() {
    let place = Place::make().await;
    let webhook = place.webhook("a").await;
    place.accept((0..3).map(|_| place.event("a", Some("k"), None)).collect()).await;
    place.accept(vec![place.event("a", Some("k"), None), place.event("a", Some("other"), None)]).await;
    let ready = place.claim(webhook).await;
    assert_eq!(ready.len(), 2, "the first of each key");
    assert!(ready.iter().all(|claimed| claimed.ordered));
    assert_eq!(place.ask("select open from order_lanes where key = 'k'").await, "4");

    let first = ended(&ready[0], DeliveryState::Succeeded { at: now() });
    let settled = settle::settle(&place.database, &place.plans, std::slice::from_ref(&first), now()).await.unwrap();
    assert_eq!((settled.written, settled.owed.deliveries.len()), (1, 1));
    let again = settle::settle(&place.database, &place.plans, &[first], now()).await.unwrap();
    assert_eq!((again.written, again.owed.deliveries.len()), (1, 0), "a result that comes again releases nothing");
    let second = place.claim(webhook).await;
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].claim.delivery.uuid(), settled.owed.deliveries[0]);

    let dead = ended(&second[0], DeliveryState::Dead { reason: DeadReason::AttemptsExhausted });
    settle::settle(&place.database, &place.plans, &[dead], now()).await.unwrap();
    assert_eq!(place.claim(webhook).await.len(), 1, "a dead one releases the next too");
    assert_eq!(place.ask("select count(*) from dead_letters").await, "1");
    place.end().await;
}

#[tokio::test]
async fn a_repeat_takes_no_place() {
    let place = Place::make().await;
    let webhook = place.webhook("a").await;
    place.accept(vec![place.event("a", Some("x"), Some("once"))]).await;
    let batch = vec![
        place.event("a", Some("k"), Some("once")),
        place.event("a", Some("k"), None),
        place.event("a", Some("k"), None),
    ];
    place.accept(batch).await;
    assert_eq!(place.ask("select open from order_lanes where key = 'k'").await, "2");
    assert_eq!(place.claim(webhook).await.len(), 2, "the one of x and the first of k that was written");
    place.end().await;
}

#[tokio::test]
async fn a_batch_of_unknown_outcome_is_counted_once() {
    let place = Place::make().await;
    place.webhook("a").await;
    let publication = place.plan((0..2).map(|_| place.event("a", Some("k"), None)).collect()).await;
    for again in [false, true, true] {
        publication.write(&mut *place.connection().await, now(), now(), again).await.unwrap();
    }
    assert_eq!(place.ask("select open || ' ' || next_seq from order_lanes").await, "2 3");
    assert_eq!(place.ask(STATES).await, "pending held/order");
    place.end().await;
}

#[tokio::test]
async fn acceptance_from_many_sides_stays_in_one_order() {
    let place = Place::make().await;
    place.webhook("a").await;
    let writing = (0..20).map(|_| async {
        place.accept((0..5).map(|_| place.event("a", Some("k"), None)).collect()).await;
    });
    futures_util::future::join_all(writing).await;
    assert_eq!(place.ask("select count(distinct seq) || ' ' || max(seq) from deliveries").await, "100 100");
    assert_eq!(place.ask("select count(*) from deliveries where state = 'pending'").await, "1");
    assert_eq!(place.ask("select seq from deliveries where state = 'pending'").await, "1");
    place.end().await;
}

#[tokio::test]
async fn what_was_left_behind_is_released_by_the_sweep() {
    let place = Place::make().await;
    let webhook = place.webhook("a").await;
    place.accept((0..2).map(|_| place.event("a", Some("k"), None)).collect()).await;
    place.run("update deliveries set state = 'succeeded' where state = 'pending'").await;
    assert!(place.claim(webhook).await.is_empty());
    let mut conn = place.connection().await;
    assert!(order::repair(&mut conn, now(), 10).await.unwrap().is_empty(), "it was touched a moment ago");
    let later = now() + TimeDelta::seconds(11);
    assert_eq!(order::repair(&mut conn, later, 10).await.unwrap().len(), 1);
    drop(conn);
    assert_eq!(place.ask("select open from order_lanes").await, "1");
    assert_eq!(place.claim(webhook).await.len(), 1);
    place.end().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_breaks_its_webhook_and_is_reported() {
    let place = Place::make().await;
    let webhook = place.webhook("a").await;
    let listener = place.webhook("webhook.disabled").await;
    let mourner = place.webhook("delivery.dead").await;
    place.accept(vec![place.event("a", None, None)]).await;
    let claimed = place.claim(webhook).await;
    let gone = ended(&claimed[0], DeliveryState::Dead { reason: DeadReason::Gone });
    let settled = settle::settle(&place.database, &place.plans, std::slice::from_ref(&gone), now()).await.unwrap();
    assert_eq!((settled.written, settled.owed.deliveries.len()), (1, 2));
    assert_eq!(
        place.ask("select status || ' ' || status_reason from webhooks where name = 'w' order by id limit 1").await,
        "broken gone"
    );
    assert_eq!(place.claim(listener).await.len(), 1);
    assert_eq!(place.claim(mourner).await[0].kind, "delivery.dead");

    let again = settle::settle(&place.database, &place.plans, &[gone], now()).await.unwrap();
    assert_eq!((again.written, again.owed.deliveries.len()), (1, 0), "what is written again leads to nothing more");
    place.end().await;
}
