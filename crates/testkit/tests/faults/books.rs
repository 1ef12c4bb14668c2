//! The traffic of a fault test and its books: events that prove themselves, a receiver that enters every delivery.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use busbar_domain::Clock;
use busbar_domain::api_key::ApiKey;
use busbar_domain::dialect::verify_standard;
use busbar_domain::secret::Secret;
use busbar_sandbox::load::{Compose, Delivery, Ledger, Load, Outcome, Payload, Verdict};
use busbar_sandbox::{Answer, Receiver, Recording, Request, Script, Step};
use tokio::task::JoinSet;

/// The type of the events that are owed to the webhook.
pub(crate) const EVENT: &str = "fault.event";
/// The type of the events that are owed to the black hole.
pub(crate) const HOLE_EVENT: &str = "fault.hole";
const HOOK: &str = "/hook";
const HOLE: &str = "/hole";
const CONNECTIONS: usize = 32;
/// The door answers within its second, so this is only reached by what hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

type Hook = Arc<Mutex<Option<Box<dyn Fn() + Send + Sync>>>>;

/// The traffic of one test.
pub(crate) struct Books {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) key: ApiKey,
    pub(crate) secret: Secret,
    receiver: Receiver,
    payload: Payload,
    hook: Hook,
    events: u64,
}

/// A load that runs beside the test; dropping it ends it.
pub(crate) struct Running(JoinSet<Outcome>);

impl Running {
    /// Waits until everything was sent and answered.
    pub(crate) async fn ended(mut self) -> Outcome {
        self.0.join_next().await.unwrap().unwrap()
    }
}

impl Books {
    /// Empty books for events numbered from 0.
    pub(crate) fn open(events: u64) -> Self {
        let payload = Payload::new(400);
        let (ledger, secret) = (Arc::new(Ledger::new(usize::try_from(events).unwrap(), 1)), Secret::generate());
        let hook = Hook::default();
        let checker = Checker {
            payload: payload.clone(),
            ledger: Arc::clone(&ledger),
            secret: secret.clone(),
            hook: Arc::clone(&hook),
        };
        let script = Script::answering(200)
            .on(HOLE, vec![Step::new(Answer::BlackHole)])
            .recording(Recording::Sink(Arc::new(move |request| checker.enter(request))));
        let receiver = Receiver::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), script).unwrap();
        Self { ledger, key: ApiKey::generate("test"), secret, receiver, payload, hook, events }
    }

    /// Where the webhook is.
    pub(crate) fn hook_url(&self) -> String {
        format!("{}{HOOK}", self.receiver.url())
    }

    /// Where the black hole is.
    pub(crate) fn hole_url(&self) -> String {
        format!("{}{HOLE}", self.receiver.url())
    }

    /// What the webhook answers from now on, step by step.
    pub(crate) fn answer(&self, steps: Vec<Step>) {
        self.receiver.script(HOOK, steps);
    }

    /// What another path answers from now on, and where it is.
    pub(crate) fn elsewhere(&self, path: &str, steps: Vec<Step>) -> String {
        self.receiver.script(path, steps);
        format!("{}{path}", self.receiver.url())
    }

    /// Calls `hook` with each arrival, before it is answered.
    pub(crate) fn on_arrival(&self, hook: impl Fn() + Send + Sync + 'static) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }

    /// The body of an event; the books know it as sent from now on.
    pub(crate) fn body(&self, event: u64) -> Vec<u8> {
        self.ledger.sent(event, std::time::Instant::now());
        self.body_of(EVENT, event)
    }

    /// The same, where every second event is owed to the black hole.
    pub(crate) fn body_with_holes(&self, event: u64) -> Vec<u8> {
        self.ledger.sent(event, std::time::Instant::now());
        let kind = kind_with_holes(event);
        if kind == HOLE_EVENT {
            self.ledger.waive(event);
        }
        self.body_of(kind, event)
    }

    fn body_of(&self, kind: &str, event: u64) -> Vec<u8> {
        let mut body = format!("{{\"type\":\"{kind}\",\"data\":").into_bytes();
        self.payload.write(event, &mut body);
        body.push(b'}');
        body
    }

    /// Sends events at a steady rate, each with an idempotency key; with `again` until it is answered with 2xx.
    pub(crate) fn send(&self, door: SocketAddr, events: Range<u64>, rate: u64, again: bool) -> Running {
        self.run(door, events, rate, again, self.compose(door, |_| EVENT))
    }

    /// Sends events of which every second one is owed to the black hole.
    pub(crate) fn send_half_to_the_hole(&self, door: SocketAddr, events: Range<u64>, rate: u64) -> Running {
        for event in events.clone().filter(|event| kind_with_holes(*event) == HOLE_EVENT) {
            self.ledger.waive(event);
        }
        let compose = self.compose(door, kind_with_holes);
        self.run(door, events, rate, false, compose)
    }

    fn run(&self, target: SocketAddr, events: Range<u64>, rate: u64, again: bool, compose: Compose) -> Running {
        let load = Load {
            target,
            connections: CONNECTIONS,
            events,
            rate: Some(rate),
            timeout: ANSWER_WITHIN,
            retry_until_acked: again,
        };
        let ledger = Arc::clone(&self.ledger);
        let mut running = JoinSet::new();
        running.spawn(async move { load.run(compose, &ledger).await });
        Running(running)
    }

    fn compose(&self, door: SocketAddr, kind: fn(u64) -> &'static str) -> Compose {
        let key = self.key.expose();
        let head = format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: {door}\r\nContent-Type: application/json\r\nX-Api-Key: {key}\r\n"
        );
        let payload = self.payload.clone();
        Arc::new(move |event, out| {
            let mut body = format!("{{\"type\":\"{}\",\"data\":", kind(event)).into_bytes();
            payload.write(event, &mut body);
            body.push(b'}');
            out.extend_from_slice(head.as_bytes());
            write!(out, "Idempotency-Key: event-{event}\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
            out.extend_from_slice(&body);
        })
    }

    /// What the books say of everything so far.
    pub(crate) fn verdict(&self) -> Verdict {
        self.ledger.check(0..self.events)
    }

    /// Waits until what was acknowledged has arrived, then judges: no promise may be broken.
    pub(crate) async fn judge(&self, patience: Duration) -> Verdict {
        let _settled = self.ledger.settle(0..self.events, patience).await;
        let verdict = self.verdict();
        assert!(verdict.is_kept(), "a promise was broken: {verdict:?}");
        verdict
    }
}

/// Every second event is owed to the black hole.
const fn kind_with_holes(event: u64) -> &'static str {
    if event.is_multiple_of(2) { EVENT } else { HOLE_EVENT }
}

/// The receiver's side of the books.
struct Checker {
    payload: Payload,
    ledger: Arc<Ledger>,
    secret: Secret,
    hook: Hook,
}

impl Checker {
    fn enter(&self, request: &Request<'_>) {
        if request.path != HOOK {
            return;
        }
        let (event, is_whole) = self.payload.check(request.body).unzip();
        self.ledger.delivered(&Delivery {
            webhook: (request.path == HOOK).then_some(0),
            event,
            message: request.headers.get("webhook-id").unwrap_or_default(),
            intact: is_whole == Some(true) && self.is_signed(request),
            at: request.received_at,
        });
        if let Some(hook) = &*self.hook.lock().unwrap_or_else(PoisonError::into_inner) {
            hook();
        }
    }

    fn is_signed(&self, request: &Request<'_>) -> bool {
        let header =
            |name| request.headers.get(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
        let [id, timestamp, signature] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header);
        verify_standard(&self.secret, id, timestamp, signature, request.body, Clock::system().now()).is_ok()
    }
}
