//! Whatever the management API, the door and the ops listeners show to those who ask.

use std::net::SocketAddr;

use busbar_egress::{Egress, HeaderMap, HeaderName, HeaderValue, Method, Outgoing, Target};
use busbar_testkit::hub::Reply;
use serde_json::Value;

use crate::stage::PATIENCE;

/// The management API as the platform's operator, with everything that it answers but what shows a secret once.
pub(super) struct Api {
    pub(super) egress: Egress,
    pub(super) base: String,
    pub(super) operator: String,
    pub(super) tenant: String,
    pub(super) answers: Vec<u8>,
}

impl Api {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let key = format!("key-{}", fastrand::u64(..));
        let headers = [
            ("x-api-key", self.operator.as_str()),
            ("x-busbar-tenant", &self.tenant),
            ("content-type", "application/json"),
            ("idempotency-key", &key),
        ];
        let bytes = body.map_or_else(Vec::new, |body| serde_json::to_vec(&body).unwrap());
        self.send(method, &format!("{}{path}", self.base), &headers, bytes).await
    }

    async fn send(&self, method: Method, url: &str, headers: &[(&'static str, &str)], body: Vec<u8>) -> Reply {
        let target = Target::parse(url, self.egress.policy()).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap());
        }
        let outgoing = Outgoing { target: &target, headers: map, body: body.into(), deadline: PATIENCE };
        let answer = self.egress.send(method, outgoing).await.unwrap();
        Reply { status: answer.status, headers: answer.headers, body: answer.body }
    }

    /// A call whose answer may show what was made, once.
    pub(super) async fn make(&self, path: &str, body: Value) -> Value {
        let reply = self.call(Method::POST, path, Some(body)).await;
        assert!((200..300).contains(&reply.status), "{path}: {:?}", reply.body);
        reply.json()
    }

    /// A call whose answer shows no secret.
    pub(super) async fn see(&mut self, method: Method, path: &str, body: Option<Value>) -> Value {
        let reply = self.call(method, path, body).await;
        self.answers.extend_from_slice(&reply.body);
        reply.json()
    }
}

/// A call to the door that is refused.
pub(super) async fn knock(api: &mut Api, door: SocketAddr, path: &str, headers: &[(&'static str, &str)]) {
    let headers = [headers, &[("content-type", "application/json")]].concat();
    let reply = api.send(Method::POST, &format!("http://{door}/{path}"), &headers, b"{}".to_vec()).await;
    assert_eq!(reply.status, 401, "{path}");
    api.answers.extend_from_slice(&reply.body);
}

/// Reads whatever the management API shows of webhooks (the first four of `ids`), a connector, and all that happened.
pub(super) async fn look_around(api: &mut Api, ids: &[String]) {
    for path in ["webhooks", "connectors", "api-keys", "events", "inbound", "dead-letters", "audit", "ptw/webhooks/"] {
        api.see(Method::GET, &format!("/api/v1/{path}"), None).await;
    }
    for id in &ids[..4] {
        for path in ["webhooks/{id}", "webhooks/{id}/deliveries", "ptw/webhooks/{id}/"] {
            api.see(Method::GET, &format!("/api/v1/{}", path.replace("{id}", id)), None).await;
        }
    }
    api.see(Method::GET, &format!("/api/v1/connectors/{}", ids[4]), None).await;
    let page = api.see(Method::GET, "/api/v1/deliveries?limit=200", None).await;
    let deliveries = page["data"].as_array().unwrap().clone();
    assert!(deliveries.len() >= 8, "{page}");
    for delivery in deliveries {
        let path = format!("/api/v1/deliveries/{}", delivery["id"].as_str().unwrap());
        let shown = api.see(Method::GET, &path, None).await;
        assert_eq!(shown["id"], delivery["id"]);
    }
}

/// The metrics of a service.
pub(super) async fn scrape(api: &Api, ops: SocketAddr) -> Vec<u8> {
    api.send(Method::GET, &format!("http://{ops}/metrics"), &[], Vec::new()).await.body.to_vec()
}
