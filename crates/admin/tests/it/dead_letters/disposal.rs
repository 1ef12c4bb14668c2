//! What people do with dead letters: try once more, edited or not, or discard, one by one or by cause.

use busbar_messaging::{Queue, topology};
use busbar_storage::access::Plans;
use busbar_storage::inbound;
use busbar_storage::settle::settle;
use busbar_storage::snapshot::Changes;
use serde_json::json;

use super::{claim, dead, dead_call, dead_delivery, get, id_of, kill_all, post, webhook};
use crate::hub::{Hub, eventually};

#[actix_web::test]
async fn a_resubmitted_delivery_goes_out_once_more_under_the_same_message_id() {
    let hub = Hub::start().await;
    hub.apply_topology().await;
    let tenant = hub.tenant("Acme").await;
    webhook(&hub, &tenant, "standard").await;
    let id = dead_delivery(&hub, &tenant).await;
    let reader = hub.key(&tenant, &["read"]).await;
    post(&hub, &reader, &format!("{id}/resubmit"), json!({})).await.expect(403);

    let path = format!("/api/v1/dead-letters/{id}/resubmit");
    let made = id_of(&hub.call(&tenant.key, "POST", &path, None).await.expect(201));
    eventually(async || {
        let depths = topology::depths(&hub.broker).await.unwrap();
        depths.contains(&(Queue::Deliveries.name(), Some(1))).then_some(())
    })
    .await;
    let (old, new) = (
        get(&hub, &tenant, &format!("deliveries/{id}")).await,
        get(&hub, &tenant, &format!("deliveries/{made}")).await,
    );
    assert_eq!((&new["status"], &new["replay_of"]), (&json!("pending"), &json!(id)));
    assert_eq!((&new["message_id"], &new["event_id"]), (&old["message_id"], &old["event_id"]));
    assert_eq!(old["status"], "dead");
    let claimed = claim(&hub, made).await;
    assert!(claimed.late && !claimed.ordered && claimed.body.is_none());

    let letter = get(&hub, &tenant, &format!("dead-letters/{id}")).await;
    assert_eq!((&letter["disposition"], &letter["successor_id"]), (&json!("resubmitted"), &json!(made)));
    assert!(letter["disposed_at"].is_string() && letter["disposed_by"].is_string());
    for (act, body) in [("resubmit", json!({})), ("discard", json!({ "reason": "again" }))] {
        let again = post(&hub, &tenant.key, &format!("{id}/{act}"), body).await;
        assert_eq!(again.expect(409)["code"], "ALREADY_DISPOSED");
    }
    assert_eq!(get(&hub, &tenant, "dead-letters").await["data"], json!([]));
    assert_eq!(get(&hub, &tenant, "dead-letters?status=resubmitted").await["data"].as_array().unwrap().len(), 1);

    let audit = get(&hub, &tenant, "audit").await;
    let act = &audit["data"][0];
    assert_eq!((&act["action"], &act["object_id"]), (&json!("dead_letter.resubmitted"), &json!(id)));
    assert_eq!(act["actor"], letter["disposed_by"]);
    assert_eq!(audit["data"].as_array().unwrap().len(), 1);
    hub.call(&reader, "GET", "/api/v1/audit", None).await.expect(403);
    hub.end().await;
}

#[actix_web::test]
async fn an_edited_body_is_kept_as_it_was_written_and_never_told_to_the_audit() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    webhook(&hub, &tenant, "standard").await;
    let id = dead_delivery(&hub, &tenant).await;
    let path = format!("{id}/resubmit");
    let deep = format!("{{\"body\":{}1{}}}", "[".repeat(65), "]".repeat(65));
    let raw = |text: String| {
        let request = actix_web::test::TestRequest::post().uri(&format!("/api/v1/dead-letters/{path}"));
        let headers = [("x-api-key", tenant.key.clone()), ("content-type", "application/json".to_owned())];
        let request = headers.into_iter().fold(request, actix_web::test::TestRequest::insert_header);
        hub.send(request.insert_header(("content-length", text.len().to_string())).set_payload(text))
    };
    assert_eq!(raw(deep).await.faults(), [("/body".to_owned(), "INVALID_JSON".to_owned())]);
    raw("{\"body\":".to_owned()).await.expect(400);
    let made = raw("{ \"body\": { \"z\" : 1.50, \"a\" : \"\\u00fc geheim\" } }".to_owned()).await.expect(201);
    let claimed = claim(&hub, id_of(&made)).await;
    assert_eq!(claimed.body.as_deref(), Some("{\"z\":1.50,\"a\":\"ü geheim\"}".as_bytes()));

    let audit = get(&hub, &tenant, "audit").await;
    let detail = audit["data"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("replaced by 26 bytes (sha256 ") && !detail.contains("geheim"), "{detail}");

    // What is edited once is edited still when its successor dies too.
    let finished = [dead(&claimed, 500, &hub)];
    let plans = Plans::new(hub.database.clone(), Changes::default());
    settle(&hub.database, &plans, &finished, hub.clock.now()).await.unwrap();
    let second = id_of(&made);
    let shown = get(&hub, &tenant, &format!("dead-letters/{second}")).await;
    assert_eq!(shown["payload"], "{\"z\":1.50,\"a\":\"ü geheim\"}");
    let third = post(&hub, &tenant.key, &format!("{second}/resubmit"), json!({ "body": null })).await.expect(201);
    assert_eq!(claim(&hub, id_of(&third)).await.body, claimed.body);
    hub.end().await;
}

#[actix_web::test]
async fn what_belongs_to_something_deleted_cannot_be_resubmitted() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let hook = webhook(&hub, &tenant, "standard").await;
    let id = dead_delivery(&hub, &tenant).await;
    let (connector, call) = dead_call(&hub, &tenant).await;
    for path in [format!("webhooks/{hook}"), format!("connectors/{connector}")] {
        assert_eq!(hub.call(&tenant.key, "DELETE", &format!("/api/v1/{path}"), None).await.status.as_u16(), 204);
    }
    for (id, code) in [(id, "WEBHOOK_DELETED"), (call, "CONNECTOR_DELETED")] {
        let refused = post(&hub, &tenant.key, &format!("{id}/resubmit"), json!({})).await;
        assert_eq!(refused.expect(409)["code"], code);
        let fingerprint = get(&hub, &tenant, &format!("dead-letters/{id}")).await["fingerprint"].clone();
        let refused = post(&hub, &tenant.key, "resubmit", json!({ "fingerprint": fingerprint })).await;
        assert_eq!(refused.expect(409)["code"], code);
        post(&hub, &tenant.key, &format!("{id}/discard"), json!({ "reason": "it is gone" })).await.expect(200);
    }
    hub.end().await;
}

#[actix_web::test]
async fn a_resubmitted_call_is_a_new_call_on_its_systems_queue() {
    let hub = Hub::start().await;
    hub.apply_topology().await;
    let tenant = hub.tenant("Acme").await;
    for (edit, body) in [(json!({}), "{ \"as\" : \"sent\" }"), (json!({ "body": { "now": 1 } }), "{\"now\":1}")] {
        let (_, id) = dead_call(&hub, &tenant).await;
        let shown = get(&hub, &tenant, &format!("dead-letters/{id}")).await;
        assert_eq!((&shown["payload"], &shown["label"]), (&json!("{ \"as\" : \"sent\" }"), &json!("erpops")));
        let made = id_of(&post(&hub, &tenant.key, &format!("{id}/resubmit"), edit).await.expect(201));
        let mut tx = hub.database.begin().await.unwrap();
        let calls = inbound::lock_received(&mut tx, &[made]).await.unwrap();
        assert_eq!((calls.len(), &calls[0].body[..]), (1, body.as_bytes()));
    }
    eventually(async || {
        let depths = topology::depths(&hub.broker).await.unwrap();
        depths.contains(&(Queue::InboundErpops.name(), Some(2))).then_some(())
    })
    .await;
    hub.end().await;
}

#[actix_web::test]
async fn a_letter_is_discarded_for_a_reason_and_stays_so() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    webhook(&hub, &tenant, "standard").await;
    let id = dead_delivery(&hub, &tenant).await;
    let path = format!("{id}/discard");
    for body in [json!({}), json!({ "reason": " " }), json!({ "reason": "x".repeat(501) }), json!({ "reason": "a\0" })]
    {
        let refused = post(&hub, &tenant.key, &path, body).await;
        assert_eq!(refused.faults()[0].0, "/reason");
        refused.expect(422);
    }
    let discarded = post(&hub, &tenant.key, &path, json!({ "reason": "ü".repeat(500) })).await.expect(200);
    assert_eq!((&discarded["disposition"], &discarded["note"]), (&json!("discarded"), &json!("ü".repeat(500))));
    let again = post(&hub, &tenant.key, &path, json!({ "reason": "again" })).await;
    assert_eq!(again.expect(409)["code"], "ALREADY_DISPOSED");
    let resubmitted = post(&hub, &tenant.key, &format!("{id}/resubmit"), json!({})).await;
    assert_eq!(resubmitted.expect(409)["code"], "ALREADY_DISPOSED");
    assert_eq!(get(&hub, &tenant, "dead-letters?status=discarded").await["data"][0]["id"], json!(id));
    assert_eq!(get(&hub, &tenant, "audit").await["data"][0]["action"], "dead_letter.discarded");
    hub.end().await;
}

#[actix_web::test]
async fn a_whole_cause_is_disposed_of_a_thousand_letters_at_a_time() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    webhook(&hub, &tenant, "standard").await;
    for _ in 0..1003 {
        hub.publish(&tenant, "order.made", "O", "{}").await;
    }
    kill_all(&hub, &tenant, 500).await;
    hub.publish(&tenant, "order.made", "O", "{}").await;
    let other = kill_all(&hub, &tenant, 404).await[0];
    let causes = get(&hub, &tenant, "dead-letters?group=fingerprint").await;
    let fingerprint = json!({ "fingerprint": causes["data"][0]["fingerprint"] });
    for (count, remaining) in [(1000, 3), (3, 0)] {
        let done = post(&hub, &tenant.key, "resubmit", fingerprint.clone()).await.expect(200);
        assert_eq!((&done["count"], &done["remaining"]), (&json!(count), &json!(remaining)));
    }
    post(&hub, &tenant.key, "resubmit", fingerprint.clone()).await.expect(404);
    let open = get(&hub, &tenant, "dead-letters").await;
    assert_eq!((open["data"].as_array().unwrap().len(), &open["data"][0]["id"]), (1, &json!(other)));
    assert_eq!(kill_all(&hub, &tenant, 500).await.len(), 1003);

    let mut discarding = fingerprint.clone();
    post(&hub, &tenant.key, "discard", discarding.clone()).await.expect(422);
    discarding["reason"] = json!("the receiver is no more");
    for (count, remaining) in [(1000, 3), (3, 0)] {
        let done = post(&hub, &tenant.key, "discard", discarding.clone()).await.expect(200);
        assert_eq!((&done["count"], &done["remaining"]), (&json!(count), &json!(remaining)));
    }
    let audit = get(&hub, &tenant, "audit").await;
    let actions: Vec<_> = audit["data"].as_array().unwrap().iter().map(|act| act["action"].as_str().unwrap()).collect();
    let (discarded, resubmitted) = ("dead_letters.discarded", "dead_letters.resubmitted");
    assert_eq!(actions, [discarded, discarded, resubmitted, resubmitted]);
    hub.end().await;
}

#[actix_web::test]
async fn of_two_who_resubmit_at_once_one_makes_a_successor() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    webhook(&hub, &tenant, "standard").await;
    for _ in 0..5 {
        let id = dead_delivery(&hub, &tenant).await;
        let path = format!("{id}/resubmit");
        let (one, two) =
            tokio::join!(post(&hub, &tenant.key, &path, json!({})), post(&hub, &tenant.key, &path, json!({})));
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
        assert_eq!(kill_all(&hub, &tenant, 500).await.len(), 1);
    }
    hub.end().await;
}
