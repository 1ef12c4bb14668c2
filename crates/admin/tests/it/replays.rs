//! Replay jobs at the management API: what they may be asked for, what they show, and what may be done with them.

use busbar_domain::delivery::{DeadReason, DeliveryState};
use busbar_storage::claims::{self, Claimed, Finished};
use busbar_storage::{PgConnection, audit, replays};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::hub::{Answer, Hub, Tenant, members};

const REPLAYS: &str = "/api/v1/replays";

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

async fn webhook(hub: &Hub, tenant: &Tenant) -> String {
    let body = json!({ "name": "n", "url": "https://a.com/", "events": ["*"] });
    let made = hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

async fn replay(hub: &Hub, tenant: &Tenant, body: Value) -> Answer {
    hub.call(&tenant.key, "POST", REPLAYS, Some(body)).await
}

async fn connection(hub: &Hub) -> impl std::ops::DerefMut<Target = PgConnection> {
    hub.database.acquire().await.unwrap()
}

/// So many dead deliveries of the tenant, a while ago as far as a replay is concerned.
async fn dead(hub: &Hub, tenant: &Tenant, count: usize) {
    for _ in 0..count {
        hub.publish(tenant, "order.made", "O-1", "{}").await;
    }
    let listed = hub.call(&tenant.key, "GET", "/api/v1/deliveries?status=pending&limit=200", None).await.expect(200);
    let ids = listed["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().parse().unwrap());
    let mut ids: Vec<Uuid> = ids.collect();
    ids.sort_unstable();
    let now = hub.clock.now();
    let mut conn = connection(hub).await;
    let claimed = claims::claim(&mut conn, &ids, now).await.unwrap();
    let state = DeliveryState::Dead { reason: DeadReason::AttemptsExhausted };
    let end = |claimed: Claimed| Finished { claim: claimed.claim, state: state.clone(), attempt: None, about: None };
    let ended: Vec<Finished> = claimed.into_iter().map(end).collect();
    assert_eq!(claims::finish(&mut conn, &ended, now).await.unwrap().len(), count);
    hub.clock.advance(TimeDelta::seconds(1));
}

/// What was done to a replay, the first act first.
async fn acts(hub: &Hub, tenant: &Tenant, job: Uuid) -> Vec<String> {
    let records = audit::list(&mut *connection(hub).await, Some(tenant.id), Uuid::max(), 100).await.unwrap();
    let own = records.into_iter().rev().filter(|record| record.object_id == job);
    own.map(|record| format!("{} {}", record.action, record.detail.unwrap_or_default()).trim().to_owned()).collect()
}

#[actix_web::test]
async fn a_replay_shows_what_it_will_do() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let id = webhook(&hub, &tenant).await;
    dead(&hub, &tenant, 3).await;
    let since = hub.clock.now() - TimeDelta::hours(1);
    let filter = json!({ "webhook": id, "event_type": "order.made", "since": time(since) });
    let made = replay(&hub, &tenant, json!({ "filter": filter, "rate_per_second": 2 })).await.expect(201);
    assert_eq!(
        members(&made),
        [
            "id",
            "state",
            "dry_run",
            "filter",
            "rate_per_second",
            "total",
            "made",
            "skipped",
            "remaining",
            "created_at",
            "finished_at",
            "eta_seconds"
        ]
    );
    assert_eq!(
        (&made["state"], &made["dry_run"], &made["rate_per_second"]),
        (&json!("running"), &json!(false), &json!(2))
    );
    assert_eq!((&made["total"], &made["remaining"], &made["eta_seconds"]), (&json!(3), &json!(3), &json!(2)));
    let shown = &made["filter"];
    assert_eq!(
        (&shown["status"], &shown["webhook"], &shown["event_type"]),
        (&json!("dead"), &json!(id), &json!("order.made"))
    );
    let at = |name: &str| shown[name].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert_eq!(at("since").timestamp_millis(), since.timestamp_millis());
    assert!(at("until") <= hub.clock.now());

    let path = format!("{REPLAYS}/{}", made["id"].as_str().unwrap());
    let job: Uuid = made["id"].as_str().unwrap().parse().unwrap();
    let step = async || {
        hub.clock.advance(TimeDelta::seconds(1));
        let now = hub.clock.now();
        replays::step(&mut *connection(&hub).await, job, now).await.unwrap().unwrap()
    };
    assert_eq!(step().await.made.len(), 1);
    let shown = hub.call(&tenant.key, "GET", &path, None).await.expect(200);
    assert_eq!((&shown["made"], &shown["remaining"], &shown["eta_seconds"]), (&json!(1), &json!(2), &json!(1)));
    while !step().await.done {}
    let shown = hub.call(&tenant.key, "GET", &path, None).await.expect(200);
    assert_eq!((&shown["state"], &shown["made"], &shown["remaining"]), (&json!("done"), &json!(3), &json!(0)));
    assert!(shown["finished_at"].is_string() && shown["eta_seconds"].is_null());
    assert_eq!(acts(&hub, &tenant, job).await, ["replay.created status dead, total 3, rate 2, dry run false"]);
    hub.end().await;
}

#[actix_web::test]
async fn a_dry_run_counts_and_makes_nothing() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    webhook(&hub, &tenant).await;
    dead(&hub, &tenant, 3).await;
    let filter = json!({ "since": time(hub.clock.now() - TimeDelta::hours(1)) });
    let made = replay(&hub, &tenant, json!({ "filter": filter, "dry_run": true })).await.expect(201);
    assert_eq!((&made["state"], &made["total"], &made["remaining"]), (&json!("done"), &json!(3), &json!(0)));
    assert!(made["finished_at"].is_string());
    hub.clock.advance(TimeDelta::seconds(5));
    let running = replays::running(&mut *connection(&hub).await, hub.clock.now(), 10).await.unwrap();
    assert_eq!(running.count, 0);
    for action in ["pause", "resume", "cancel"] {
        let path = format!("{REPLAYS}/{}/{action}", made["id"].as_str().unwrap());
        assert_eq!(hub.call(&tenant.key, "POST", &path, None).await.expect(409)["code"], "REPLAY_ENDED");
    }
    hub.end().await;
}

#[actix_web::test]
async fn what_makes_no_sense_is_refused_with_every_reason() {
    let hub = Hub::start().await;
    let (tenant, other) = (hub.tenant("Acme").await, hub.tenant("Other").await);
    let foreign = webhook(&hub, &other).await;
    let now = hub.clock.now();
    let since = time(now - TimeDelta::hours(1));
    let fault = |pointer: &str, code: &str| vec![(pointer.to_owned(), code.to_owned())];
    let cases = [
        (json!({ "filter": {} }), fault("/filter", "TOO_WIDE")),
        (json!({ "filter": { "status": "dead", "until": since } }), fault("/filter", "TOO_WIDE")),
        (json!({ "filter": { "since": since, "status": "pending" } }), fault("/filter/status", "UNKNOWN_STATUS")),
        (json!({ "filter": { "since": since, "status": "held" } }), fault("/filter/status", "UNKNOWN_STATUS")),
        (
            json!({ "filter": { "since": since, "event_type": "a b" } }),
            fault("/filter/event_type", "INVALID_EVENT_TYPE"),
        ),
        (json!({ "filter": { "since": since }, "rate_per_second": 0 }), fault("/rate_per_second", "OUT_OF_RANGE")),
        (json!({ "filter": { "since": since }, "rate_per_second": 2001 }), fault("/rate_per_second", "OUT_OF_RANGE")),
        (json!({ "filter": { "since": time(now + TimeDelta::hours(1)) } }), fault("/filter/since", "EMPTY_SPAN")),
        (json!({ "filter": { "since": since, "until": since } }), fault("/filter/since", "EMPTY_SPAN")),
        (json!({ "filter": { "webhook": Uuid::now_v7() } }), fault("/filter/webhook", "UNKNOWN_WEBHOOK")),
        (json!({ "filter": { "webhook": foreign } }), fault("/filter/webhook", "UNKNOWN_WEBHOOK")),
    ];
    for (body, expected) in cases {
        let answer = replay(&hub, &tenant, body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.faults()), (422, expected), "{body}");
    }
    let both = replay(&hub, &tenant, json!({ "filter": { "status": "x" }, "rate_per_second": -1 })).await;
    assert_eq!(both.faults().len(), 3, "{}", both.text);
    replay(&hub, &tenant, json!({ "filter": { "since": since, "tenant": other.id.uuid() } })).await.expect(400);
    replay(&hub, &tenant, json!({ "filter": { "since": since }, "rate_per_second": 1 })).await.expect(201);
    replay(&hub, &tenant, json!({ "filter": { "since": since }, "rate_per_second": 2000 })).await.expect(201);
    let reader = hub.key(&tenant, &["read"]).await;
    hub.call(&reader, "POST", REPLAYS, Some(json!({ "filter": { "since": since } }))).await.expect(403);
    hub.call(&reader, "GET", REPLAYS, None).await.expect(200);
    hub.end().await;
}

#[actix_web::test]
async fn a_replay_is_paused_resumed_and_cancelled_only_where_that_makes_sense() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    webhook(&hub, &tenant).await;
    dead(&hub, &tenant, 50).await;
    let filter = json!({ "since": time(hub.clock.now() - TimeDelta::hours(1)) });
    let made = replay(&hub, &tenant, json!({ "filter": filter, "rate_per_second": 10 })).await.expect(201);
    let job: Uuid = made["id"].as_str().unwrap().parse().unwrap();
    let act = async |action: &str| hub.call(&tenant.key, "POST", &format!("{REPLAYS}/{job}/{action}"), None).await;
    let refused = async |action: &str| {
        let body = act(action).await.expect(409);
        body["code"].as_str().unwrap().to_owned()
    };
    let step = async || {
        hub.clock.advance(TimeDelta::seconds(1));
        let now = hub.clock.now();
        replays::step(&mut *connection(&hub).await, job, now).await.unwrap()
    };
    assert_eq!(refused("resume").await, "REPLAY_RUNNING");
    assert_eq!(step().await.unwrap().made.len(), 1);
    let paused = act("pause").await.expect(200);
    assert_eq!((&paused["state"], &paused["made"], &paused["remaining"]), (&json!("paused"), &json!(1), &json!(49)));
    assert!(paused["eta_seconds"].is_null());
    assert!(step().await.is_none(), "nothing is made once the pause is answered");
    assert_eq!(refused("pause").await, "REPLAY_PAUSED");
    let resumed = act("resume").await.expect(200);
    assert_eq!((&resumed["state"], &resumed["eta_seconds"]), (&json!("running"), &json!(5)));
    let now = hub.clock.now();
    let early = replays::step(&mut *connection(&hub).await, job, now).await.unwrap().unwrap();
    assert!(early.made.is_empty(), "a pause is not made up for");
    assert_eq!(step().await.unwrap().made.len(), 1);
    let cancelled = act("cancel").await.expect(200);
    assert_eq!((&cancelled["state"], &cancelled["remaining"]), (&json!("cancelled"), &json!(0)));
    assert!(cancelled["finished_at"].is_string());
    assert!(step().await.is_none());
    for action in ["pause", "resume", "cancel"] {
        assert_eq!(refused(action).await, "REPLAY_ENDED");
    }
    let acts = acts(&hub, &tenant, job).await;
    assert_eq!(acts[1..], ["replay.paused", "replay.resumed", "replay.cancelled"]);
    hub.end().await;
}

#[actix_web::test]
async fn anothers_replay_does_not_exist() {
    let hub = Hub::start().await;
    let (tenant, other) = (hub.tenant("Acme").await, hub.tenant("Other").await);
    let filter = json!({ "since": time(hub.clock.now() - TimeDelta::hours(1)) });
    let made = replay(&hub, &tenant, json!({ "filter": filter })).await.expect(201);
    let id = made["id"].as_str().unwrap();
    for id in [id.to_owned(), Uuid::now_v7().to_string(), "x".to_owned()] {
        hub.call(&other.key, "GET", &format!("{REPLAYS}/{id}"), None).await.expect(404);
        for action in ["pause", "resume", "cancel"] {
            hub.call(&other.key, "POST", &format!("{REPLAYS}/{id}/{action}"), None).await.expect(404);
        }
    }
    let listed = hub.call(&other.key, "GET", REPLAYS, None).await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 0);
    assert_eq!(hub.call(&tenant.key, "GET", &format!("{REPLAYS}/{id}"), None).await.expect(200)["state"], "running");
    hub.end().await;
}

#[actix_web::test]
async fn a_tenant_has_ten_replays_that_have_not_ended_and_no_more() {
    let hub = Hub::start().await;
    let (tenant, other) = (hub.tenant("Acme").await, hub.tenant("Other").await);
    let filter = json!({ "since": time(hub.clock.now() - TimeDelta::hours(1)) });
    let body = json!({ "filter": filter });
    let mut made = Vec::new();
    for _ in 0..9 {
        made.push(replay(&hub, &tenant, body.clone()).await.expect(201)["id"].as_str().unwrap().to_owned());
    }
    // Whoever comes at once is counted one after the other, or asked to come again.
    let at_once = futures_util::future::join_all((0..6).map(|_| replay(&hub, &tenant, body.clone()))).await;
    let taken = at_once.iter().filter(|answer| answer.status.as_u16() == 201).count();
    assert!(taken <= 1 && at_once.iter().all(|answer| [201, 409, 429].contains(&answer.status.as_u16())));
    if taken == 0 {
        replay(&hub, &tenant, body.clone()).await.expect(201);
    }
    assert_eq!(replay(&hub, &tenant, body.clone()).await.expect(409)["code"], "TOO_MANY_REPLAYS");
    let dry = json!({ "filter": filter, "dry_run": true });
    replay(&hub, &tenant, dry).await.expect(201);
    replay(&hub, &other, body.clone()).await.expect(201);
    hub.call(&tenant.key, "POST", &format!("{REPLAYS}/{}/cancel", made[0]), None).await.expect(200);
    replay(&hub, &tenant, body).await.expect(201);

    let mut ids = Vec::new();
    let mut path = format!("{REPLAYS}?limit=5");
    loop {
        let page = hub.call(&tenant.key, "GET", &path, None).await.expect(200);
        ids.extend(page["data"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("{REPLAYS}?limit=5&cursor={cursor}");
    }
    assert_eq!(ids.len(), 12);
    assert!(ids.is_sorted_by(|a, b| a > b), "newest first");
    hub.end().await;
}
