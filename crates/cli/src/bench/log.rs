//! What a page of the delivery log costs when the log is long: a database of its own, filled for the purpose, and the
//! management API asked over HTTP with every kind of filter at moments taken at random.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use busbar_domain::api_key::{ApiKey, Scope};
use busbar_domain::dialect::wire_time;
use busbar_domain::id::{ApiKeyId, TenantId};
use busbar_domain::{Clock, Timestamp};
use busbar_egress::Method;
use busbar_runtime::{Context, Health, Settings, Shutdown, parts};
use busbar_sandbox::load::Latency;
use busbar_sandbox::processes::free_addresses;
use busbar_storage::api_keys::{self, NewApiKey};
use busbar_storage::delivery_log::{Filled, Sample, fill};
use busbar_storage::{Database, migrate, scratch};
use serde_json::{Value, json};

use crate::access::query;
use crate::api::Api;
use crate::bench::Options;
use crate::say;

/// How often each kind of page is asked for.
const CALLS: usize = 50;
/// Over how many weeks the log reaches back.
const WEEKS: i32 = 4;
/// In seconds.
const DAY: u64 = 86_400;
const TENANTS: i32 = 20;
const WEBHOOKS: i32 = 200;
/// What 99 of 100 pages of a kind must stay within.
const PROMISED: Duration = Duration::from_millis(50);
/// How long one statement of the filling may take, in milliseconds.
const FILLING_MS: u64 = 3_600_000;

/// What a kind of page asks for; each is made anew for every call.
type Parameters = Vec<(&'static str, String)>;

/// One kind of page as it was measured.
struct Measured {
    name: &'static str,
    latency: Latency,
    /// Rows of all its pages.
    rows: usize,
}

/// A filled log behind a running API.
struct Log {
    filled: Filled,
    since: Timestamp,
    /// The tenant with half of the log, and another.
    wide: Api,
    narrow: Api,
}

/// Fills a database, measures every kind of page and prints the table; answers whether every kind kept the promise.
pub(super) async fn run(options: &Options, settings: &Settings, attempts: u32) -> anyhow::Result<bool> {
    let name = format!("busbar_bench_log_{}_{:08x}", std::process::id(), fastrand::u32(..));
    let mut own = settings.clone();
    own.database.url = scratch::database_url(&settings.database.url, &name);
    own.admin.listen = free_addresses(1)?.pop().context("no free port")?;
    scratch::create_database(&settings.database.url, &name).await.context("no database for the run")?;
    let work = Box::pin(async {
        let log = prepare(&own, attempts).await?;
        through_the_api(&own, log).await
    });
    let measured = tokio::select! {
        measured = work => measured,
        asked = tokio::signal::ctrl_c() => asked.context("Ctrl-C").and_then(|()| Err(anyhow::anyhow!("interrupted"))),
    };
    if let Err(error) = scratch::drop_database(&settings.database.url, &name).await {
        eprintln!("busbar bench: the database {name} is left: {error}");
    }
    let measured = measured?;
    print(options, attempts, &measured);
    Ok(measured.iter().all(|kind| kind.latency.p99 <= PROMISED))
}

async fn prepare(own: &Settings, attempts: u32) -> anyhow::Result<Log> {
    let mut filling = own.clone();
    filling.database.statement_timeout_ms = FILLING_MS;
    let database = parts::database(&filling, "bench")?;
    migrate::apply(&database).await.context("the database cannot be migrated")?;
    let now = Clock::system().now();
    let sample = Sample { attempts: attempts.into(), weeks: WEEKS, tenants: TENANTS, webhooks: WEBHOOKS };
    let mut conn = database.acquire().await?;
    let filled = fill(&mut conn, sample, now).await.context("the log cannot be filled")?;
    drop(conn);
    let wide = reader(&database, own.admin.listen, filled.tenants[0], now).await?;
    let narrow = reader(&database, own.admin.listen, filled.tenants[1], now).await?;
    database.close().await;
    Ok(Log { filled, since: now - reach(), wide, narrow })
}

/// The API as somebody who may read the log of `tenant`.
async fn reader(database: &Database, listen: SocketAddr, tenant: TenantId, now: Timestamp) -> anyhow::Result<Api> {
    let key = ApiKey::generate("live");
    let scopes = [Scope::Read];
    let new = NewApiKey {
        id: ApiKeyId::new(now),
        tenant: Some(tenant),
        name: "bench",
        key: &key,
        scopes: &scopes,
        expires_at: None,
    };
    let mut conn = database.acquire().await?;
    api_keys::insert(&mut conn, &new, now).await?;
    Api::new(&format!("http://{listen}"), Some(key.expose()))
}

async fn through_the_api(own: &Settings, log: Log) -> anyhow::Result<Vec<Measured>> {
    let shutdown = Shutdown::new(&own.drain);
    let context = Context { service: "admin", health: Health::new(shutdown.clone()), shutdown: shutdown.clone() };
    let admin = Box::pin(busbar_admin::run(Arc::new(own.clone()), context));
    let work = Box::pin(async {
        let measured = measure(&log).await;
        shutdown.trigger();
        measured
    });
    let (ended, measured) = tokio::join!(admin, work);
    ended.context("the management API failed")?;
    measured
}

async fn measure(log: &Log) -> anyhow::Result<Vec<Measured>> {
    log.wait().await?;
    let seen = log.seen().await?;
    let mut measured = Vec::new();
    for kind in &KINDS {
        let api = if kind.is_small { &log.narrow } else { &log.wide };
        let (mut times, mut rows) = (Vec::with_capacity(CALLS), 0);
        for _ in 0..CALLS {
            let parameters = log.parameters(kind, &seen);
            let pairs: Vec<_> = parameters.iter().map(|(name, value)| (*name, Some(value.as_str()))).collect();
            let path = query("/api/v1/deliveries", &pairs);
            let began = Instant::now();
            let page = api.json(Method::GET, &path, None).await?;
            times.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
            rows += page["data"].as_array().map_or(0, Vec::len);
        }
        measured.push(Measured { name: kind.name, latency: Latency::of(times), rows });
    }
    Ok(measured)
}

/// A kind of page.
struct Kind {
    name: &'static str,
    /// Whether the small tenant asks, and not the wide one.
    is_small: bool,
    fixed: &'static [(&'static str, &'static str)],
    random: Random,
}

/// What differs between two pages of one kind.
#[derive(Clone, Copy)]
enum Random {
    Nothing,
    Until,
    WebhookUntil,
    Day,
    Id,
    Event,
    Trace,
    Subject,
    Unknown,
}

const fn wide(name: &'static str, fixed: &'static [(&'static str, &'static str)], random: Random) -> Kind {
    Kind { name, is_small: false, fixed, random }
}

const fn small(name: &'static str, fixed: &'static [(&'static str, &'static str)], random: Random) -> Kind {
    Kind { name, is_small: true, fixed, random }
}

const RARE: (&str, &str) = ("event_type", "order.rare");
const IS_DEAD: (&str, &str) = ("status", "dead");

/// Most begin at a random moment, so that no two pages are alike.
const KINDS: [Kind; 24] = [
    wide("everything, the newest", &[], Random::Nothing),
    wide("everything", &[], Random::Until),
    wide("everything, pages of 200", &[("limit", "200")], Random::Until),
    small("everything, of a small tenant", &[], Random::Until),
    wide("pending", &[("status", "pending")], Random::Nothing),
    wide("retrying", &[("status", "retrying")], Random::Until),
    wide("succeeded", &[("status", "succeeded")], Random::Until),
    wide("held", &[("status", "held")], Random::Until),
    wide("dead", &[IS_DEAD], Random::Until),
    wide("cancelled", &[("status", "cancelled")], Random::Until),
    wide("of one webhook", &[], Random::WebhookUntil),
    wide("of one webhook, dead", &[IS_DEAD], Random::WebhookUntil),
    wide("of one webhook, a rare type", &[RARE], Random::WebhookUntil),
    wide("of a frequent type", &[("event_type", "order.paid")], Random::Until),
    wide("of a rare type", &[RARE], Random::Until),
    small("of no type, a small tenant's", &[("event_type", "order.none")], Random::Until),
    wide("dead, of a rare type", &[IS_DEAD, RARE], Random::Until),
    wide("of a day, a rare type", &[RARE], Random::Day),
    wide("by delivery id", &[], Random::Id),
    wide("by event id", &[], Random::Event),
    wide("by trace id", &[], Random::Trace),
    wide("by subject", &[], Random::Subject),
    wide("by subject, dead", &[IS_DEAD], Random::Subject),
    wide("by what does not exist", &[], Random::Unknown),
];

/// What people have at hand of one delivery.
struct Seen {
    id: String,
    event: String,
    trace: String,
}

impl Log {
    /// Waits until the API answers.
    async fn wait(&self) -> anyhow::Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        while let Err(error) = self.wide.json(Method::GET, "/api/v1/deliveries?limit=1", None).await {
            anyhow::ensure!(Instant::now() < end, "the management API does not answer: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Some deliveries from all over the log.
    async fn seen(&self) -> anyhow::Result<Vec<Seen>> {
        let mut seen = Vec::new();
        for _ in 0..CALLS {
            let until = self.moment();
            let path = query("/api/v1/deliveries", &[("limit", Some("1")), ("until", Some(until.as_str()))]);
            let page = self.wide.json(Method::GET, &path, None).await?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (id, event) = (text(&page["data"][0]["id"]), text(&page["data"][0]["event_id"]));
            anyhow::ensure!(!id.is_empty(), "nothing is found before {until}");
            let shown = self.wide.json(Method::GET, &format!("/api/v1/deliveries/{id}"), None).await?;
            seen.push(Seen { id, event, trace: text(&shown["trace_id"]) });
        }
        Ok(seen)
    }

    /// A moment of the log, but for its first days.
    fn moment(&self) -> String {
        let span = reach().as_secs();
        wire_time(self.since + Duration::from_secs(fastrand::u64(span / 10..span)))
    }

    /// What a page of this kind asks for this time.
    fn parameters(&self, kind: &Kind, seen: &[Seen]) -> Parameters {
        let one = fastrand::choice(seen);
        let of = |what: fn(&Seen) -> &String| vec![("q", one.map(what).cloned().unwrap_or_default())];
        let random = match kind.random {
            Random::Nothing => Vec::new(),
            Random::Until => vec![("until", self.moment())],
            Random::WebhookUntil => {
                let webhook = fastrand::choice(&self.filled.webhooks).map(ToString::to_string).unwrap_or_default();
                vec![("webhook", webhook), ("until", self.moment())]
            }
            Random::Day => {
                let since = self.since + Duration::from_secs(fastrand::u64(0..reach().as_secs()));
                vec![("since", wire_time(since)), ("until", wire_time(since + Duration::from_secs(DAY)))]
            }
            Random::Id => of(|seen| &seen.id),
            Random::Event => of(|seen| &seen.event),
            Random::Trace => of(|seen| &seen.trace),
            Random::Subject => vec![("q", format!("PTW-{}", fastrand::i64(0..(self.filled.deliveries / 40).max(1))))],
            Random::Unknown => vec![("q", format!("none {}", fastrand::u64(..)))],
        };
        kind.fixed.iter().map(|(name, value)| (*name, (*value).to_owned())).chain(random).collect()
    }
}

/// How long the log is.
const fn reach() -> Duration {
    Duration::from_secs(WEEKS.unsigned_abs() as u64 * 7 * DAY)
}

fn print(options: &Options, attempts: u32, measured: &[Measured]) {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    if options.json {
        let kinds = measured.iter().map(|kind| {
            let Latency { p50, p99, max, .. } = kind.latency;
            json!({
                "page": kind.name, "calls": CALLS, "rows": kind.rows,
                "p50_ms": millis(p50), "p99_ms": millis(p99), "max_ms": millis(max),
            })
        });
        return say(json!({ "attempts": attempts, "pages": kinds.collect::<Vec<_>>() }));
    }
    let mut text = format!(
        "{attempts} attempts over {WEEKS} weeks, {TENANTS} tenants, one of them with {WEBHOOKS} webhooks and half of \
         the log; {CALLS} pages of each kind over the API\n\n{:<34}{:>12}{:>10}{:>10}{:>10}",
        "page", "rows each", "p50 ms", "p99 ms", "max ms"
    );
    for kind in measured {
        let Latency { p50, p99, max, .. } = kind.latency;
        // A string takes whatever is written to it.
        let _ = write!(
            text,
            "\n{:<34}{:>12}{:>10.2}{:>10.2}{:>10.2}",
            kind.name,
            kind.rows / CALLS,
            millis(p50),
            millis(p99),
            millis(max)
        );
    }
    say(text);
}
