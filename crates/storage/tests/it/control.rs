//! Replay and cancellation of one delivery: what may be done in which state, and that a late result is refused.

use std::time::{Duration, Instant};

use busbar_domain::delivery::DeliveryState;
use busbar_domain::id::{DeliveryId, TenantId, WebhookId};
use busbar_storage::claims::{self, AttemptRecord, Claimed, Finished};
use busbar_storage::delivery_log::{self, Act, Refusal};
use chrono::TimeDelta;
use sqlx::Connection as _;
use uuid::Uuid;

use crate::place::{Place, now};

fn act(tenant: TenantId) -> Act {
    let now = now();
    Act { tenant, actor: Uuid::from_u128(7), now, due_at: now + TimeDelta::seconds(5) }
}

async fn cancel(place: &Place, id: DeliveryId) -> Result<Vec<Uuid>, Refusal> {
    delivery_log::cancel(&mut *place.connection().await, id, &act(place.tenant)).await.unwrap()
}

async fn replay(place: &Place, id: DeliveryId) -> Result<DeliveryId, Refusal> {
    delivery_log::replay(&mut *place.connection().await, id, &act(place.tenant)).await.unwrap()
}

fn succeeded(claimed: &Claimed) -> Finished {
    let attempt = AttemptRecord { number: 1, started_at: now(), status: Some(200), ..AttemptRecord::default() };
    let state = DeliveryState::Succeeded { at: now() };
    Finished { claim: claimed.claim, state, attempt: Some(attempt), about: None }
}

async fn owed(place: &Place, count: usize) -> (WebhookId, Vec<Claimed>) {
    let webhook = place.webhook("a").await;
    place.accept((0..count).map(|_| place.event("a", None, None)).collect()).await;
    (webhook, place.claim(webhook).await)
}

#[tokio::test]
async fn what_is_open_can_be_called_off_and_what_has_ended_can_be_repeated() {
    let place = Place::make().await;
    let (_, claimed) = owed(&place, 6).await;
    let states = ["pending", "retrying", "held", "succeeded", "dead", "cancelled"];
    for (state, claimed) in states.iter().zip(&claimed) {
        let id = claimed.claim.delivery;
        place.run(&format!("update deliveries set state = '{state}' where id = '{id}'")).await;
        let is_open = ["pending", "retrying", "held"].contains(state);
        if is_open {
            assert_eq!(replay(&place, id).await, Err(Refusal::Open), "{state}");
            assert_eq!(cancel(&place, id).await, Ok(Vec::new()), "{state}");
            let row = format!("select state || ' ' || reason || ' ' || claim_no from deliveries where id = '{id}'");
            assert_eq!(place.ask(&row).await, "cancelled cancelled_by_owner 2", "{state}");
        }
        assert_eq!(cancel(&place, id).await, Err(Refusal::Ended), "{state}");
        assert!(replay(&place, id).await.is_ok(), "{state}");
    }
    let repeats = "select count(*) from deliveries r join deliveries o on o.id = r.replay_of
        where r.message_id = o.message_id and r.event_id = o.event_id and r.webhook_id = o.webhook_id and r.rank = 1
            and r.state = 'pending' and r.seq is null";
    assert_eq!(place.ask(repeats).await, "6");
    assert_eq!(
        place
            .ask(
                "select string_agg(action || ' ' || count, ', ') from (
             select action, count(*) as count from audit where actor = '00000000-0000-0000-0000-000000000007'
             group by action order by action) a"
            )
            .await,
        "delivery.cancelled 3, delivery.replayed 6"
    );
    place.end().await;
}

#[tokio::test]
async fn a_result_that_comes_after_the_cancellation_is_refused() {
    let place = Place::make().await;
    let (webhook, claimed) = owed(&place, 1).await;
    let claimed = &claimed[0];
    assert_eq!(cancel(&place, claimed.claim.delivery).await, Ok(Vec::new()));
    let written = claims::finish(&mut *place.connection().await, &[succeeded(claimed)], now()).await.unwrap();
    assert!(written.is_empty());
    assert_eq!(place.ask("select state || ' ' || attempts from deliveries").await, "cancelled 0");
    assert_eq!(place.ask("select count(*) from attempts").await, "0");
    claims::park(&mut *place.connection().await, &[(claimed.claim, now())]).await.unwrap();
    claims::hold(&mut *place.connection().await, &[claimed.claim], now()).await.unwrap();
    assert_eq!(place.ask("select state from deliveries").await, "cancelled");
    assert!(place.claim(webhook).await.is_empty());
    place.end().await;
}

/// Waits until so many statements of this database stand behind a lock.
async fn behind_a_lock(place: &Place, count: usize) {
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let until = Instant::now() + Duration::from_secs(10);
    while place.ask(waiting).await != count.to_string() {
        assert!(Instant::now() < until, "{count} statements did not wait for a lock");
    }
}

/// Lets both meet at a delivery's row, which is locked until they stand in line there.
async fn in_turn<A, B>(
    place: &Place,
    id: DeliveryId,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let mut conn = place.connection().await;
    let mut lock = conn.begin().await.unwrap();
    sqlx::query("select from deliveries where id = $1 for update").bind(id.uuid()).execute(&mut *lock).await.unwrap();
    let behind = async {
        behind_a_lock(place, 1).await;
        second.await
    };
    let release = async {
        behind_a_lock(place, 2).await;
        lock.commit().await.unwrap();
    };
    let (first, second, ()) = tokio::join!(first, behind, release);
    (first, second)
}

#[tokio::test]
async fn a_result_and_a_cancellation_at_once_leave_the_one_that_came_first() {
    let place = Place::make().await;
    let (_, claimed) = owed(&place, 6).await;
    for (at, claimed) in claimed.iter().enumerate() {
        let id = claimed.claim.delivery;
        let finish =
            async { claims::finish(&mut *place.connection().await, &[succeeded(claimed)], now()).await.unwrap().len() };
        let (written, called_off) = if at % 2 == 0 {
            Box::pin(in_turn(&place, id, finish, cancel(&place, id))).await
        } else {
            let (called_off, written) = Box::pin(in_turn(&place, id, cancel(&place, id), finish)).await;
            (written, called_off)
        };
        let expected = if at % 2 == 0 { (1, Err(Refusal::Ended)) } else { (0, Ok(Vec::new())) };
        assert_eq!((written, called_off), expected, "delivery {at}");
    }
    let states = "select count(*) filter (where state = 'cancelled' and attempts = 0) || ' '
        || count(*) filter (where state = 'succeeded' and attempts = 1) from deliveries";
    assert_eq!(place.ask(states).await, "3 3");
    place.end().await;
}

#[tokio::test]
async fn calling_off_the_first_of_a_key_releases_the_next() {
    let place = Place::make().await;
    let webhook = place.webhook("a").await;
    place.accept((0..3).map(|_| place.event("a", Some("k"), None)).collect()).await;
    let ids: Vec<DeliveryId> = place
        .ask("select string_agg(id::text, ' ' order by seq) from deliveries")
        .await
        .split(' ')
        .map(|id| id.parse().unwrap())
        .collect();
    assert_eq!(cancel(&place, ids[1]).await, Ok(Vec::new()), "the first is still open");
    assert_eq!(cancel(&place, ids[0]).await, Ok(vec![ids[2].uuid()]));
    assert_eq!(place.ask("select open from order_lanes").await, "1");
    let ready = place.claim(webhook).await;
    assert_eq!((ready.len(), ready[0].claim.delivery), (1, ids[2]));
    let again = replay(&place, ids[0]).await.unwrap();
    assert!(place.claim(webhook).await.iter().any(|claimed| claimed.claim.delivery == again && !claimed.ordered));
    assert_eq!(place.ask("select open from order_lanes").await, "1", "a replay stands in no order");
    place.end().await;
}

#[tokio::test]
async fn what_belongs_to_another_or_to_a_deleted_webhook_is_left_alone() {
    let place = Place::make().await;
    let (webhook, claimed) = owed(&place, 1).await;
    let id = claimed[0].claim.delivery;
    let stranger = act(TenantId::new(now()));
    let mut conn = place.connection().await;
    assert_eq!(delivery_log::cancel(&mut conn, id, &stranger).await.unwrap(), Err(Refusal::NotFound));
    assert_eq!(delivery_log::replay(&mut conn, id, &stranger).await.unwrap(), Err(Refusal::NotFound));
    claims::finish(&mut conn, &[succeeded(&claimed[0])], now()).await.unwrap();
    assert_eq!(delivery_log::replay(&mut conn, id, &stranger).await.unwrap(), Err(Refusal::NotFound));
    drop(conn);
    place.run(&format!("update webhooks set deleted_at = now() where id = '{webhook}'")).await;
    assert_eq!(replay(&place, id).await, Err(Refusal::WebhookDeleted));
    assert_eq!(place.ask("select count(*) from deliveries").await, "1");
    assert_eq!(place.ask("select count(*) from audit").await, "0");
    place.end().await;
}

#[tokio::test]
async fn an_edited_body_goes_out_again() {
    let place = Place::make().await;
    let (webhook, claimed) = owed(&place, 1).await;
    place.run("update deliveries set body = 'edited', state = 'dead'").await;
    let again = replay(&place, claimed[0].claim.delivery).await.unwrap();
    let claimed = place.claim(webhook).await;
    assert_eq!((claimed[0].claim.delivery, claimed[0].body.as_deref()), (again, Some(&b"edited"[..])));
    assert!(claimed[0].late);
    place.end().await;
}
