//! The way out to a webhook: where its URL may lead when it is called, and what its headers put on the wire.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use busbar_domain::id::WebhookId;
use busbar_egress::Method;
use busbar_sandbox::{Received, Receiver, Script};
use busbar_storage::access::WEBHOOK_HEADERS;
use busbar_storage::seal::Place;
use busbar_testkit::hub::PATIENCE;
use busbar_testkit::{Hub, eventually};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// Changes rows past the management API, as an operator might, and tells every process.
fn change(hub: &Hub, statement: &str) {
    let url = hub.settings().database.url.expose_secret();
    let statement =
        format!("{statement}; update tenants set config_version = config_version + 1, config_changed_at = now()");
    let changed = std::process::Command::new("psql").args([url, "-v", "ON_ERROR_STOP=1", "-qc", &statement]).status();
    assert!(changed.unwrap().success(), "{statement}");
}

async fn publish(hub: &Hub, kind: &str) {
    let reply = hub.ingest("/api/v1/events", &json!({ "type": kind, "data": { "n": 1 } })).await;
    assert_eq!(reply.status, 202, "{:?}", reply.body);
}

/// Waits until the webhook has a dead delivery of an event and answers it with its attempts.
async fn dead(hub: &Hub, webhook: &str) -> Value {
    let list = format!("/api/v1/deliveries?webhook={webhook}&status=dead");
    let id = eventually("a dead delivery", PATIENCE, || async {
        let page = hub.admin(Method::GET, &list, None).await.json();
        page["data"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    detail(hub, &id).await
}

async fn detail(hub: &Hub, delivery: &str) -> Value {
    hub.admin(Method::GET, &format!("/api/v1/deliveries/{delivery}"), None).await.json()
}

#[track_caller]
fn assert_refused(delivery: &Value, url: &str) {
    assert_eq!(delivery["reason"], "address_refused", "{url}: {delivery}");
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{url}");
    assert_eq!((&attempts[0]["error_class"], &attempts[0]["status"]), (&json!("refused"), &Value::Null), "{url}");
}

#[tokio::test]
async fn a_url_that_may_not_be_called_any_more_is_refused_at_each_attempt() {
    let hub = Hub::start_with(|values| {
        values.retain(|(name, _)| name != "BUSBAR_EGRESS__ALLOW");
        values.push(("BUSBAR_EGRESS__ALLOW".to_owned(), "127.0.0.1/32".to_owned()));
    })
    .await;
    let inside = Receiver::start(SocketAddr::from(([127, 0, 0, 2], 0)), Script::default()).unwrap();
    let port = inside.addr().port();
    let urls = [
        format!("http://127.0.0.2:{port}/"),
        format!("http://0x7f.2:{port}/"),
        format!("http://2130706434:{port}/"),
        format!("http://[::ffff:127.0.0.2]:{port}/"),
        format!("http://user@127.0.0.2:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "http://[fd00:ec2::254]/".to_owned(),
        "http://127.0.0.1:22/".to_owned(),
        "ftp://127.0.0.1/".to_owned(),
        "nonsense".to_owned(),
    ];
    for (at, url) in urls.iter().enumerate() {
        let kind = format!("kind-{at}");
        let (webhook, _) = hub.webhook("/before", "standard", &[&kind], json!({})).await;
        change(&hub, &format!("update webhooks set url = '{url}' where id = '{webhook}'"));
        publish(&hub, &kind).await;
        assert_refused(&dead(&hub, &webhook).await, url);
        let ping = hub.admin(Method::POST, &format!("/api/v1/webhooks/{webhook}/test"), None).await.json();
        assert_eq!((&ping["status"], &ping["response_code"]), (&json!("dead"), &Value::Null), "{url}");
        assert_refused(&detail(&hub, ping["delivery_id"].as_str().unwrap()).await, url);
    }
    assert_eq!((inside.connections(), hub.receiver().count()), (0, 0), "nobody was called");
    hub.stop().await;
}

/// Headers that are allowed, with everything in them that a lenient parser could take for a separator.
fn allowed() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("authorization", "Bearer a:b, c=\"d\"; e"),
        ("cookie", "a=b; c=d"),
        ("x-empty", ""),
        ("x-obs!#$%&'*+-.^_`|~0", "\\r\\n %0d%0a : , ; = \"quoted\" <tag>"),
        (
            "x-long",
            "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
        ),
        ("user-agent", "the subscriber's own"),
        ("accept", "application/json"),
    ])
}

/// Every header of a call under its name in lower case, with how often it came.
fn by_name(call: &Received) -> BTreeMap<String, Vec<&str>> {
    let mut names: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, value) in &call.headers {
        names.entry(name.to_ascii_lowercase()).or_default().push(value);
    }
    names
}

#[tokio::test]
async fn what_is_accepted_as_a_header_arrives_exactly_once_and_as_it_was_given() {
    let hub = Hub::start().await;
    for dialect in ["standard", "ptw", "workpro", "exact"] {
        let kind = if dialect == "ptw" { "permit_approved" } else { dialect };
        hub.webhook(&format!("/{dialect}"), dialect, &[kind], json!({ "headers": allowed() })).await;
        publish(&hub, kind).await;
    }
    for dialect in ["standard", "ptw", "workpro", "exact"] {
        let calls = hub.arrived(&format!("/{dialect}"), 1).await;
        let names = by_name(&calls[0]);
        for (name, value) in allowed() {
            assert_eq!(names.get(name), Some(&vec![value]), "{dialect}: {name}");
        }
        for (name, values) in &names {
            assert_eq!(values.len(), 1, "{dialect}: {name} came more than once: {values:?}");
        }
        let length = calls[0].header("content-length").unwrap();
        assert_eq!(length, calls[0].body.len().to_string(), "{dialect}");
    }
    assert_eq!(hub.receiver().count(), 4, "no call was split in two");
    hub.stop().await;
}

#[tokio::test]
async fn a_header_that_was_smuggled_into_the_database_is_never_sent() {
    let hub = Hub::start().await;
    let pairs = [
        ("x-a", "a\r\nx-evil: 1"),
        ("x-a\r\nx-evil", "1"),
        ("x-a", "a\r\n\r\nPOST /evil HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("host", "evil"),
        ("content-length", "0"),
        ("transfer-encoding", "chunked"),
        ("webhook-id", "evil"),
        ("x-a", "\0"),
    ];
    for (at, pair) in pairs.iter().enumerate() {
        let path = format!("/held/{at}");
        let (webhook, _) = hub.webhook(&path, "standard", &["a"], json!({ "headers": { "x-a": "b" } })).await;
        let id: WebhookId = webhook.parse().unwrap();
        let place = Place { column: WEBHOOK_HEADERS, row: id.uuid() };
        let sealed = hub.database().keyring().seal_bytes(place, json!([pair]).to_string().as_bytes()).unwrap();
        change(&hub, &format!("update webhooks set headers = '\\x{}' where id = '{webhook}'", hex::encode(sealed)));
    }
    hub.webhook("/sound", "standard", &["a"], json!({ "headers": { "x-a": "b" } })).await;
    publish(&hub, "a").await;
    let calls = hub.arrived("/sound", 1).await;
    assert_eq!(calls[0].header("x-a"), Some("b"));
    let statement = "/api/v1/deliveries?status=pending";
    eventually("the others being put off", PATIENCE, || async {
        let page = hub.admin(Method::GET, statement, None).await.json();
        (page["data"].as_array()?.len() == pairs.len()).then_some(())
    })
    .await;
    assert_eq!(hub.receiver().count(), 1, "nothing was sent that could be read in two ways");
    hub.stop().await;
}

#[tokio::test]
async fn a_webhook_whose_secrets_lie_in_the_wrong_place_gets_nothing_and_holds_up_nobody() {
    let hub = Hub::start().await;
    let mut webhooks = Vec::new();
    for at in 0..4 {
        let more = json!({ "headers": { "x-key": "v" } });
        webhooks.push(hub.webhook(&format!("/damaged/{at}"), "standard", &["a"], more).await.0);
    }
    let (sound, _) = hub.webhook("/sound", "standard", &["a"], json!({ "headers": { "x-key": "v" } })).await;
    for (webhook, damage) in webhooks.iter().zip([
        format!("secret = (select secret from webhooks where id = '{sound}')"),
        format!("headers = (select headers from webhooks where id = '{sound}')"),
        "secret = headers".to_owned(),
        "headers = substring(headers from 1 for 30)".to_owned(),
    ]) {
        change(&hub, &format!("update webhooks set {damage} where id = '{webhook}'"));
    }
    for _ in 0..3 {
        publish(&hub, "a").await;
    }
    assert_eq!(hub.arrived("/sound", 3).await.len(), 3);
    let waiting = "/api/v1/deliveries?status=pending";
    eventually("the others being put off", PATIENCE, || async {
        let page = hub.admin(Method::GET, waiting, None).await.json();
        (page["data"].as_array()?.len() == 12).then_some(())
    })
    .await;
    assert_eq!(hub.receiver().count(), 3, "nothing goes out unsigned or without its headers");
    hub.stop().await;
}
