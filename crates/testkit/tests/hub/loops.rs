//! Events that come back to the hub: a webhook that leads to the hub's own door ends after three rounds.

use busbar_egress::Method;
use busbar_testkit::hub::PATIENCE;
use busbar_testkit::{Hub, eventually};
use serde_json::json;

#[tokio::test]
async fn an_event_that_is_passed_on_to_the_hub_goes_round_three_times_at_most() {
    let hub = Hub::start().await;
    hub.webhook("/relay", "standard", &["relayed"], json!({})).await;
    let body = json!({ "type": "relayed", "data": {} });
    let mut answer = hub.ingest("/api/v1/events", &body).await;
    let key = hub.admin_key.clone();
    for round in 1..=3_usize {
        assert_eq!(answer.status, 202, "round {round}: {:?}", answer.body);
        let calls = hub.arrived("/relay", round).await;
        let hops = calls[round - 1].header("busbar-hops").unwrap().to_owned();
        assert_eq!(hops, round.to_string());
        // A relay in between passes the mark on with the event.
        let headers = [("x-api-key", key.as_str()), ("content-type", "application/json"), ("busbar-hops", &hops)];
        answer = hub.post("/api/v1/events", &headers, serde_json::to_vec(&body).unwrap()).await;
    }
    assert_eq!(answer.status, 508, "{:?}", answer.body);
    assert_eq!(answer.json()["code"], "LOOP_DETECTED");
    let listed = hub.admin(Method::GET, "/api/v1/events?type=relayed", None).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 3, "nothing more is stored");
    for nonsense in ["", "-1", "many", "255", "1000000"] {
        let headers = [("x-api-key", key.as_str()), ("content-type", "application/json"), ("busbar-hops", nonsense)];
        let answer = hub.post("/api/v1/events", &headers, serde_json::to_vec(&body).unwrap()).await;
        assert_eq!(answer.status, 508, "{nonsense:?}: {:?}", answer.body);
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_permit_webhook_that_leads_to_the_permit_door_stops_by_itself() {
    let hub = Hub::start().await;
    let door = format!("http://{}/api/v1/ptw/events", hub.settings().ingress.listen);
    let more = json!({ "url": door, "headers": { "x-api-key": hub.admin_key } });
    let (webhook, _) = hub.webhook("/unused", "ptw", &["permit_approved"], more).await;
    let permit = json!({
        "event": "permit_approved", "permit_id": 1, "permit_number": "P-1", "project_id": 5, "data": { "status": "approved" }
    });
    assert_eq!(hub.ingest("/api/v1/ptw/events", &permit).await.status, 202);
    let succeeded = format!("/api/v1/deliveries?webhook={webhook}&status=succeeded");
    eventually("the event having come back", PATIENCE, || async {
        let page = hub.admin(Method::GET, &succeeded, None).await.json();
        (page["data"].as_array()?.len() == 1).then_some(())
    })
    .await;
    let listed = hub.admin(Method::GET, "/api/v1/events?type=permit_approved", None).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "the repeat within the hour is none");
    hub.stop().await;
}

#[tokio::test]
async fn only_the_hub_reports_about_itself() {
    let hub = Hub::start().await;
    for kind in ["webhook.disabled", "webhook.recovered", "delivery.dead", "connector.unhealthy"] {
        let answer = hub.ingest("/api/v1/events", &json!({ "type": kind, "data": {} })).await;
        assert_eq!(answer.status, 422, "{kind}: {:?}", answer.body);
    }
    hub.stop().await;
}
