//! What is held: it goes out webhook by webhook once its webhook is active, and is called off with a deleted one.

use busbar_domain::id::WebhookId;
use busbar_storage::PgConnection;
use busbar_storage::due::{cancel_held_of_deleted, release_held};
use busbar_storage::order;
use chrono::TimeDelta;
use sqlx::AssertSqlSafe;

use crate::place::{Place, now};

/// Inserts so many held deliveries of a webhook, the first the oldest.
async fn hold(place: &Place, webhook: WebhookId, count: u32, reason: &str) {
    let statement = format!(
        "insert into deliveries (id, tenant_id, event_id, webhook_id, message_id, state, reason, due_at, ordering_key,
             seq)
         select id, '{tenant}', id, '{webhook}', id, 'held', '{reason}', now(), keyed.key,
             case when keyed.key is not null then n end
         from generate_series(1, {count}) n
             cross join lateral (select (lpad(to_hex((extract(epoch from now()) * 1000)::bigint + n), 12, '0')
                 || '7000' || lpad(to_hex({random}), 4, '0') || lpad(to_hex(n), 12, '0'))::uuid as id) made
             cross join (select case when '{reason}' = 'order' then 'k' end as key) keyed",
        tenant = place.tenant,
        random = fastrand::u16(0x8000..0xc000),
    );
    place.run(&statement).await;
}

async fn set(place: &Place, webhook: WebhookId, change: &str) {
    place.run(&format!("update webhooks set {change} where id = '{webhook}'")).await;
}

async fn in_state(place: &Place, webhook: WebhookId, state: &str) -> u64 {
    let statement = format!("select count(*) from deliveries where webhook_id = '{webhook}' and state = '{state}'");
    place.ask(&statement).await.parse().unwrap()
}

#[tokio::test]
async fn webhooks_that_are_active_again_take_turns() {
    let place = Place::make().await;
    let (much, little, paused) = (place.webhook("a").await, place.webhook("b").await, place.webhook("c").await);
    hold(&place, much, 500, "paused").await;
    hold(&place, much, 300, "order").await;
    hold(&place, little, 5, "broken").await;
    hold(&place, paused, 10, "paused").await;
    set(&place, paused, "status = 'paused'").await;

    let mut conn = place.connection().await;
    let released = release_held(&mut conn, now(), 30).await.unwrap();
    assert_eq!(released.len(), 30);
    assert_eq!(in_state(&place, little, "pending").await, 5, "the one with little does not wait for the other");
    assert_eq!(in_state(&place, much, "pending").await, 25);
    let oldest = format!(
        "select count(*) from (select state from deliveries where webhook_id = '{much}' and reason is distinct from 'order'
             order by id limit 25) first where state = 'pending'"
    );
    assert_eq!(place.ask(&oldest).await, "25");
    assert_eq!(place.ask("select count(*) from deliveries where state = 'pending' and rank = 1").await, "30");

    assert_eq!(release_held(&mut conn, now(), 1000).await.unwrap().len(), 200, "one webhook does not take all");
    for _ in 0..3 {
        release_held(&mut conn, now(), 1000).await.unwrap();
    }
    assert_eq!((in_state(&place, much, "held").await, in_state(&place, paused, "held").await), (300, 10));
    drop(conn);
    place.end().await;
}

#[tokio::test]
async fn what_is_held_for_a_deleted_webhook_is_called_off_in_batches() {
    let place = Place::make().await;
    let (gone, stays) = (place.webhook("a").await, place.webhook("b").await);
    for webhook in [gone, stays] {
        hold(&place, webhook, 30, "paused").await;
        hold(&place, webhook, 30, "order").await;
        place
            .run(&format!(
                "insert into order_lanes (webhook_id, key, next_seq, open, touched_at)
                 values ('{webhook}', 'k', 31, 30, now())"
            ))
            .await;
    }
    set(&place, gone, "deleted_at = now()").await;
    set(&place, stays, "status = 'paused'").await;
    let mut conn = place.connection().await;
    let mut batches = Vec::new();
    loop {
        let cancelled = cancel_held_of_deleted(&mut conn, now(), 25).await.unwrap();
        batches.push(cancelled);
        if cancelled == 0 {
            break;
        }
    }
    assert_eq!(batches, [25, 25, 10, 0]);
    assert_eq!((in_state(&place, gone, "cancelled").await, in_state(&place, stays, "held").await), (60, 60));
    let reasons = "select string_agg(distinct reason, ',') from deliveries where state = 'cancelled'";
    assert_eq!(place.ask(reasons).await, "webhook_deleted");

    let later = now() + TimeDelta::minutes(1);
    order::repair(&mut conn, later, 100).await.unwrap();
    order::trim(&mut conn, later + TimeDelta::hours(2), 100).await.unwrap();
    let lanes =
        format!("select string_agg(open::text, ',') from order_lanes where webhook_id in ('{gone}', '{stays}')");
    assert_eq!(place.ask(&lanes).await, "30", "the order of a deleted webhook is forgotten");
    drop(conn);
    place.end().await;
}

/// The plan of the statement that this connection has prepared and that contains `part`, with what it touched.
async fn plan(conn: &mut PgConnection, part: &str, arguments: &str) -> serde_json::Value {
    let name: String = sqlx::query_scalar("select name from pg_prepared_statements where statement like $1")
        .bind(format!("%{part}%"))
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    sqlx::query("set plan_cache_mode = force_generic_plan").execute(&mut *conn).await.unwrap();
    let explain = format!("explain (analyze, buffers, format json) execute {name} ({arguments})");
    sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(conn).await.unwrap()
}

fn blocks(plan: &serde_json::Value) -> u64 {
    let top = &plan[0]["Plan"];
    top["Shared Hit Blocks"].as_u64().unwrap() + top["Shared Read Blocks"].as_u64().unwrap()
}

#[tokio::test]
async fn a_hundred_thousand_held_rows_do_not_slow_the_release_of_fifty() {
    let place = Place::make().await;
    let (much, ordered, gone) = (place.webhook("a").await, place.webhook("b").await, place.webhook("c").await);
    hold(&place, much, 40_000, "paused").await;
    hold(&place, ordered, 40_000, "order").await;
    hold(&place, gone, 1_000, "paused").await;
    set(&place, gone, "deleted_at = now()").await;
    for _ in 0..100 {
        let paused = place.webhook("p").await;
        hold(&place, paused, 200, "paused").await;
        set(&place, paused, "status = 'paused'").await;
    }
    place.run("analyze deliveries").await;
    place.run("analyze webhooks").await;

    let mut conn = place.connection().await;
    assert_eq!(release_held(&mut conn, now(), 50).await.unwrap().len(), 50);
    assert_eq!(cancel_held_of_deleted(&mut conn, now(), 50).await.unwrap(), 50);
    for (part, arguments, most) in
        [("greatest(d.rank", "50, now(), 200", 4_000), ("'webhook_deleted'", "now(), 50", 4_000)]
    {
        let plan = plan(&mut conn, part, arguments).await;
        let (touched, took) = (blocks(&plan), plan[0]["Execution Time"].as_f64().unwrap());
        eprintln!("{part}: {touched} blocks, {took} ms");
        assert!(touched < most, "{part} touched {touched} blocks: {plan:#}");
    }
    drop(conn);
    place.end().await;
}
