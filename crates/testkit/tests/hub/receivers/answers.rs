//! F14: every answer a receiver may give, and how long it is left alone after it.

use std::time::Duration;

use busbar_egress::Method;
use busbar_sandbox::{Answer, Step};
use busbar_testkit::hub::now;
use busbar_testkit::{Hub, eventually};
use serde_json::json;

use super::{act, ask, calls, late, publish, soon, until};

/// The seconds between the only attempt of a webhook's first delivery and its next one, and its state.
const WAIT: &str = "select d.state, round(extract(epoch from d.due_at - a.started_at)) from deliveries d
    join attempts a on a.delivery_id = d.id where d.webhook_id = ";

#[tokio::test]
async fn a_receiver_gets_the_time_that_it_asks_for_within_a_day() {
    let hub = Hub::start().await;
    let date = httpdate(now() + Duration::from_secs(200));
    let past = httpdate(now() - Duration::from_secs(200));
    let day = 24 * 60 * 60;
    let table = [
        (429, "300", 299..=301),
        (503, "300", 299..=301),
        (429, date.as_str(), 190..=201),
        (503, date.as_str(), 190..=201),
        (429, "1000000000000", day..=day + 1),
        (429, "99999999999999999999999999", day..=day + 1),
        // Nothing that can be followed: the webhook's own policy says when.
        (429, past.as_str(), 9..=101),
        (429, "-300", 9..=101),
        (429, "1e12", 9..=101),
        (429, "soon, please", 9..=101),
        (429, "", 9..=101),
        (500, "300", 9..=101),
        (404, "300", 9..=101),
    ];
    let mut webhooks = Vec::new();
    for (number, (status, asked, _)) in table.iter().enumerate() {
        let path = format!("/wait/{number}");
        hub.receiver().script(&path, vec![Step::new(Answer::status(*status).with_header("retry-after", *asked))]);
        webhooks.push(hub.webhook(&path, "standard", &["a"], late()).await.0);
    }
    hub.webhook("/well", "standard", &["a"], json!({})).await;
    publish(&hub, "a", json!({})).await;
    hub.arrived("/well", 1).await;
    for (webhook, (status, asked, range)) in webhooks.iter().zip(table) {
        let statement = format!("{WAIT} '{webhook}'");
        let answer = eventually("an attempt", Duration::from_secs(20), || async {
            let answer = ask(&hub, &statement);
            (!answer.is_empty()).then_some(answer)
        })
        .await;
        let (state, wait) = answer.split_once('|').unwrap();
        assert_eq!(state, "retrying", "{status} {asked}");
        assert!(range.contains(&wait.parse().unwrap()), "{status} {asked:?}: {wait} s");
    }
    hub.stop().await;
}

#[tokio::test]
async fn nothing_else_goes_to_a_receiver_that_asked_for_time_and_everything_goes_to_the_others() {
    let hub = Hub::start().await;
    let busy = Answer::status(503).with_header("retry-after", "120");
    hub.receiver().script("/busy", vec![Step::new(busy).times(1), Step::status(200)]);
    let (webhook, _) = hub.webhook("/busy", "standard", &["a"], soon(10)).await;
    hub.webhook("/calm", "standard", &["a"], json!({})).await;
    publish(&hub, "a", json!({})).await;
    hub.arrived("/busy", 1).await;
    until(&hub, &format!("select state from deliveries where webhook_id = '{webhook}'"), "retrying").await;
    for _ in 0..20 {
        publish(&hub, "a", json!({})).await;
    }
    hub.arrived("/calm", 21).await;
    let parked = format!(
        "select count(*) from deliveries where webhook_id = '{webhook}' and state = 'pending' and attempts = 0
             and lease_until is null and due_at > now() + interval '100 seconds'"
    );
    until(&hub, &parked, "20").await;
    assert_eq!(calls(&hub, "/busy"), 1);
    // A person who tests it now gets a true answer.
    assert_eq!(act(&hub, &webhook, "test").await["response_code"], 200);
    hub.stop().await;
}

#[tokio::test]
async fn a_short_pause_ends_by_itself() {
    let hub = Hub::start().await;
    let busy = Answer::status(429).with_header("retry-after", "1");
    hub.receiver().script("/short", vec![Step::new(busy).times(1), Step::status(200)]);
    hub.webhook("/short", "standard", &["a"], soon(10)).await;
    for _ in 0..10 {
        publish(&hub, "a", json!({})).await;
    }
    hub.arrived("/short", 11).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_breaks_its_webhook_until_it_is_resumed() {
    let hub = Hub::start().await;
    hub.receiver().script("/gone", vec![Step::status(410).times(1), Step::status(200)]);
    let (webhook, _) = hub.webhook("/gone", "standard", &["a"], soon(10)).await;
    hub.webhook("/told", "standard", &["webhook.disabled"], json!({})).await;
    publish(&hub, "a", json!({ "n": 1 })).await;
    let told = hub.arrived("/told", 1).await.remove(0);
    let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!((told["type"].as_str(), told["data"]["reason"].as_str()), (Some("webhook.disabled"), Some("gone")));
    assert_eq!(told["data"]["webhook_id"], webhook.as_str());
    let states = format!(
        "select string_agg(state || '/' || coalesce(reason, ''), ' ' order by id) from deliveries
         where webhook_id = '{webhook}'"
    );
    until(&hub, &states, "dead/gone").await;
    let shown = hub.admin(Method::GET, &format!("/api/v1/webhooks/{webhook}"), None).await.json();
    assert_eq!(shown["status"], "broken", "{shown}");
    assert_eq!(ask(&hub, &format!("select status_reason from webhooks where id = '{webhook}'")), "gone");

    publish(&hub, "a", json!({ "n": 2 })).await;
    until(&hub, &states, "dead/gone held/broken").await;
    assert_eq!(calls(&hub, "/gone"), 1);
    act(&hub, &webhook, "resume").await;
    until(&hub, &states, "dead/gone succeeded/").await;
    hub.stop().await;
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_never_followed() {
    let hub = Hub::start().await;
    let statuses = [300, 301, 302, 303, 304, 305, 307, 308, 399];
    let sentinel = format!("{}/sentinel", hub.receiver().url());
    for status in statuses {
        let path = format!("/moved/{status}");
        hub.receiver().script(&path, vec![Step::new(Answer::status(status).with_header("location", sentinel.clone()))]);
        hub.webhook(&path, "standard", &["a"], soon(2)).await;
    }
    publish(&hub, "a", json!({})).await;
    let dead = "select count(*) from deliveries
        where state = 'dead' and reason = 'attempts_exhausted' and attempts = 2";
    until(&hub, dead, "9").await;
    let seen = "select string_agg(distinct status::text, ' ' order by status::text) from attempts
        where error_class = 'http_status'";
    assert_eq!(ask(&hub, seen), statuses.map(|status| status.to_string()).join(" "));
    assert_eq!(calls(&hub, "/sentinel"), 0);
    assert_eq!(hub.receiver().count(), 18);
    hub.stop().await;
}

#[tokio::test]
async fn an_answer_without_a_body_is_a_success() {
    let hub = Hub::start().await;
    hub.receiver().script("/empty", vec![Step::status(204)]);
    hub.webhook("/empty", "standard", &["a"], soon(5)).await;
    publish(&hub, "a", json!({})).await;
    until(&hub, "select state || attempts from deliveries", "succeeded1").await;
    hub.stop().await;
}

/// A date as HTTP writes it.
fn httpdate(at: busbar_domain::Timestamp) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
