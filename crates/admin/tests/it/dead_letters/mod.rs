//! The dead-letter desk: what lies on it, by letter and by cause, and how a test puts it there.

mod disposal;

use busbar_domain::delivery::{DeadReason, DeliveryState};
use busbar_domain::id::{ConnectorId, InboundId};
use busbar_domain::inbound::{NewInbound, System};
use busbar_domain::trace::TraceContext;
use busbar_storage::access::Plans;
use busbar_storage::claims::{self, About, AttemptRecord, Claimed, Finished};
use busbar_storage::dead_letters::{Kind, Letter, UnreadableWakeup, insert, insert_unreadable};
use busbar_storage::inbound::{self, Ended};
use busbar_storage::settle::settle;
use busbar_storage::snapshot::Changes;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::hub::{Answer, Hub, Tenant};

/// A webhook of `tenant` that hears orders.
async fn webhook(hub: &Hub, tenant: &Tenant, dialect: &str) -> String {
    let body = json!({ "name": dialect, "url": "https://a.com/", "events": ["order.*"], "dialect": dialect });
    let made = hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

fn dead(claimed: &Claimed, status: u16, hub: &Hub) -> Finished {
    let attempt = AttemptRecord {
        number: 1,
        started_at: hub.clock.now(),
        status: Some(status),
        error_class: Some("http_status"),
        error: Some(format!("The receiver answered {status}.")),
        ..AttemptRecord::default()
    };
    let about = About {
        tenant: claimed.tenant,
        webhook: claimed.webhook,
        event: claimed.event,
        kind: claimed.kind.clone(),
        test: claimed.test,
        attempts: 1,
    };
    let state = DeliveryState::Dead { reason: DeadReason::AttemptsExhausted };
    Finished { claim: claimed.claim, state, attempt: Some(attempt), about: Some(Box::new(about)) }
}

/// Lets every pending delivery of `tenant` die of a response with this status; answers their ids.
async fn kill_all(hub: &Hub, tenant: &Tenant, status: u16) -> Vec<Uuid> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/deliveries?status=pending&limit=200{cursor}");
        let page = hub.call(&tenant.key, "GET", &path, None).await.expect(200);
        let rows = page["data"].as_array().unwrap();
        ids.extend(rows.iter().map(|row| row["id"].as_str().unwrap().parse::<Uuid>().unwrap()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    ids.sort_unstable();
    let now = hub.clock.now();
    let claimed = claims::claim(&mut hub.database.acquire().await.unwrap(), &ids, now).await.unwrap();
    assert_eq!(claimed.len(), ids.len());
    let finished: Vec<Finished> = claimed.iter().map(|claimed| dead(claimed, status, hub)).collect();
    let plans = Plans::new(hub.database.clone(), Changes::default());
    assert_eq!(settle(&hub.database, &plans, &finished, now).await.unwrap().written, ids.len());
    ids
}

/// A delivery of one order that has died.
async fn dead_delivery(hub: &Hub, tenant: &Tenant) -> Uuid {
    hub.publish(tenant, "order.made", "O-1", r#"{"n":1.50}"#).await;
    kill_all(hub, tenant, 500).await[0]
}

/// A connector of `tenant` and a call of it that has died.
async fn dead_call(hub: &Hub, tenant: &Tenant) -> (String, Uuid) {
    let body = json!({ "system": "erpops", "name": "ERP", "config": {} });
    let made = hub.call(&tenant.key, "POST", "/api/v1/connectors", Some(body)).await.expect(201);
    let connector = made["id"].as_str().unwrap().to_owned();
    let now = hub.clock.now();
    let call = NewInbound {
        id: InboundId::new(now),
        tenant: tenant.id,
        connector: connector.parse::<ConnectorId>().unwrap(),
        system: System::Erpops,
        body: (&b"{ \"as\" : \"sent\" }"[..]).into(),
        received_at: now,
        trace: TraceContext::root(),
        once: None,
    };
    let letter = Letter {
        id: call.id.uuid(),
        tenant: tenant.id,
        source: call.connector.uuid(),
        kind: Kind::Inbound,
        label: "erpops".to_owned(),
        reason: "invalid_body".to_owned(),
        error_class: None,
        status: None,
        error: Some("/source: missing".to_owned()),
    };
    let ended = [(call.id, Ended::Dead { reason: "invalid_body: /source: missing".to_owned() })];
    let mut tx = hub.database.begin().await.unwrap();
    inbound::insert(&mut tx, std::slice::from_ref(&call), now, |_| now).await.unwrap();
    inbound::mark_ended(&mut tx, &ended, now).await.unwrap();
    insert(&mut tx, &[letter], now).await.unwrap();
    tx.commit().await.unwrap();
    (connector, call.id.uuid())
}

async fn get(hub: &Hub, tenant: &Tenant, path: &str) -> Value {
    hub.call(&tenant.key, "GET", &format!("/api/v1/{path}"), None).await.expect(200)
}

async fn post(hub: &Hub, key: &str, path: &str, body: Value) -> Answer {
    hub.call(key, "POST", &format!("/api/v1/dead-letters/{path}"), Some(body)).await
}

fn id_of(answer: &Value) -> Uuid {
    answer["successor_id"].as_str().unwrap().parse().unwrap()
}

async fn claim(hub: &Hub, id: Uuid) -> Claimed {
    let mut conn = hub.database.acquire().await.unwrap();
    claims::claim(&mut conn, &[id], hub.clock.now()).await.unwrap().remove(0)
}

#[actix_web::test]
async fn a_dead_delivery_lies_on_the_desk_with_its_cause_and_the_body_that_it_would_send() {
    let hub = Hub::start().await;
    let (tenant, other) = (hub.tenant("Acme").await, hub.tenant("Other").await);
    let hook = webhook(&hub, &tenant, "workpro").await;
    let id = dead_delivery(&hub, &tenant).await;
    let listed = get(&hub, &tenant, "dead-letters").await;
    let letter = &listed["data"][0];
    assert_eq!(
        (&letter["id"], &letter["kind"], &letter["label"]),
        (&json!(id), &json!("delivery"), &json!("order.made"))
    );
    assert_eq!((&letter["webhook_id"], &letter["connector_id"]), (&json!(hook), &Value::Null));
    assert_eq!((&letter["reason"], &letter["status"]), (&json!("attempts_exhausted"), &json!(500)));
    assert_eq!((&letter["error_class"], &letter["disposition"]), (&json!("http_status"), &json!("open")));
    assert!(letter["event_id"].is_string() && letter["died_at"].is_string());
    let shown = get(&hub, &tenant, &format!("dead-letters/{id}")).await;
    assert_eq!(shown["payload"], r#"{"event":"order.made","data":{"n":1.50}}"#);

    let fingerprint = letter["fingerprint"].as_str().unwrap();
    for (query, count) in [
        (format!("webhook={hook}"), 1),
        (format!("webhook={id}"), 0),
        (format!("fingerprint={fingerprint}"), 1),
        ("fingerprint=0".to_owned(), 0),
        ("kind=delivery".to_owned(), 1),
        ("kind=inbound".to_owned(), 0),
        ("status=resubmitted".to_owned(), 0),
    ] {
        let found = get(&hub, &tenant, &format!("dead-letters?{query}")).await;
        assert_eq!(found["data"].as_array().unwrap().len(), count, "{query}");
    }
    for query in ["status=lost", "kind=event", "group=reason", "group=fingerprint&status=discarded"] {
        hub.call(&tenant.key, "GET", &format!("/api/v1/dead-letters?{query}"), None).await.expect(422);
    }
    assert_eq!(get(&hub, &other, "dead-letters").await["data"], json!([]));
    hub.call(&other.key, "GET", &format!("/api/v1/dead-letters/{id}"), None).await.expect(404);
    post(&hub, &other.key, &format!("{id}/resubmit"), json!({})).await.expect(404);
    post(&hub, &other.key, &format!("{id}/discard"), json!({ "reason": "not mine" })).await.expect(404);
    hub.end().await;
}

#[actix_web::test]
async fn letters_are_grouped_by_cause_the_most_frequent_first() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let hook = webhook(&hub, &tenant, "standard").await;
    for (status, count) in [(500, 2), (404, 7), (500, 1)] {
        for _ in 0..count {
            hub.publish(&tenant, "order.made", "O", "{}").await;
        }
        kill_all(&hub, &tenant, status).await;
    }
    dead_call(&hub, &tenant).await;
    let groups = get(&hub, &tenant, "dead-letters?group=fingerprint").await;
    let shape: Vec<_> =
        groups["data"].as_array().unwrap().iter().map(|group| (&group["count"], &group["status"])).collect();
    assert_eq!(shape, [(&json!(7), &json!(404)), (&json!(3), &json!(500)), (&json!(1), &Value::Null)]);
    assert!(groups["next_cursor"].is_null());
    let first = &groups["data"][0];
    assert_eq!((&first["webhook_id"], &first["error"]), (&json!(hook), &json!("The receiver answered 404.")));
    let samples: Vec<&str> = first["sample_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(samples.len(), 5);
    assert!(samples.is_sorted_by(|newer, older| newer > older));
    assert!(first["first_died_at"].as_str() <= first["last_died_at"].as_str());
    let calls = get(&hub, &tenant, "dead-letters?group=fingerprint&kind=inbound").await;
    assert_eq!((&calls["data"][0]["count"], &calls["data"][0]["reason"]), (&json!(1), &json!("invalid_body")));
    assert_eq!(
        get(&hub, &tenant, &format!("dead-letters?group=fingerprint&webhook={hook}")).await["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    hub.end().await;
}

#[actix_web::test]
async fn unreadable_wake_ups_are_the_operators_alone() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let wakeup = |message: Vec<u8>| UnreadableWakeup {
        queue: "deliveries".to_owned(),
        error: "not a wake-up".to_owned(),
        sent_at: u64::try_from(hub.clock.now().timestamp()).unwrap(),
        message_id: String::new(),
        message,
    };
    let wakeups = [wakeup(b"hello".to_vec()), wakeup(vec![0xff; 100_000]), wakeup(b"hello".to_vec())];
    for _ in 0..2 {
        let mut conn = hub.database.acquire().await.unwrap();
        insert_unreadable(&mut conn, &wakeups, hub.clock.now()).await.unwrap();
    }
    assert_eq!(get(&hub, &tenant, "dead-letters?kind=wakeup").await["data"], json!([]));
    let own = async |path: &str| hub.call(&hub.operator, "GET", &format!("/api/v1/{path}"), None).await.expect(200);
    assert_eq!(own("dead-letters?kind=wakeup").await["data"].as_array().unwrap().len(), 2);
    let groups = own("dead-letters?group=fingerprint").await;
    assert_eq!((&groups["data"][0]["count"], &groups["data"][0]["label"]), (&json!(2), &json!("deliveries")));
    let (readable, long) = (wakeups[0].id(), wakeups[1].id());
    let shown = own(&format!("dead-letters/{readable}")).await;
    assert_eq!((&shown["payload"], &shown["error"]), (&json!("hello"), &json!("not a wake-up (5 bytes)")));
    assert_eq!((&shown["webhook_id"], &shown["reason"]), (&Value::Null, &json!("unreadable")));
    let shown = own(&format!("dead-letters/{long}")).await;
    assert_eq!(shown["payload_base64"].as_str().unwrap().len(), 65_536_usize.div_ceil(3) * 4);
    hub.call(&tenant.key, "GET", &format!("/api/v1/dead-letters/{long}"), None).await.expect(404);

    let refused = post(&hub, &hub.operator, &format!("{long}/resubmit"), json!({})).await;
    assert!(refused.text.contains("woken by themselves"));
    assert_eq!(refused.expect(409)["code"], "NOTHING_TO_RESUBMIT");
    let cause = json!({ "fingerprint": groups["data"][0]["fingerprint"], "reason": "a foreign publisher" });
    let refused = post(&hub, &hub.operator, "resubmit", json!({ "fingerprint": cause["fingerprint"] })).await;
    assert_eq!(refused.expect(409)["code"], "NOTHING_TO_RESUBMIT");
    post(&hub, &tenant.key, "discard", cause.clone()).await.expect(404);
    post(&hub, &hub.operator, &format!("{long}/discard"), json!({ "reason": "noise" })).await.expect(200);
    let done = post(&hub, &hub.operator, "discard", cause).await.expect(200);
    assert_eq!((&done["count"], &done["remaining"]), (&json!(1), &json!(0)));
    assert_eq!(own("audit").await["data"].as_array().unwrap().len(), 2);
    assert_eq!(get(&hub, &tenant, "audit").await["data"], json!([]));
    hub.end().await;
}
