//! The door: secrets, paths, bodies, and answers that are late.

use std::time::Duration;

use busbar_egress::Method;
use busbar_testkit::hub::{PATIENCE, Reply};
use busbar_testkit::{Hub, eventually};
use serde_json::{Value, json};

use super::{Connector, connector, documented, get, send, text};

async fn post(hub: &Hub, path: &str, secret: Option<&str>, body: &[u8]) -> Reply {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(secret.map(|secret| ("x-webhook-secret", secret)));
    hub.post(&format!("/functions/v1/webhook-receiver{path}"), &headers, body.to_vec()).await
}

fn is_refused(reply: &Reply, status: u16, code: &str) {
    let body = reply.json();
    assert_eq!((reply.status, body["code"].as_str()), (status, Some(code)), "{}", text(reply));
    assert_eq!(body["success"], json!(false));
    assert!(body["error"].as_str().is_some_and(|error| !error.is_empty()));
}

#[tokio::test]
async fn the_door_tells_who_may_call_and_what_is_no_json() {
    let hub = Hub::start().await;
    let own = connector(&hub, json!({})).await;
    let named = format!("/{}", own.id);
    let good = serde_json::to_vec(&documented("sync_products")).unwrap();
    for path in ["", named.as_str(), "/3f0c9a52-6c1e-4c53-9d2f-0b6a7c1d2e4f", "/nonsense"] {
        for secret in [None, Some(""), Some("nonsense"), Some(&own.secret[1..])] {
            is_refused(&post(&hub, path, secret, b"not json").await, 401, "UNAUTHORIZED");
        }
    }
    for path in ["", named.as_str()] {
        assert_eq!(post(&hub, path, Some(&own.secret), &good).await.status, 200);
        for body in [&b"not json"[..], b"", b"[]", b"7", b"{\"a\":1"] {
            is_refused(&post(&hub, path, Some(&own.secret), body).await, 400, "INVALID_JSON");
        }
        is_refused(&post(&hub, path, Some(&own.secret), b"{}").await, 400, "MISSING_REQUIRED_FIELD");
        is_refused(&post(&hub, path, Some(&own.secret), b"{\"action\":\"sync_all\"}").await, 400, "INVALID_ACTION");
    }
    let calls = get(&hub, "/api/v1/inbound?system=exact").await;
    assert!(calls["data"].as_array().unwrap().iter().all(|call| call["status"] == "processed"), "{calls}");
    assert!(!calls.to_string().contains(&own.secret));
    let path = format!("/api/v1/connectors/{}", own.id);
    assert_eq!(hub.admin(Method::DELETE, &path, None).await.status, 204);
    eventually("the deletion being known", PATIENCE, || async {
        (post(&hub, "", Some(&own.secret), &good).await.status == 403).then_some(())
    })
    .await;
    is_refused(&post(&hub, &named, Some(&own.secret), &good).await, 403, "CONNECTOR_DISABLED");
    is_refused(&post(&hub, &named, Some("nonsense"), &good).await, 401, "UNAUTHORIZED");
    hub.stop().await;
}

#[tokio::test]
async fn a_secret_that_a_person_chose_belongs_to_the_path_with_the_connector() {
    let hub = Hub::start().await;
    let body = json!({ "system": "exact", "name": "chosen", "config": {}, "secret": "spring 2024" });
    let made = hub.admin(Method::POST, "/api/v1/connectors", Some(&body)).await.json();
    let url = made["inbound_url"].as_str().unwrap();
    let path = format!("/{}", made["id"].as_str().unwrap());
    assert!(url.ends_with(&format!("/functions/v1/webhook-receiver{path}")), "{url}");
    let action = serde_json::to_vec(&documented("sync_products")).unwrap();
    is_refused(&post(&hub, "", Some("spring 2024"), &action).await, 401, "UNAUTHORIZED");
    assert_eq!(post(&hub, &path, Some("spring 2024"), &action).await.status, 200);
    hub.stop().await;
}

#[tokio::test]
async fn both_secrets_count_on_both_paths_until_the_overlap_ends() {
    let hub = Hub::start().await;
    let old = connector(&hub, json!({})).await;
    let action = documented("sync_products");
    assert_eq!(send(&hub, &old, &action).await.status, 200);
    let path = format!("/api/v1/connectors/{}/rotate-secret", old.id);
    let rotated = hub.admin(Method::POST, &path, Some(&json!({ "overlap_seconds": 4 }))).await;
    let new = Connector { id: old.id.clone(), secret: rotated.json()["secret"].as_str().unwrap().into() };
    eventually("the new secret being known", Duration::from_secs(3), || async {
        (send(&hub, &new, &action).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(send(&hub, &old, &action).await.status, 200);
    eventually("the old secret being refused", PATIENCE, || async {
        (send(&hub, &old, &action).await.status == 401).then_some(())
    })
    .await;
    assert_eq!(send(&hub, &new, &action).await.status, 200);
    hub.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_late_is_told_where_the_caller_is_pointed_to() {
    // Nobody processes calls here until the second processor is started.
    let hub = Hub::start_with(|settings| {
        settings.push(("BUSBAR_PROCESSOR__QUEUES".to_owned(), "inbound.erpops,jobs".to_owned()));
    })
    .await;
    let connector = connector(&hub, json!({})).await;
    let reply = send(&hub, &connector, &documented("sync_products")).await;
    assert_eq!(reply.status, 202, "{}", text(&reply));
    let told = reply.json();
    let id = told["event_id"].as_str().unwrap();
    assert_eq!((&told["success"], &told["message"]), (&json!(true), &json!("accepted")));
    let path =
        told["status_url"].as_str().unwrap().split_once("/api/").map(|(_, path)| format!("/api/{path}")).unwrap();
    assert_eq!(path, format!("/api/v1/inbound/{id}"));
    let waiting = get(&hub, &path).await;
    assert_eq!((&waiting["status"], &waiting["answer"]), (&json!("received"), &Value::Null));
    let processor = hub.another_processor(&["inbound.exact"]);
    let done = eventually("the call being processed", PATIENCE, || async {
        Some(get(&hub, &path).await).filter(|call| call["status"] == "processed")
    })
    .await;
    assert_eq!(done["answer"]["status"], 200);
    assert_eq!(done["answer"]["body"], json!({ "success": true, "message": "Synced 2 products", "synced_count": 2 }));
    processor.stop().await;
    hub.stop().await;
}
