//! Replay jobs through the whole hub: each original once more under its id, stopped at once, on any number of schedulers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use busbar_egress::Method;
use busbar_runtime::{Context, Health, Shutdown};
use busbar_sandbox::Step;
use busbar_testkit::hub::PATIENCE;
use busbar_testkit::{Hub, eventually};
use serde_json::{Value, json};

const REPLAYS: &str = "/api/v1/replays";
/// The time within which a pause must take effect.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);

/// A hub whose circuits stay closed however often a receiver fails.
async fn start() -> Hub {
    Hub::start_with(|values| values.push(("BUSBAR_DELIVERY__CIRCUIT_FAILURES".to_owned(), "1000000".to_owned()))).await
}

/// A webhook at `path` with so many dead deliveries, whose receiver works from now on.
async fn given_up(hub: &Hub, path: &str, count: usize) -> String {
    hub.receiver().script(path, vec![Step::status(500)]);
    let once = json!({ "retry": { "max_attempts": 1, "first_ms": 100, "factor": 1, "max_ms": 100 } });
    let (webhook, _) = hub.webhook(path, "standard", &["a"], once).await;
    let events: Vec<Value> = (0..count).map(|n| json!({ "type": "a", "data": { "n": n } })).collect();
    assert_eq!(hub.ingest("/api/v1/events/batch", &json!(events)).await.status, 202);
    let wanted = json!({ "filter": { "webhook": webhook }, "dry_run": true });
    eventually("every delivery being dead", PATIENCE, || async {
        let counted = hub.admin(Method::POST, REPLAYS, Some(&wanted)).await.json();
        (counted["total"].as_u64() == u64::try_from(count).ok()).then_some(())
    })
    .await;
    hub.receiver().script(path, vec![Step::status(200)]);
    webhook
}

/// Starts a job for a webhook; answers its path.
async fn replay(hub: &Hub, webhook: &str, rate: u32) -> String {
    let body = json!({ "filter": { "webhook": webhook }, "rate_per_second": rate });
    let made = hub.admin(Method::POST, REPLAYS, Some(&body)).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    format!("{REPLAYS}/{}", made.json()["id"].as_str().unwrap())
}

async fn act(hub: &Hub, job: &str, action: &str) -> Value {
    let reply = hub.admin(Method::POST, &format!("{job}/{action}"), None).await;
    assert_eq!(reply.status, 200, "{action}: {:?}", reply.body);
    reply.json()
}

async fn show(hub: &Hub, job: &str) -> Value {
    hub.admin(Method::GET, job, None).await.json()
}

/// Waits until a job has made so many deliveries.
async fn made(hub: &Hub, job: &str, count: u64) {
    let what = format!("{count} deliveries being made");
    eventually(&what, PATIENCE, || async { (show(hub, job).await["made"].as_u64() >= Some(count)).then_some(()) })
        .await;
}

async fn done(hub: &Hub, job: &str) -> Value {
    eventually("the replay being done", PATIENCE, || async {
        let shown = show(hub, job).await;
        (shown["state"] == "done").then_some(shown)
    })
    .await
}

/// How often each `webhook-id` has come to `path`.
fn ids(hub: &Hub, path: &str) -> HashMap<String, usize> {
    let mut ids = HashMap::new();
    for call in hub.receiver().requests().iter().filter(|call| call.path == path) {
        *ids.entry(call.header("webhook-id").unwrap().to_owned()).or_default() += 1;
    }
    ids
}

/// Waits until nothing of a webhook is open, and answers how many calls have come to `path` by then.
async fn quiet(hub: &Hub, webhook: &str, path: &str) -> usize {
    for status in ["pending", "retrying"] {
        let list = format!("/api/v1/deliveries?webhook={webhook}&status={status}");
        eventually("nothing being open", PATIENCE, || async {
            let page = hub.admin(Method::GET, &list, None).await.json();
            (page["data"].as_array().is_some_and(Vec::is_empty) && page["next_cursor"].is_null()).then_some(())
        })
        .await;
    }
    ids(hub, path).values().sum()
}

async fn pass(time: Duration) {
    let start = Instant::now();
    eventually("time passing", time * 2, || async { (start.elapsed() > time).then_some(()) }).await;
}

#[tokio::test]
async fn what_was_given_up_is_owed_once_more_under_the_same_id() {
    let hub = start().await;
    let webhook = given_up(&hub, "/back", 500).await;
    let first = ids(&hub, "/back");
    assert_eq!((first.len(), first.values().sum::<usize>()), (500, 500));

    let job = replay(&hub, &webhook, 2_000).await;
    let shown = done(&hub, &job).await;
    assert_eq!((&shown["total"], &shown["made"], &shown["skipped"]), (&json!(500), &json!(500), &json!(0)));
    assert_eq!(hub.arrived("/back", 1_000).await.len(), 1_000);
    assert_eq!(quiet(&hub, &webhook, "/back").await, 1_000);
    let both = ids(&hub, "/back");
    assert!(both.values().all(|count| *count == 2), "each once more");
    assert!(both.keys().all(|id| first.contains_key(id)), "under the same id");

    let newest = hub.admin(Method::GET, &format!("/api/v1/deliveries?webhook={webhook}&limit=1"), None).await.json();
    let newest = &newest["data"][0];
    let original = format!("/api/v1/deliveries/{}", newest["replay_of"].as_str().unwrap());
    let original = hub.admin(Method::GET, &original, None).await.json();
    assert_eq!((&original["status"], &newest["status"]), (&json!("dead"), &json!("succeeded")));
    assert_eq!(original["message_id"], newest["message_id"]);
    hub.stop().await;
}

#[tokio::test]
async fn a_paused_replay_makes_nothing_more_until_it_is_resumed() {
    let hub = start().await;
    let webhook = given_up(&hub, "/later", 200).await;
    let job = replay(&hub, &webhook, 50).await;
    made(&hub, &job, 10).await;
    let asked = Instant::now();
    let paused = act(&hub, &job, "pause").await;
    assert!(asked.elapsed() < STOPPED_WITHIN, "the answer itself took {:?}", asked.elapsed());
    let made = paused["made"].as_u64().unwrap();
    assert!(made < 200, "{paused}");
    let calls = quiet(&hub, &webhook, "/later").await;
    assert_eq!(calls as u64, 200 + made, "what was pending went out");
    pass(STOPPED_WITHIN * 2).await;
    assert_eq!(show(&hub, &job).await["made"].as_u64(), Some(made), "nothing more was made");
    assert_eq!(ids(&hub, "/later").values().sum::<usize>(), calls, "nothing more came");

    act(&hub, &job, "resume").await;
    assert_eq!(done(&hub, &job).await["made"], 200);
    assert_eq!(quiet(&hub, &webhook, "/later").await, 400);
    assert!(ids(&hub, "/later").values().all(|count| *count == 2), "each once more, no matter the pause");
    hub.stop().await;
}

#[tokio::test]
async fn a_cancelled_replay_makes_nothing_more_at_all() {
    let hub = start().await;
    let webhook = given_up(&hub, "/never", 200).await;
    let job = replay(&hub, &webhook, 50).await;
    made(&hub, &job, 5).await;
    let cancelled = act(&hub, &job, "cancel").await;
    let made = cancelled["made"].as_u64().unwrap();
    let calls = quiet(&hub, &webhook, "/never").await;
    assert_eq!(calls as u64, 200 + made);
    pass(STOPPED_WITHIN * 2).await;
    let shown = show(&hub, &job).await;
    assert_eq!((&shown["state"], shown["made"].as_u64()), (&json!("cancelled"), Some(made)));
    assert_eq!(ids(&hub, "/never").values().sum::<usize>(), calls);
    let refused = hub.admin(Method::POST, &format!("{job}/resume"), None).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("REPLAY_ENDED")));
    hub.stop().await;
}

#[tokio::test]
async fn two_schedulers_replay_each_delivery_once_and_at_the_pace_of_one() {
    let hub = start().await;
    let settings = Arc::new(hub.settings().clone());
    let shutdown = Shutdown::new(&settings.drain);
    let health = Health::new(shutdown.clone());
    let context = Context { service: "scheduler", health: health.scoped("another"), shutdown: shutdown.clone() };
    let mut another = tokio::task::JoinSet::new();
    another.spawn(busbar_scheduler::run(settings, context));
    let webhook = given_up(&hub, "/twice", 400).await;
    let started = Instant::now();
    let job = replay(&hub, &webhook, 200).await;
    assert_eq!(done(&hub, &job).await["made"], 400);
    assert!(started.elapsed() >= Duration::from_millis(1_500), "400 at 200 a second took {:?}", started.elapsed());
    assert_eq!(quiet(&hub, &webhook, "/twice").await, 800);
    assert!(ids(&hub, "/twice").values().all(|count| *count == 2));
    shutdown.trigger();
    another.join_next().await.unwrap().unwrap().unwrap();
    hub.stop().await;
}
