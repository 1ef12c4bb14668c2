//! What goes in and what comes out: requests of each door, and a receiver that enters every delivery in the ledger.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use busbar_domain::Clock;
use busbar_domain::api_key::ApiKey;
use busbar_domain::dialect::{Dialect, verify_hex, verify_standard, wire_time};
use busbar_domain::id::ConnectorId;
use busbar_domain::secret::{Key, Secret};
use busbar_sandbox::load::{Compose, Delivery, Ledger, Payload};
use busbar_sandbox::{Answer, Receiver, Recording, Request, Script, Step};

use crate::bench::round::Plan;
use crate::bench::{Options, Path, loopback};

/// Of so many deliveries, one has its signature checked; all have their bodies checked.
const SIGNATURE_SAMPLE: u64 = 16;
/// Where the black hole is.
const HOLE: &str = "/hole";

/// The traffic of one round.
pub(super) struct Traffic {
    path: Path,
    payload: Payload,
    /// Of a thousand events, so many go to the black hole.
    hole_mills: u64,
    /// Among so many webhooks the events go in turn, each to one of them; otherwise each goes to every healthy one.
    pub(super) turns: Option<u64>,
    pub(super) webhooks: usize,
    pub(super) ledger: Arc<Ledger>,
    pub(super) receiver: Receiver,
    pub(super) key: ApiKey,
    pub(super) connector: ConnectorId,
    pub(super) secret: Secret,
    pub(super) swallowed: Arc<AtomicU64>,
}

impl Traffic {
    /// A receiver and an empty ledger for so many healthy webhooks; with `is_silent` the black hole never answers, otherwise it is like the rest.
    pub(super) fn new(options: &Options, plan: &Plan, webhooks: usize, is_silent: bool) -> anyhow::Result<Self> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is 0 to 0.9")]
        let hole_mills = (options.blackhole_share * 1_000.0).round() as u64;
        let turns = (hole_mills > 0 && webhooks > 1).then_some(webhooks as u64);
        let webhooks = if turns.is_some() { 1 } else { webhooks };
        let payload = Payload::new((options.payload_bytes as usize).saturating_sub(frame_length(options.path)));
        let ledger = Arc::new(Ledger::new(usize::try_from(plan.total())?, webhooks));
        let secret = Secret::generate();
        let swallowed = Arc::new(AtomicU64::new(0));
        let checker = Checker {
            dialect: dialect(options.path),
            payload: payload.clone(),
            ledger: Arc::clone(&ledger),
            text_key: secret.text_key(),
            secret: secret.clone(),
            clock: Clock::system(),
            seen: AtomicU64::new(0),
            swallowed: Arc::clone(&swallowed),
        };
        let script = Script::answering(200).recording(Recording::Sink(Arc::new(move |request| checker.enter(request))));
        let hole = if is_silent { Answer::BlackHole } else { Answer::status(200) };
        let script =
            holes(turns, hole_mills).fold(script, |script, path| script.on(path, vec![Step::new(hole.clone())]));
        let receiver = Receiver::start(loopback(), script)?;
        let (key, connector) = (ApiKey::generate("bench"), ConnectorId::new(Clock::system().now()));
        Ok(Self {
            path: options.path,
            webhooks,
            turns,
            payload,
            hole_mills,
            ledger,
            receiver,
            key,
            connector,
            secret,
            swallowed,
        })
    }

    /// How the bodies are shaped that the receiver gets.
    pub(super) const fn dialect(&self) -> Dialect {
        dialect(self.path)
    }

    /// The type of the events that are owed to every healthy webhook.
    pub(super) const fn healthy_type(&self) -> &'static str {
        match self.path {
            Path::Events => "bench.event",
            Path::Ptw => "permit_approved",
            Path::Erpops => "erpops.bench.event",
        }
    }

    /// The type of the events that are owed to the black hole.
    pub(super) const fn hole_type(&self) -> &'static str {
        match self.path {
            Path::Events => "bench.hole",
            Path::Ptw => "permit_rejected",
            Path::Erpops => "erpops.bench.hole",
        }
    }

    /// Where webhook `number` listens.
    pub(super) fn hook(&self, number: usize) -> String {
        format!("{}/hook/{number}", self.receiver.url())
    }

    /// What each webhook hears and where it listens, black holes included.
    pub(super) fn subscriptions(&self) -> Vec<(String, String)> {
        let url = self.receiver.url();
        if let Some(turns) = self.turns {
            return (0..turns)
                .map(|turn| {
                    if is_hole(turn, self.hole_mills) {
                        (format!("{}.{turn}", self.hole_type()), format!("{url}{HOLE}/{turn}"))
                    } else {
                        (format!("{}.{turn}", self.healthy_type()), format!("{url}/hook/0"))
                    }
                })
                .collect();
        }
        let healthy = (0..self.webhooks).map(|number| (self.healthy_type().to_owned(), self.hook(number)));
        let hole = (self.hole_mills > 0).then(|| (self.hole_type().to_owned(), format!("{url}{HOLE}")));
        healthy.chain(hole).collect()
    }

    /// Tells the ledger which events are not owed to the healthy webhooks.
    pub(super) fn waive_holes(&self, plan: &Plan) {
        for event in (0..plan.total()).filter(|event| is_hole(self.turn(*event), self.hole_mills)) {
            self.ledger.waive(event);
        }
    }

    /// Whose turn it is; without turns the event's own number.
    fn turn(&self, event: u64) -> u64 {
        self.turns.map_or(event, |turns| event % turns)
    }

    /// The requests of the door.
    pub(super) fn requests(&self, target: SocketAddr) -> Compose {
        let (path, payload, hole_mills, turns) = (self.path, self.payload.clone(), self.hole_mills, self.turns);
        let kinds = [self.healthy_type(), self.hole_type()].map(|kind| match path {
            // The hub puts the system before the type of what an ERP reports.
            Path::Erpops => kind.trim_start_matches("erpops."),
            Path::Events | Path::Ptw => kind,
        });
        let door = match path {
            Path::Events => "/api/v1/events",
            Path::Ptw => "/api/v1/ptw/events",
            Path::Erpops => "/functions/v1/receive-event",
        };
        let credential = match path {
            Path::Events | Path::Ptw => format!("X-Api-Key: {}", self.key.expose()),
            Path::Erpops => format!("X-ERPOps-Connector-Id: {}", self.connector),
        };
        let head =
            format!("POST {door} HTTP/1.1\r\nHost: {target}\r\nContent-Type: application/json\r\n{credential}\r\n");
        let (connector, now, key) = (self.connector, wire_time(Clock::system().now()), self.secret.text_key());
        Arc::new(move |event, out| {
            let turn = turns.map_or(event, |turns| event % turns);
            let kind = kinds[usize::from(is_hole(turn, hole_mills))];
            let kind = turns.map_or_else(|| kind.to_owned(), |_| format!("{kind}.{turn}"));
            let mut body = Vec::with_capacity(payload.length() + 256);
            // Writing to memory cannot fail.
            let _ = match path {
                Path::Events => write!(body, "{{\"type\":\"{kind}\",\"data\":"),
                Path::Ptw => write!(
                    body,
                    "{{\"event\":\"{kind}\",\"permit_id\":{event},\"permit_number\":\"PTW-{event}\",\"project_id\":5,\"data\":"
                ),
                Path::Erpops => write!(
                    body,
                    "{{\"connector_id\":\"{connector}\",\"event_type\":\"{kind}\",\"timestamp\":\"{now}\",\"metadata\":"
                ),
            };
            payload.write(event, &mut body);
            body.push(b'}');
            out.extend_from_slice(head.as_bytes());
            if path == Path::Erpops {
                let _ = write!(out, "X-ERPOps-Signature: sha256={}\r\n", hex::encode(key.sign(&[&body])));
            }
            let _ = write!(out, "Content-Length: {}\r\n\r\n", body.len());
            out.extend_from_slice(&body);
        })
    }

    /// The same payloads straight to the receiver.
    pub(super) fn straight(&self) -> Compose {
        let (payload, secret) = (self.payload.clone(), self.secret.webhook_key());
        let head =
            format!("POST /hook/0 HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n", self.receiver.addr());
        let timestamp = Clock::system().now().timestamp().to_string();
        Arc::new(move |event, out| {
            let mut body = Vec::with_capacity(payload.length() + 64);
            body.extend_from_slice(b"{\"type\":\"bench.event\",\"data\":");
            payload.write(event, &mut body);
            body.push(b'}');
            out.extend_from_slice(head.as_bytes());
            let id = event.to_string();
            let code = secret.sign(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", &body]);
            let _ = write!(
                out,
                "webhook-id: {id}\r\nwebhook-timestamp: {timestamp}\r\nwebhook-signature: v1,{}\r\nContent-Length: {}\r\n\r\n",
                STANDARD.encode(code),
                body.len()
            );
            out.extend_from_slice(&body);
        })
    }
}

const fn dialect(path: Path) -> Dialect {
    match path {
        Path::Events | Path::Erpops => Dialect::Standard,
        Path::Ptw => Dialect::Ptw,
    }
}

/// About how long a request's body is without its payload.
const fn frame_length(path: Path) -> usize {
    match path {
        Path::Events => 31,
        Path::Ptw => 100,
        Path::Erpops => 140,
    }
}

/// Whether an event goes to the black hole; they are spread evenly over the load.
const fn is_hole(event: u64, mills: u64) -> bool {
    (event + 1) * mills / 1_000 > event * mills / 1_000
}

/// Where black holes are.
fn holes(turns: Option<u64>, mills: u64) -> impl Iterator<Item = String> {
    let single = (turns.is_none() && mills > 0).then(|| HOLE.to_owned());
    let many = (0..turns.unwrap_or(0)).filter(move |turn| is_hole(*turn, mills));
    single.into_iter().chain(many.map(|turn| format!("{HOLE}/{turn}")))
}

/// The receiver's side of the ledger.
struct Checker {
    dialect: Dialect,
    payload: Payload,
    ledger: Arc<Ledger>,
    secret: Secret,
    text_key: Key,
    clock: Clock,
    seen: AtomicU64,
    swallowed: Arc<AtomicU64>,
}

impl Checker {
    fn enter(&self, request: &Request<'_>) {
        if request.path.starts_with(HOLE) {
            self.swallowed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (event, is_whole) = self.payload.check(request.body).unzip();
        let is_sampled = self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(SIGNATURE_SAMPLE);
        let intact = is_whole == Some(true) && (!is_sampled || self.is_signed(request));
        self.ledger.delivered(&Delivery {
            webhook: request.path.strip_prefix("/hook/").and_then(|number| number.parse().ok()),
            event,
            message: request.headers.get("webhook-id").unwrap_or_default(),
            intact,
            at: request.received_at,
        });
    }

    fn is_signed(&self, request: &Request<'_>) -> bool {
        let header =
            |name| request.headers.get(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
        let [id, timestamp, signature] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header);
        let now = self.clock.now();
        let is_standard = verify_standard(&self.secret, id, timestamp, signature, request.body, now).is_ok();
        is_standard
            && match self.dialect {
                Dialect::Standard => true,
                Dialect::Ptw => verify_hex(&self.text_key, header("x-athens-signature"), request.body).is_ok(),
                // No path makes such webhooks.
                Dialect::Workpro | Dialect::Exact => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_black_holes_share_is_spread_evenly() {
        assert_eq!((0..1_000).filter(|event| is_hole(*event, 0)).count(), 0);
        for mills in [1, 333, 500, 900] {
            assert_eq!(
                (0..10_000).filter(|event| is_hole(*event, mills)).count(),
                10 * usize::try_from(mills).unwrap()
            );
        }
        assert_eq!((0..10).filter(|event| is_hole(*event, 500)).count(), 5);
    }
}
