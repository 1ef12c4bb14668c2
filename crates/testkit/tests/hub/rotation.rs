//! Rotation under load: no receiver and no sender that knows the old and the new secret is refused, and after the
//! overlap nothing bears the old one any more.

mod callers;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use busbar_domain::Timestamp;
use busbar_domain::dialect::{Dialect, Signer, verify_exact, verify_hex, verify_standard, verify_workpro};
use busbar_domain::secret::Secret;
use busbar_egress::Method;
use busbar_sandbox::Received;
use busbar_testkit::hub::now;
use busbar_testkit::{Hub, eventually};
use chrono::{DateTime, TimeDelta};
use serde_json::json;

/// What the four webhooks hear.
const KIND: &str = "permit_approved";
/// So many events every [`PAUSE`].
const AT_ONCE: usize = 12;
const PAUSE: Duration = Duration::from_millis(50);
/// How long rotations and what follows may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// One webhook with all secrets that it ever had and when each began.
struct Subscriber {
    dialect: Dialect,
    path: String,
    id: String,
    secrets: Vec<Secret>,
    rotations: Vec<Rotation>,
}

/// From one secret to the next.
struct Rotation {
    /// Just before it was asked for.
    asked: Timestamp,
    /// When the old secret's time is over.
    until: Timestamp,
    overlaps: bool,
}

/// Whether the signatures of a call are those of one secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signed {
    /// One of those in `webhook-signature`.
    standard: bool,
    /// The dialect's own header.
    own: bool,
    /// Its twin `-Next`.
    next: bool,
}

impl Subscriber {
    async fn make(hub: &Hub, dialect: Dialect) -> Self {
        let path = format!("/{}", dialect.as_str());
        let (id, secret) = hub.webhook(&path, dialect.as_str(), &[KIND], json!({})).await;
        let secrets = vec![Secret::parse(&secret).unwrap()];
        Self { dialect, path, id, secrets, rotations: Vec::new() }
    }

    async fn rotate(&mut self, hub: &Hub, overlap_seconds: u32) {
        let (asked, url) = (now(), format!("/api/v1/webhooks/{}/rotate-secret", self.id));
        let reply = hub.admin(Method::POST, &url, Some(&json!({ "overlap_seconds": overlap_seconds }))).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        let rotated = reply.json();
        self.secrets.push(Secret::parse(rotated["secret"].as_str().unwrap()).unwrap());
        let until = rotated["old_secret_until"].as_str().map(|text| DateTime::parse_from_rfc3339(text).unwrap());
        let overlaps = until.is_some();
        self.rotations.push(Rotation { asked, until: until.map_or_else(now, |until| until.to_utc()), overlaps });
    }

    fn own_header(&self) -> Option<&'static str> {
        match self.dialect {
            Dialect::Standard => None,
            Dialect::Ptw => Some("x-athens-signature"),
            Dialect::Workpro | Dialect::Exact => Some("x-webhook-signature"),
        }
    }

    /// What of the call is signed by `secret`.
    fn signed(&self, call: &Received, secret: &Secret) -> Signed {
        let (at, key) = (signed_at(call), secret.text_key());
        let header = |name: &str| call.header(name).unwrap_or_default();
        let (id, sent) = (header("webhook-id"), header("webhook-timestamp"));
        let of = |name: &str| match self.dialect {
            Dialect::Standard => false,
            Dialect::Ptw => verify_hex(&key, header(name), &call.body).is_ok(),
            Dialect::Workpro => {
                verify_workpro(&key, header("x-webhook-timestamp"), header(name), &call.body, at).is_ok()
            }
            Dialect::Exact => verify_exact(&key, header(name), &call.body).is_ok(),
        };
        let own = self.own_header().unwrap_or_default();
        Signed {
            standard: verify_standard(secret, id, sent, header("webhook-signature"), &call.body, at).is_ok(),
            own: of(own),
            next: of(&format!("{own}-next")),
        }
    }

    /// Whether a receiver that knows only these two secrets takes the call.
    fn takes(&self, call: &Received, [old, new]: [&Secret; 2]) -> bool {
        let signed = [self.signed(call, old), self.signed(call, new)];
        let own = self.own_header().is_none() || signed.iter().any(|signed| signed.own);
        own && signed.iter().any(|signed| signed.standard)
    }

    /// The secrets of the last rotation that was asked for by `at`: what a receiver knows then.
    fn known(&self, at: Timestamp) -> [&Secret; 2] {
        let rotations = self.rotations.iter().filter(|rotation| rotation.asked <= at).count();
        [&self.secrets[rotations.saturating_sub(1)], &self.secrets[rotations]]
    }

    fn calls(&self, hub: &Hub) -> Vec<Received> {
        hub.receiver().requests().into_iter().filter(|call| call.path == self.path).collect()
    }

    /// Waits until so many calls are there that were signed after `moment`.
    async fn signed_after(&self, hub: &Hub, moment: Timestamp, count: usize) {
        eventually("calls that are signed later", PATIENCE, || async {
            let later = self.calls(hub).iter().filter(|call| signed_at(call) > moment).count();
            (later >= count).then_some(())
        })
        .await;
    }
}

/// The second in which a call was signed.
fn signed_at(call: &Received) -> Timestamp {
    let seconds = call.header("webhook-timestamp").and_then(|text| text.parse().ok()).unwrap_or_default();
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// Publishes a batch every moment until `stop`; answers how many events were accepted.
async fn publish(hub: &Hub, stop: &AtomicBool) -> usize {
    let mut pace = tokio::time::interval(PAUSE);
    let (event, mut accepted) = (json!({ "type": KIND, "data": { "text": "x".repeat(200) } }), 0);
    while !stop.load(Ordering::SeqCst) {
        pace.tick().await;
        let reply = hub.ingest("/api/v1/events/batch", &json!(vec![&event; AT_ONCE])).await;
        assert_eq!(reply.status, 202, "{:?}", reply.body);
        accepted += reply.json()["events"].as_array().unwrap().len();
    }
    accepted
}

/// Rotates every secret and waits until calls are there that were signed after the overlap.
async fn rotate_all(hub: &Hub, subscribers: &mut [Subscriber], overlap_seconds: u32, later: TimeDelta) {
    for subscriber in &mut *subscribers {
        subscriber.rotate(hub, overlap_seconds).await;
    }
    for subscriber in subscribers {
        let until = subscriber.rotations.last().unwrap().until;
        subscriber.signed_after(hub, until + later, 20).await;
    }
}

#[tokio::test]
async fn webhooks_of_every_dialect_rotate_under_load_without_one_refusal() {
    let hub = Hub::start().await;
    let mut subscribers = Vec::new();
    for dialect in Dialect::ALL {
        subscribers.push(Subscriber::make(&hub, dialect).await);
    }
    let stop = AtomicBool::new(false);
    let rotating = async {
        for subscriber in &subscribers {
            hub.arrived(&subscriber.path, 50).await;
        }
        let second = TimeDelta::seconds(1);
        rotate_all(&hub, &mut subscribers, 2, second).await;
        rotate_all(&hub, &mut subscribers, 2, second).await;
        rotate_all(&hub, &mut subscribers, 0, TimeDelta::seconds(3)).await;
        stop.store(true, Ordering::SeqCst);
    };
    let began = std::time::Instant::now();
    let (accepted, ()) = tokio::join!(publish(&hub, &stop), rotating);
    eprintln!("{accepted} events in {:?}, each to four webhooks", began.elapsed());
    for subscriber in &subscribers {
        let calls = hub.arrived(&subscriber.path, accepted).await;
        assert_eq!(calls.len(), accepted);
        judge(subscriber, &calls);
    }
    hub.stop().await;
}

/// Counts what must not be: refusals, and signatures by a secret whose time is over.
fn judge(subscriber: &Subscriber, calls: &[Received]) {
    let name = subscriber.dialect.as_str();
    let refused = calls.iter().filter(|call| {
        // A call that was signed in the second of a rotation may have been signed before it or after it.
        let (before, after) = (signed_at(call), signed_at(call) + TimeDelta::seconds(1));
        !subscriber.takes(call, subscriber.known(before)) && !subscriber.takes(call, subscriber.known(after))
    });
    assert_eq!(refused.count(), 0, "{name}: a receiver that knows the old and the new secret refused calls");
    for (at, rotation) in subscriber.rotations.iter().enumerate() {
        let (old, new) = (&subscriber.secrets[at], &subscriber.secrets[at + 1]);
        // A rotation without an overlap is heard of within two seconds.
        let grace = TimeDelta::seconds(if rotation.overlaps { 0 } else { 2 });
        let late = calls.iter().filter(|call| signed_at(call) > rotation.until + grace);
        let of_old = late.filter(|call| {
            let signed = subscriber.signed(call, old);
            signed.standard || signed.own || signed.next
        });
        assert_eq!(of_old.count(), 0, "{name}: the old secret of rotation {at} signs after its overlap");
        if rotation.overlaps {
            let both = calls.iter().filter(|call| is_signed_twice(subscriber, call, old, new)).count();
            assert!(both > 0, "{name}: no call of rotation {at} was signed by both secrets");
        }
    }
}

/// Whether a call bears the signatures of an overlap: the dialect's header is the old secret's, its twin the new one's.
fn is_signed_twice(subscriber: &Subscriber, call: &Received, old: &Secret, new: &Secret) -> bool {
    let (old, new) = (subscriber.signed(call, old), subscriber.signed(call, new));
    let own = subscriber.own_header().is_none() || (old.own && new.next && !old.next && !new.own);
    old.standard && new.standard && own
}

#[test]
fn the_judge_sees_what_must_not_be() {
    let secrets: Vec<Secret> = (0..3).map(|_| Secret::generate()).collect();
    let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let subscriber = Subscriber {
        dialect: Dialect::Exact,
        path: "/".to_owned(),
        id: String::new(),
        secrets: secrets.clone(),
        rotations: vec![
            Rotation { asked: at, until: at + TimeDelta::seconds(2), overlaps: false },
            Rotation { asked: at + TimeDelta::seconds(10), until: at + TimeDelta::seconds(10), overlaps: false },
        ],
    };
    let call = |seconds: i64, secret: &Secret| {
        let moment = at + TimeDelta::seconds(seconds);
        let signer = Signer::new(Dialect::Exact, secret, None);
        let headers = signer.headers(uuid::Uuid::now_v7(), KIND, moment, moment, b"{}");
        Received {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            body: b"{}"[..].into(),
            received_at: std::time::Instant::now(),
            unix_nanos: 0,
        }
    };
    let judged = |call: Received| std::panic::catch_unwind(|| judge(&subscriber, &[call])).is_err();
    let takes = |call: &Received| subscriber.takes(call, subscriber.known(signed_at(call)));
    assert!(takes(&call(-5, &secrets[0])) && takes(&call(1, &secrets[0])) && takes(&call(1, &secrets[1])));
    assert!(!takes(&call(1, &secrets[2])) && !takes(&call(15, &secrets[0])));
    assert!(judged(call(5, &secrets[0])), "signed by the old one after the overlap");
    assert!(judged(call(15, &secrets[1])), "signed by a revoked one");
}
