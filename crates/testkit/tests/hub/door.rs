//! The door: what it takes, what it refuses and how, and that nothing that is refused is stored.

use std::time::{Duration, Instant};

use busbar_domain::api_key::Scope;
use busbar_egress::Method;
use busbar_storage::event_log;
use busbar_testkit::hub::Reply;
use busbar_testkit::{Hub, eventually, hub::PATIENCE};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn events(hub: &Hub) -> usize {
    let filter = event_log::Filter { kind: None, subject: None, before: uuid::Uuid::max(), limit: 200 };
    let mut connection = hub.connection().await;
    event_log::list(&mut connection, hub.tenant, &filter).await.unwrap().len()
}

fn permit(id: u64) -> Value {
    json!({ "event": "permit_approved", "permit_id": id, "permit_number": format!("PTW-{id}"), "project_id": 1, "data": {} })
}

async fn post(hub: &Hub, path: &str, body: &[u8]) -> Reply {
    let headers = [("x-api-key", hub.admin_key.as_str()), ("content-type", "application/json")];
    hub.post(path, &headers, body.to_vec()).await
}

#[tokio::test]
async fn what_is_refused_says_why_and_stores_nothing() {
    let hub = Hub::start_with(|values| values.push(("BUSBAR_INGRESS__MAX_BODY_BYTES".into(), "2000".into()))).await;
    let big = json!({ "type": "a", "data": "x".repeat(3000) }).to_string();
    for (path, body, status, says) in [
        ("/api/v1/events", big.as_str(), 413, "2000 bytes"),
        ("/api/v1/events", "{\"type\":", 400, "INVALID_JSON"),
        ("/api/v1/events", "{\"type\":\"a\",\"data\":1,\"tenant_id\":\"x\"}", 400, "UNKNOWN_FIELD"),
        ("/api/v1/events", "{\"type\":\"a b\",\"data\":1}", 422, "/type"),
        ("/api/v1/events", "{\"type\":\"a\"}", 422, "data"),
        ("/api/v1/events", "{\"type\":\"a\",\"data\":1,\"subject\":\"\\u0000\"}", 422, "/subject"),
        ("/api/v1/events", "{\"type\":\"a\",\"data\":1,\"occurred_at\":\"yesterday\"}", 422, "/occurred_at"),
        ("/api/v1/events/batch", "{\"events\":[]}", 422, "1 to 1000"),
        ("/api/v1/events/batch", "nonsense", 400, "INVALID_JSON"),
        ("/api/v1/ptw/events", big.as_str(), 413, "2000 bytes"),
        ("/api/v1/ptw/events", "{\"event\":", 400, "detail"),
        (
            "/api/v1/ptw/events",
            "{\"event\":\"permit_eaten\",\"permit_id\":1,\"permit_number\":\"a\",\"data\":{}}",
            400,
            "escalation_triggered",
        ),
        ("/api/v1/ptw/events", "{}", 400, "permit_number"),
        ("/api/v1/nowhere", "{}", 404, "NOT_FOUND"),
    ] {
        let reply = post(&hub, path, body.as_bytes()).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, status, "{path} {body}: {text}");
        assert!(text.contains(says), "{path} {body}: {text}");
    }
    let deep = format!("{{\"type\":\"a\",\"data\":{}{}}}", "[".repeat(900), "]".repeat(900));
    assert_eq!(post(&hub, "/api/v1/events", deep.as_bytes()).await.status, 422);
    assert_eq!(events(&hub).await, 0);
    hub.stop().await;
}

#[tokio::test]
async fn without_a_key_of_the_right_scope_nothing_gets_in() {
    let hub = Hub::start().await;
    let reader = hub.key(&[Scope::Read]).await;
    let publisher = hub.key(&[Scope::Publish]).await;
    let body = json!({ "type": "a", "data": 1 }).to_string().into_bytes();
    let json = ("content-type", "application/json");
    let wrong = publisher.replace(&publisher[30..34], "0000");
    for (headers, status) in [
        (vec![json], 401),
        (vec![json, ("x-api-key", "nonsense")], 401),
        (vec![json, ("x-api-key", wrong.as_str())], 401),
        (vec![json, ("x-api-key", reader.as_str())], 403),
        (vec![json, ("x-api-key", hub.operator_key.as_str())], 403),
        (vec![("content-type", "text/plain"), ("x-api-key", publisher.as_str())], 415),
        (vec![json, ("content-encoding", "gzip"), ("x-api-key", publisher.as_str())], 415),
    ] {
        let reply = hub.post("/api/v1/events", &headers, body.clone()).await;
        assert_eq!(reply.status, status, "{headers:?}: {:?}", reply.body);
    }
    assert_eq!(events(&hub).await, 0);
    let bearer = format!("Bearer {publisher}");
    let reply = hub.post("/api/v1/events", &[json, ("authorization", &bearer)], body).await;
    assert_eq!(reply.status, 202);
    assert_eq!(events(&hub).await, 1);
    hub.stop().await;
}

#[tokio::test]
async fn a_revoked_key_is_worth_nothing_within_two_seconds() {
    let hub = Hub::start().await;
    let made = hub.admin(Method::POST, "/api/v1/api-keys", Some(&json!({ "name": "k", "scopes": ["publish"] }))).await;
    let (id, key) = (made.json()["id"].clone(), made.json()["key"].as_str().unwrap().to_owned());
    let json = ("content-type", "application/json");
    let body = || b"{\"type\":\"a\",\"data\":1}".to_vec();
    assert_eq!(hub.post("/api/v1/events", &[json, ("x-api-key", &key)], body()).await.status, 202);
    let path = format!("/api/v1/api-keys/{}/revoke", id.as_str().unwrap());
    assert!((200..300).contains(&hub.admin(Method::POST, &path, None).await.status));
    eventually("the key being refused", Duration::from_secs(2), || async {
        (hub.post("/api/v1/events", &[json, ("x-api-key", &key)], body()).await.status == 401).then_some(())
    })
    .await;
    hub.stop().await;
}

#[tokio::test]
async fn the_same_permit_event_within_an_hour_is_one_event() {
    let hub = Hub::start().await;
    hub.webhook("/ptw", "ptw", &["permit_approved"], json!({})).await;
    let body = permit(7);
    let replies = futures_util::future::join_all((0..100).map(|_| hub.ingest("/api/v1/ptw/events", &body))).await;
    let ids: std::collections::HashSet<String> =
        replies.iter().map(|reply| reply.json()["event_id"].as_str().unwrap().to_owned()).collect();
    let firsts = replies.iter().filter(|reply| reply.json().get("duplicate").is_none()).count();
    assert!(replies.iter().all(|reply| reply.status == 202));
    assert_eq!((ids.len(), firsts), (1, 1));
    assert_eq!(events(&hub).await, 1);
    assert_eq!(hub.ingest("/api/v1/ptw/events", &permit(8)).await.json().get("duplicate"), None);
    assert_eq!(hub.arrived("/ptw", 2).await.len(), 2);
    hub.stop().await;
}

#[tokio::test]
async fn an_idempotency_key_makes_a_repeat_recognisable() {
    let hub = Hub::start().await;
    let send = async |body: &str| {
        let headers =
            [("x-api-key", hub.admin_key.as_str()), ("content-type", "application/json"), ("idempotency-key", "k-1")];
        hub.post("/api/v1/events", &headers, body.as_bytes().to_vec()).await
    };
    let first = send("{\"type\":\"a\",\"data\":1}").await;
    let again = send("{\"type\":\"a\",\"data\":1}").await;
    let other = send("{\"type\":\"a\",\"data\":2}").await;
    assert_eq!((first.status, again.status, other.status), (202, 202, 409));
    assert_eq!(first.json(), again.json());
    assert_eq!(again.headers.get("idempotency-replayed").unwrap(), "true");
    assert_eq!(events(&hub).await, 1);
    hub.stop().await;
}

#[tokio::test]
async fn a_batch_answers_each_event_in_order() {
    let hub = Hub::start().await;
    hub.webhook("/all", "standard", &["*"], json!({})).await;
    let body = json!({ "events": [
        { "type": "a", "data": 1 }, { "type": "a b", "data": 2 }, { "type": "c", "data": 3, "subject": "S-1" },
    ] });
    let reply = hub.ingest("/api/v1/events/batch", &body).await;
    assert_eq!(reply.status, 202);
    let answers = reply.json()["events"].as_array().unwrap().clone();
    assert!(answers[0]["event_id"].is_string() && answers[2]["event_id"].is_string());
    assert_eq!(answers[1]["error"]["code"], "INVALID_FIELD");
    assert_eq!(hub.arrived("/all", 2).await.len(), 2);
    let many: Vec<Value> = (0..1000).map(|at| json!({ "type": "many", "data": at })).collect();
    assert_eq!(hub.ingest("/api/v1/events/batch", &Value::Array(many)).await.status, 202);
    assert_eq!(hub.arrived("/all", 1002).await.len(), 1002);
    hub.stop().await;
}

/// Sends `start` and then nothing; answers what came back and how long the connection lasted.
async fn dawdle(hub: &Hub, start: &str) -> (String, Duration) {
    let began = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "the test writes its request byte by byte")]
    let mut stream = TcpStream::connect(hub.settings().ingress.listen).await.unwrap();
    stream.write_all(start.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection ends").unwrap();
    (String::from_utf8_lossy(&answer).into_owned(), began.elapsed())
}

#[tokio::test]
async fn a_sender_that_dawdles_is_sent_away() {
    let hub = Hub::start_with(|values| {
        values.push(("BUSBAR_INGRESS__HEADER_TIMEOUT_MS".into(), "500".into()));
        values.push(("BUSBAR_INGRESS__BODY_TIMEOUT_MS".into(), "500".into()));
    })
    .await;
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\nx-api-key: {}\r\n",
        hub.admin_key
    );
    let (answer, lasted) = dawdle(&hub, &head).await;
    assert!(answer.starts_with("HTTP/1.1 408") && lasted < Duration::from_secs(5), "{answer} {lasted:?}");
    let (answer, lasted) = dawdle(&hub, &format!("{head}content-length: 100\r\n\r\n{{\"type\"")).await;
    assert!(answer.starts_with("HTTP/1.1 408") && lasted < Duration::from_secs(5), "{answer} {lasted:?}");
    assert!(answer.contains("BODY_TIMEOUT"));
    let (answer, _) = dawdle(&hub, &format!("{head}content-length: 99999999\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(events(&hub).await, 0);
    hub.stop().await;
}
