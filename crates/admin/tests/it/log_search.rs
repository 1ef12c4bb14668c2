//! `q`: a delivery is found by every id and name that people have at hand, exactly, and by nobody else.

use busbar_domain::event::Label;
use busbar_domain::trace::TraceContext;
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::hub::{Hub, Tenant};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn subscribe(hub: &Hub, tenant: &Tenant, events: &str) -> String {
    let body = json!({ "name": events, "url": "https://a.com/", "events": [events] });
    let made = hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(body)).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

/// The ids that a query finds, newest first.
async fn found(hub: &Hub, tenant: &Tenant, query: &str) -> Vec<String> {
    let path = format!("/api/v1/deliveries?{query}");
    let page = hub.call(&tenant.key, "GET", &path, None).await.expect(200);
    page["data"].as_array().unwrap().iter().map(|row| text(&row["id"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn a_delivery_is_found_by_every_name_that_it_has() {
    let hub = Hub::start().await;
    let (tenant, stranger) = (hub.tenant("Acme").await, hub.tenant("Other").await);
    subscribe(&hub, &tenant, "order.*").await;
    subscribe(&hub, &tenant, "order.made").await;
    subscribe(&hub, &stranger, "order.*").await;
    for number in 0..3 {
        hub.publish(&tenant, "order.made", &format!("PTW-{number}"), "{}").await;
        hub.publish(&stranger, "order.made", "PTW-7", "{}").await;
    }
    let event = hub
        .publish_with(&tenant, "order.made", |event| {
            event.subject = Some(Label::parse("PTW-7").unwrap());
            event.ordering_key = Some(Label::parse("pump 4").unwrap());
            event.trace = TraceContext::parse(&format!("00-{TRACE}-00f067aa0ba902b7-01")).unwrap();
        })
        .await;
    let both = found(&hub, &tenant, "q=PTW-7").await;
    assert_eq!(both.len(), 2);
    for query in [format!("q={event}"), format!("q={TRACE}"), "q=pump%204".to_owned(), "q=%20PTW-7%20".to_owned()] {
        assert_eq!(found(&hub, &tenant, &query).await, both, "{query}");
        if !query.contains("PTW") {
            assert!(found(&hub, &stranger, &query).await.is_empty(), "{query}");
        }
    }
    for delivery in &both {
        assert_eq!(found(&hub, &tenant, &format!("q={delivery}")).await, [delivery.as_str()]);
        assert!(found(&hub, &stranger, &format!("q={delivery}")).await.is_empty());
    }
    for nothing in ["q=PTW", "q=ptw-7", "q=PTW-70", "q=4bf92f3577b34da6a3ce929d0e0e4737", "q=pump", "q=%25"] {
        assert!(found(&hub, &tenant, nothing).await.is_empty(), "{nothing}");
    }
    for wrong in ["q=", "q=%00", &format!("q={}", "x".repeat(256)), "event_type=%00", "event_type=a%20b", "status=x"] {
        hub.call(&tenant.key, "GET", &format!("/api/v1/deliveries?{wrong}"), None).await.expect(422);
    }
    hub.end().await;
}

#[actix_web::test]
async fn a_search_is_narrowed_by_the_other_filters_and_paged() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    let (one, two) = (subscribe(&hub, &tenant, "order.*").await, subscribe(&hub, &tenant, "order.made").await);
    let before = hub.clock.now();
    for kind in ["order.made", "order.gone", "order.made"] {
        hub.publish(&tenant, kind, "PTW-1", "{}").await;
    }
    let all = found(&hub, &tenant, "q=PTW-1").await;
    assert_eq!(all.len(), 5);
    let time = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    for (more, count) in [
        (format!("webhook={one}"), 3),
        (format!("webhook={two}"), 2),
        ("event_type=order.gone".to_owned(), 1),
        ("status=pending".to_owned(), 5),
        ("status=dead".to_owned(), 0),
        (format!("since={}", time(before)), 5),
        (format!("since={}", time(before + TimeDelta::hours(1))), 0),
        (format!("until={}", time(before - TimeDelta::milliseconds(1))), 0),
    ] {
        assert_eq!(found(&hub, &tenant, &format!("q=PTW-1&{more}")).await.len(), count, "{more}");
    }
    let mut paged = Vec::new();
    let mut query = "q=PTW-1&limit=2".to_owned();
    loop {
        let page = hub.call(&tenant.key, "GET", &format!("/api/v1/deliveries?{query}"), None).await.expect(200);
        paged.extend(page["data"].as_array().unwrap().iter().map(|row| text(&row["id"])));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("q=PTW-1&limit=2&cursor={cursor}");
    }
    assert_eq!(paged, all);
    hub.end().await;
}

#[actix_web::test]
async fn replays_are_found_by_what_they_repeat() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("Acme").await;
    subscribe(&hub, &tenant, "order.*").await;
    let event = hub.publish(&tenant, "order.made", "PTW-1", "{}").await;
    let first = found(&hub, &tenant, "q=PTW-1").await.remove(0);
    let replay = async |id: &str| {
        hub.call(&tenant.key, "POST", &format!("/api/v1/deliveries/{id}/cancel"), None).await.expect(200);
        text(&hub.call(&tenant.key, "POST", &format!("/api/v1/deliveries/{id}/replay"), None).await.expect(201)["id"])
    };
    let second = replay(&first).await;
    let third = replay(&second).await;
    let all = [third.as_str(), &second, &first];
    for name in [event.to_string(), "PTW-1".to_owned(), first.clone()] {
        assert_eq!(found(&hub, &tenant, &format!("q={name}")).await, all, "{name}");
    }
    assert_eq!(found(&hub, &tenant, &format!("q={second}")).await, all[..2], "itself, and what repeats it");
    assert_eq!(found(&hub, &tenant, &format!("q={third}")).await, all[..1]);
    let shown = hub.call(&tenant.key, "GET", &format!("/api/v1/events/{event}"), None).await.expect(200);
    let owed = shown["deliveries"].as_array().unwrap();
    let owed: Vec<_> = owed.iter().map(|owed| (text(&owed["id"]), owed["replay_of"].clone())).collect();
    assert_eq!(owed, [(first.clone(), Value::Null), (second.clone(), json!(first)), (third, json!(second))]);
    hub.end().await;
}
