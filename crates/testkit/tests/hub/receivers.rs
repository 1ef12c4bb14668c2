//! What a receiver may do and what the hub makes of it: ask for time, go away, redirect, fail for long, take only so
//! much at a time.

mod answers;
mod circuits;
mod paces;
mod reports;
mod sent;

use busbar_egress::Method;
use busbar_testkit::hub::PATIENCE;
use busbar_testkit::{Hub, eventually};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// A policy whose retries come after a tenth of a second at most.
fn soon(attempts: u32) -> Value {
    json!({ "retry": { "max_attempts": attempts, "first_ms": 100, "factor": 1, "max_ms": 100 } })
}

/// A policy whose retries come within ten to a hundred seconds.
fn late() -> Value {
    json!({ "retry": { "max_attempts": 5, "first_ms": 100_000, "factor": 1, "max_ms": 100_000 } })
}

async fn publish(hub: &Hub, kind: &str, data: Value) {
    let reply = hub.ingest("/api/v1/events", &json!({ "type": kind, "data": data })).await;
    assert_eq!(reply.status, 202, "{:?}", reply.body);
}

/// What the database answers to `statement`, as text.
fn ask(hub: &Hub, statement: &str) -> String {
    try_ask(hub, statement).unwrap()
}

fn try_ask(hub: &Hub, statement: &str) -> Result<String, String> {
    let url = hub.settings().database.url.expose_secret();
    let asked = std::process::Command::new("psql").args([url, "-Atqc", statement]).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    if asked.status.success() { Ok(text(&asked.stdout)) } else { Err(text(&asked.stderr)) }
}

/// Waits until the database answers `expected` to `statement`; a server that has no connection left is asked again.
async fn until(hub: &Hub, statement: &str, expected: &str) {
    let what = format!("{expected:?} from {statement}");
    eventually(&what, PATIENCE, || async { (try_ask(hub, statement).as_deref() == Ok(expected)).then_some(()) }).await;
}

/// How often `path` was called.
fn calls(hub: &Hub, path: &str) -> usize {
    hub.receiver().requests().iter().filter(|call| call.path == path).count()
}

/// Acts on a webhook: `pause`, `resume`, `test`.
async fn act(hub: &Hub, webhook: &str, action: &str) -> Value {
    let reply = hub.admin(Method::POST, &format!("/api/v1/webhooks/{webhook}/{action}"), None).await;
    assert!((200..300).contains(&reply.status), "{action}: {:?}", reply.body);
    reply.json()
}
