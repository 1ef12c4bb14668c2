//! What the hub gives up ends at the desk, with its cause, while everything else flows: dead deliveries and calls,
//! wake-ups that nobody can read, deliveries that crash their worker.

use busbar_domain::dialect::verify_standard;
use busbar_domain::id::{ConnectorId, InboundId};
use busbar_domain::inbound::{NewInbound, System};
use busbar_domain::secret::Secret;
use busbar_domain::trace::TraceContext;
use busbar_egress::Method;
use busbar_messaging::{Queue, plant, topology};
use busbar_runtime::parts;
use busbar_sandbox::Step;
use busbar_storage::inbound;
use busbar_testkit::hub::{PATIENCE, now};
use busbar_testkit::{Hub, eventually};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

async fn publish(hub: &Hub, kind: &str) -> String {
    let reply = hub.ingest("/api/v1/events", &json!({ "type": kind, "data": { "n": 1.50 } })).await;
    assert_eq!(reply.status, 202, "{:?}", reply.body);
    reply.json()["event_id"].as_str().unwrap().to_owned()
}

/// Waits until the desk, as `key` sees it, has `count` open letters, and answers them.
async fn letters(hub: &Hub, key: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} open letters"), PATIENCE, || async {
        let page = hub.admin_as(key, Method::GET, "/api/v1/dead-letters", None).await.json();
        let rows = page["data"].as_array().cloned().unwrap_or_default();
        (rows.len() == count).then_some(rows)
    })
    .await
}

async fn resubmit(hub: &Hub, letter: &Value, body: &Value) -> String {
    let path = format!("/api/v1/dead-letters/{}/resubmit", letter["id"].as_str().unwrap());
    let reply = hub.admin(Method::POST, &path, Some(body)).await;
    assert_eq!(reply.status, 201, "{:?}", reply.body);
    reply.json()["successor_id"].as_str().unwrap().to_owned()
}

fn run_sql(hub: &Hub, statement: &str) {
    let url = hub.settings().database.url.expose_secret();
    let changed = std::process::Command::new("psql").args([url, "-qc", statement]).status().unwrap();
    assert!(changed.success());
}

/// A connector of ERPOps; answers its id and secret.
async fn connector(hub: &Hub) -> (ConnectorId, String) {
    let body = json!({ "system": "erpops", "name": "ERP", "config": {} });
    let made = hub.admin(Method::POST, "/api/v1/connectors", Some(&body)).await.json();
    (made["id"].as_str().unwrap().parse().unwrap(), made["secret"].as_str().unwrap().to_owned())
}

fn failed(connector: ConnectorId, source: &str) -> Value {
    json!({
        "connector_id": connector, "event_type": "integration.failed", "timestamp": now().to_rfc3339(),
        "severity": "error", "source": source, "message": "It failed.", "metadata": {},
    })
}

/// Puts calls into the database that the door would have refused, due at once.
async fn receive_bad(hub: &Hub, connector: ConnectorId, count: usize) {
    let now = now();
    let call = |_| NewInbound {
        id: InboundId::new(now),
        tenant: hub.tenant,
        connector,
        system: System::Erpops,
        body: (&b"{\"source\":1}"[..]).into(),
        received_at: now,
        trace: TraceContext::root(),
        once: None,
    };
    let calls: Vec<NewInbound> = (0..count).map(call).collect();
    inbound::insert(&mut *hub.connection().await, &calls, now, |_| now).await.unwrap();
}

async fn receive_good(hub: &Hub, (connector, secret): &(ConnectorId, String), source: &str) {
    let bytes = serde_json::to_vec(&failed(*connector, source)).unwrap();
    let signature = hex::encode(Secret::parse(secret).unwrap().text_key().sign(&[&bytes]));
    let (id, signature) = (connector.to_string(), format!("sha256={signature}"));
    let headers = [
        ("content-type", "application/json"),
        ("x-erpops-connector-id", id.as_str()),
        ("x-erpops-signature", signature.as_str()),
    ];
    assert_eq!(hub.post("/functions/v1/receive-event", &headers, bytes).await.status, 202);
}

#[tokio::test]
async fn unreadable_wake_ups_end_at_the_operators_desk_and_the_queues_go_on() {
    let hub = Hub::start().await;
    hub.webhook("/others", "standard", &["a"], json!({})).await;
    let broker = parts::broker(hub.settings()).unwrap();
    let id = [7; 16];
    let wakeup = |version: u8, kind: u8| [&[0x08, version, 0x10, kind, 0x1a, 0x10], &id[..]].concat();
    let (strange, future, unknown) = (vec![0xff; 1 << 20], wakeup(9, 1), wakeup(1, 99));
    let messages: [&[u8]; 5] = [b"hello", &strange, &future, &unknown, &[]];
    let queues = [Queue::Deliveries, Queue::Jobs, Queue::InboundErpops];
    for queue in queues {
        plant(&broker, queue, &messages).await.unwrap();
        publish(&hub, "a").await;
    }
    assert_eq!(hub.arrived("/others", queues.len()).await.len(), queues.len());
    let found = letters(&hub, &hub.operator_key, queues.len() * messages.len()).await;
    for letter in &found {
        assert_eq!((&letter["kind"], &letter["reason"]), (&json!("wakeup"), &json!("unreadable")));
    }
    for queue in queues {
        let mut errors: Vec<_> = found
            .iter()
            .filter(|letter| letter["label"] == queue.name())
            .map(|letter| letter["error"].as_str().unwrap())
            .collect();
        errors.sort_unstable();
        let known = ["kind 99 is unknown on this queue (22 bytes)", "not a wake-up (1048576 bytes)"];
        assert_eq!(errors[..2], known);
        assert!(errors.contains(&"version 9 is unknown (22 bytes)"), "{errors:?}");
    }
    eventually("every queue being empty", PATIENCE, || async {
        let depths = topology::depths(&broker).await.unwrap();
        depths.iter().all(|(_, depth)| *depth == Some(0)).then_some(())
    })
    .await;
    let page = hub.admin(Method::GET, "/api/v1/dead-letters", None).await.json();
    assert_eq!(page["data"], json!([]), "a tenant sees none of them");
    hub.stop().await;
}

#[tokio::test]
async fn bodies_that_nobody_should_send_are_refused_at_the_door_and_nothing_is_stored() {
    let hub = Hub::start().await;
    let (id, secret) = connector(&hub).await;
    let bomb = format!("{{\"type\":\"a\",\"data\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes();
    let huge = [b"{\"type\":\"a\",\"data\":\"".as_slice(), &vec![b'x'; 10 << 20], b"\"}"].concat();
    let key = hub.admin_key.clone();
    for (body, statuses) in [
        (b"{\"type\":\"a\",".to_vec(), [400, 422]),
        (b"\xff\xfe{}".to_vec(), [400, 422]),
        (bomb, [400, 422]),
        (huge, [413, 413]),
    ] {
        let signature = hex::encode(Secret::parse(&secret).unwrap().text_key().sign(&[&body]));
        let (id, signature) = (id.to_string(), format!("sha256={signature}"));
        let erpops = [
            ("content-type", "application/json"),
            ("x-erpops-connector-id", id.as_str()),
            ("x-erpops-signature", signature.as_str()),
        ];
        let keyed = [("content-type", "application/json"), ("x-api-key", key.as_str())];
        for (path, headers) in [
            ("/api/v1/events", &keyed[..]),
            ("/api/v1/events/batch", &keyed[..]),
            ("/api/v1/ptw/events", &keyed[..]),
            ("/functions/v1/receive-event", &erpops[..]),
        ] {
            let reply = hub.post(path, headers, body.clone()).await;
            assert!(statuses.contains(&reply.status), "{path}, {} bytes: {}", body.len(), reply.status);
        }
    }
    for list in ["events", "inbound", "dead-letters"] {
        let page = hub.admin(Method::GET, &format!("/api/v1/{list}"), None).await.json();
        assert_eq!(page["data"], json!([]), "{list}");
    }
    assert_eq!(hub.ingest("/api/v1/events", &json!({ "type": "a", "data": 1 })).await.status, 202);
    hub.stop().await;
}

#[tokio::test]
async fn a_delivery_that_crashes_its_worker_is_dead_after_its_lone_tries_while_others_flow() {
    let hub = Hub::start().await;
    let (webhook, _) = hub.webhook("/shared", "standard", &["a"], json!({})).await;
    let act = async |action: &str| {
        let reply = hub.admin(Method::POST, &format!("/api/v1/webhooks/{webhook}/{action}"), None).await;
        assert!((200..300).contains(&reply.status), "{action}: {:?}", reply.body);
    };
    act("pause").await;
    for _ in 0..20 {
        publish(&hub, "a").await;
    }
    let list = format!("/api/v1/deliveries?webhook={webhook}&status=held");
    let held = eventually("all being held", PATIENCE, || async {
        let page = hub.admin(Method::GET, &list, None).await.json();
        let ids: Vec<String> =
            page["data"].as_array()?.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect();
        (ids.len() == 20).then_some(ids)
    })
    .await;
    // One that has crashed often enough to be worked alone, and one that has crashed alone too often.
    for (id, crashes) in [(&held[3], 2), (&held[7], 5)] {
        let ended = "lease_until = now() - interval '1 minute'";
        run_sql(&hub, &format!("update deliveries set crashes = {crashes}, {ended} where id = '{id}'"));
    }
    act("resume").await;
    assert_eq!(hub.arrived("/shared", 19).await.len(), 19);
    let letter = letters(&hub, &hub.admin_key, 1).await.remove(0);
    assert_eq!((&letter["id"], &letter["reason"]), (&json!(held[7]), &json!("poison")));
    assert_eq!(letter["webhook_id"], json!(webhook));

    // Whoever has mended the cause resubmits it, and it goes out like any other.
    resubmit(&hub, &letter, &json!({})).await;
    assert_eq!(hub.arrived("/shared", 20).await.len(), 20);
    hub.stop().await;
}

#[tokio::test]
async fn an_edited_resubmission_is_what_goes_over_the_wire_signed_anew_under_the_same_id() {
    let hub = Hub::start().await;
    hub.receiver().script("/picky", vec![Step::status(400).times(1), Step::status(200)]);
    let once = json!({ "retry": { "max_attempts": 1, "first_ms": 100, "factor": 2, "max_ms": 1000 } });
    let (_, secret) = hub.webhook("/picky", "standard", &["a"], once).await;
    publish(&hub, "a").await;
    let letter = letters(&hub, &hub.admin_key, 1).await.remove(0);
    assert_eq!((&letter["reason"], &letter["status"]), (&json!("attempts_exhausted"), &json!(400)));
    resubmit(&hub, &letter, &json!({ "body": { "repaired": [1, "ü"], "type": "anything" } })).await;
    let calls = hub.arrived("/picky", 2).await;
    assert_eq!(calls[1].body, "{\"repaired\":[1,\"ü\"],\"type\":\"anything\"}".as_bytes());
    let header = |at: usize, name: &str| calls[at].header(name).unwrap_or_default();
    assert_eq!(header(0, "webhook-id"), header(1, "webhook-id"));
    let [id, at, signature] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| header(1, name));
    verify_standard(&Secret::parse(&secret).unwrap(), id, at, signature, &calls[1].body, now()).unwrap();
    letters(&hub, &hub.admin_key, 0).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_call_that_cannot_become_an_event_is_mended_at_the_desk() {
    let hub = Hub::start().await;
    let own = connector(&hub).await;
    hub.webhook("/ops", "standard", &["erpops.*"], json!({})).await;
    receive_bad(&hub, own.0, 1).await;
    let letter = letters(&hub, &hub.admin_key, 1).await.remove(0);
    assert_eq!((&letter["kind"], &letter["label"]), (&json!("inbound"), &json!("erpops")));
    assert_eq!((&letter["connector_id"], &letter["reason"]), (&json!(own.0), &json!("invalid_body")));
    assert!(letter["error"].as_str().unwrap().contains("source"), "{}", letter["error"]);
    let call = resubmit(&hub, &letter, &json!({ "body": failed(own.0, "MENDED") })).await;
    let body: Value = serde_json::from_slice(&hub.arrived("/ops", 1).await[0].body).unwrap();
    assert_eq!(body["data"]["source"], "MENDED");
    let shown = hub.admin(Method::GET, &format!("/api/v1/inbound/{call}"), None).await.json();
    assert_eq!((&shown["status"], &shown["replay_of"]), (&json!("processed"), &letter["id"]));
    hub.stop().await;
}

#[tokio::test]
async fn a_connector_whose_calls_die_one_after_the_other_is_reported_once_an_hour() {
    let hub = Hub::start().await;
    let (sound, sick) = (connector(&hub).await, connector(&hub).await);
    hub.webhook("/reports", "standard", &["connector.unhealthy"], json!({})).await;
    hub.webhook("/ops", "standard", &["erpops.*"], json!({})).await;

    // Eight of this one die, but never five in a row.
    receive_bad(&hub, sound.0, 4).await;
    letters(&hub, &hub.admin_key, 4).await;
    receive_good(&hub, &sound, "GOOD").await;
    hub.arrived("/ops", 1).await;
    receive_bad(&hub, sound.0, 4).await;
    letters(&hub, &hub.admin_key, 8).await;

    for dead in [12, 13, 18] {
        let before = letters_now(&hub).await;
        receive_bad(&hub, sick.0, dead - before).await;
        letters(&hub, &hub.admin_key, dead).await;
    }
    let calls = hub.arrived("/reports", 1).await;
    let report: Value = serde_json::from_slice(&calls[0].body).unwrap();
    assert_eq!(report["data"]["connector_id"], json!(sick.0));
    assert_eq!((&report["data"]["failures"], &report["data"]["reason"]), (&json!(5), &json!("invalid_body")));
    let made = hub.admin(Method::GET, "/api/v1/events?type=connector.unhealthy", None).await.json();
    assert_eq!(made["data"].as_array().unwrap().len(), 1);
    hub.stop().await;
}

async fn letters_now(hub: &Hub) -> usize {
    hub.admin(Method::GET, "/api/v1/dead-letters", None).await.json()["data"].as_array().unwrap().len()
}
