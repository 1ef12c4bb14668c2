//! Calls of outside systems as people read them, their way through the hub, and their replay.

use busbar_domain::id::{ConnectorId, InboundId};
use busbar_domain::inbound::{NewInbound, System};
use busbar_domain::trace::TraceContext;
use busbar_messaging::{Queue, topology};
use busbar_storage::inbound::{self, Ended};
use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::hub::{Hub, Tenant, eventually};

async fn connector(hub: &Hub, tenant: &Tenant, system: &str) -> Uuid {
    let body = json!({ "system": system, "name": format!("the {system}"), "config": {} });
    let made = hub.call(&tenant.key, "POST", "/api/v1/connectors", Some(body)).await.expect(201);
    made["id"].as_str().unwrap().parse().unwrap()
}

/// A call as the door writes it.
async fn receive(hub: &Hub, tenant: &Tenant, connector: Uuid, system: System, body: &[u8]) -> InboundId {
    let now = hub.clock.now();
    let call = NewInbound {
        id: InboundId::new(now),
        tenant: tenant.id,
        connector: ConnectorId::from(connector),
        system,
        body: body.to_vec().into(),
        received_at: now,
        trace: TraceContext::root(),
        once: None,
    };
    let id = call.id;
    let mut conn = hub.database.acquire().await.unwrap();
    inbound::insert(&mut conn, &[call], now, |_| now).await.unwrap();
    id
}

async fn end(hub: &Hub, id: InboundId, ended: Ended) {
    let mut conn = hub.database.acquire().await.unwrap();
    inbound::mark_ended(&mut conn, &[(id, ended)], hub.clock.now()).await.unwrap();
}

async fn show(hub: &Hub, tenant: &Tenant, id: InboundId) -> Value {
    hub.call(&tenant.key, "GET", &format!("/api/v1/inbound/{id}"), None).await.expect(200)
}

#[actix_web::test]
async fn calls_are_found_by_status_connector_system_and_time() {
    let hub = Hub::start().await;
    let (tenant, stranger) = (hub.tenant("Acme").await, hub.tenant("Other").await);
    let (one, two) = (connector(&hub, &tenant, "erpops").await, connector(&hub, &tenant, "erpops").await);
    let before = hub.clock.now();
    let mut ids = Vec::new();
    for at in 0..300 {
        let connector = if at % 100 == 0 { two } else { one };
        ids.push(receive(&hub, &tenant, connector, System::Erpops, b"{}").await);
    }
    end(&hub, ids[0], Ended::Dead { reason: "invalid_body: /x".to_owned() }).await;
    let failed = Ended::Failed { reason: "internal".to_owned(), due_at: before + TimeDelta::hours(1) };
    end(&hub, ids[1], failed).await;
    end(&hub, ids[2], Ended::Processed).await;
    let list = async |query: &str| {
        hub.call(&tenant.key, "GET", &format!("/api/v1/inbound?limit=200&{query}"), None).await.expect(200)
    };
    let count = async |query: String| list(&query).await["data"].as_array().unwrap().len();
    let time = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    for (query, expected) in [
        ("status=dead".to_owned(), 1),
        ("status=failed".to_owned(), 1),
        ("status=processed".to_owned(), 1),
        ("status=received".to_owned(), 200),
        (format!("connector={two}"), 3),
        (format!("connector={two}&status=dead"), 1),
        ("system=ptw".to_owned(), 0),
        ("system=erpops".to_owned(), 200),
        (format!("since={}", time(before)), 200),
        (format!("until={}", time(before - TimeDelta::milliseconds(1))), 0),
    ] {
        assert_eq!(count(query.clone()).await, expected, "{query}");
    }
    let dead = &list("status=dead").await["data"][0];
    assert_eq!((&dead["reason"], &dead["connector"]["name"]), (&json!("invalid_body: /x"), &json!("the erpops")));
    assert!(list("status=failed").await["data"][0]["next_attempt_at"].is_string());
    let first = list("").await;
    let next = list(&format!("cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!((next["data"].as_array().unwrap().len(), &next["next_cursor"]), (100, &Value::Null));
    assert_eq!(next["data"][99]["id"], json!(ids[0]));
    let foreign = hub.call(&stranger.key, "GET", "/api/v1/inbound", None).await.expect(200);
    assert!(foreign["data"].as_array().unwrap().is_empty());
    for wrong in ["status=open", "system=fax"] {
        hub.call(&tenant.key, "GET", &format!("/api/v1/inbound?{wrong}"), None).await.expect(422);
    }
    hub.end().await;
}

#[actix_web::test]
async fn a_call_shows_its_way_through_the_hub() {
    let hub = Hub::start().await;
    let (tenant, stranger) = (hub.tenant("Acme").await, hub.tenant("Other").await);
    let connector = connector(&hub, &tenant, "erpops").await;
    let hook = json!({ "name": "n", "url": "https://a.com/", "events": ["*"] });
    hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(hook)).await.expect(201);
    let id = receive(&hub, &tenant, connector, System::Erpops, "{\"ü\":1}".as_bytes()).await;
    let event = hub.publish_with(&tenant, "erpops.down", |event| event.inbound = Some(id)).await;
    hub.publish(&tenant, "erpops.down", "another", "{}").await;
    end(&hub, id, Ended::Processed).await;

    let shown = show(&hub, &tenant, id).await;
    assert_eq!((&shown["status"], &shown["system"]), (&json!("processed"), &json!("erpops")));
    assert_eq!((&shown["body"], &shown["body_length"]), (&json!("{\"ü\":1}"), &json!(8)));
    assert_eq!(shown["connector"]["id"], json!(connector));
    assert_eq!(shown["trace_id"].as_str().unwrap().len(), 32);
    let events = shown["events"].as_array().unwrap();
    assert_eq!((events.len(), &events[0]["id"]), (1, &json!(event)));
    assert_eq!(events[0]["deliveries"][0]["status"], "pending");
    hub.call(&stranger.key, "GET", &format!("/api/v1/inbound/{id}"), None).await.expect(404);

    let long = receive(&hub, &tenant, connector, System::Erpops, &vec![b'x'; 100_000]).await;
    let shown = show(&hub, &tenant, long).await;
    assert_eq!((shown["body"].as_str().unwrap().len(), &shown["body_length"]), (65_536, &json!(100_000)));
    let binary = receive(&hub, &tenant, connector, System::Erpops, b"\xff\x00").await;
    let shown = show(&hub, &tenant, binary).await;
    assert_eq!((&shown["body"], &shown["body_base64"]), (&Value::Null, &json!("/wA=")));
    hub.end().await;
}

#[actix_web::test]
async fn an_ended_call_is_received_once_more() {
    let hub = Hub::start().await;
    hub.apply_topology().await;
    let (tenant, stranger) = (hub.tenant("Acme").await, hub.tenant("Other").await);
    let (own, permits) = (connector(&hub, &tenant, "erpops").await, connector(&hub, &tenant, "ptw").await);
    let id = receive(&hub, &tenant, own, System::Erpops, b"{\"a\":1}").await;
    let replay =
        async |key: &str, id: InboundId| hub.call(key, "POST", &format!("/api/v1/inbound/{id}/replay"), None).await;
    assert_eq!(replay(&tenant.key, id).await.expect(409)["code"], "CALL_OPEN");
    end(&hub, id, Ended::Dead { reason: "internal".to_owned() }).await;
    replay(&stranger.key, id).await.expect(404);
    replay(&hub.key(&tenant, &["read"]).await, id).await.expect(403);

    let made = replay(&tenant.key, id).await.expect(201);
    assert_eq!((&made["replay_of"], &made["status"]), (&json!(id), &json!("received")));
    let new: InboundId = made["id"].as_str().unwrap().parse().unwrap();
    let shown = show(&hub, &tenant, new).await;
    assert_eq!((&shown["replay_of"], &shown["body"]), (&json!(id), &json!("{\"a\":1}")));
    assert_eq!(shown["connector"]["id"], json!(own));
    assert_eq!(show(&hub, &tenant, id).await["replayed_as"], json!([new]));
    eventually(async || {
        let depths = topology::depths(&hub.broker).await.unwrap();
        depths.contains(&(Queue::InboundErpops.name(), Some(1))).then_some(())
    })
    .await;

    let permit = receive(&hub, &tenant, permits, System::Ptw, b"{}").await;
    end(&hub, permit, Ended::Processed).await;
    assert_eq!(replay(&tenant.key, permit).await.expect(409)["code"], "NOT_REPLAYABLE");
    hub.call(&tenant.key, "DELETE", &format!("/api/v1/connectors/{own}"), None).await.expect(204);
    assert_eq!(replay(&tenant.key, id).await.expect(409)["code"], "CONNECTOR_DELETED");
    hub.end().await;
}
