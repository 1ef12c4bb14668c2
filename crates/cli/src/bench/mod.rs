//! `busbar bench`: how fast the hub is on this machine, and a ledger that proves that nothing was lost.
//!
//! Generator, receiver and ledger are in this process; the services are processes of their own on a database and
//! queues of their own, which go when the benchmark ends.

mod hub;
mod log;
mod machine;
mod pairs;
mod replay;
mod report;
mod round;
mod traffic;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context as _;
use busbar_runtime::Settings;

use crate::bench::hub::Hub;
use crate::bench::round::{Plan, Round};
use crate::bench::traffic::Traffic;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Events per second; without it, each connection sends as soon as it is answered.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    /// How many events are measured; 20,000, or 15 seconds' worth with `--rate`.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
    events: Option<u64>,
    /// How many events are sent before those that are measured.
    #[arg(long, default_value_t = 1_000)]
    warm_up: u64,
    /// How many webhooks each event is owed to; with `--blackhole-share`, among how many the events go in turn, that share of
    /// them black holes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    webhooks: u16,
    /// The length of each request's body.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(..=200_000))]
    payload_bytes: u32,
    /// How many connections send.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// Which door the events come through.
    #[arg(long, value_enum, default_value_t = Path::Events)]
    path: Path,
    /// No webhook, so that events are only accepted.
    #[arg(long, conflicts_with_all = ["webhooks", "blackhole_share", "pairs"])]
    accept_only: bool,
    /// The share of the events, 0 to 0.9, that is owed to a receiver which never answers.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    blackhole_share: f64,
    /// So many pairs of rounds, one with the black hole answering and one with it silent; with `--replay`, so many pairs of
    /// slices at least, 5 by default, one with the replay paused and one with it running. Needs `--rate`.
    #[arg(long, requires = "rate", value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: Option<u32>,
    /// Sends so many events and replays their deliveries, in turns, beside live traffic at `--rate`.
    #[arg(
        long,
        requires = "rate",
        conflicts_with_all = ["events", "webhooks", "accept_only", "blackhole_share", "raw", "log_rows"],
        value_parser = clap::value_parser!(u64).range(1_000..=10_000_000)
    )]
    replay: Option<u64>,
    /// How many deliveries the replay makes in a second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    replay_rate: u32,
    /// Also sends the same load straight into the same receiver: the ceiling of what can be measured here.
    #[arg(long)]
    raw: bool,
    /// Fills a log of so many attempts, and measures what its pages cost.
    #[arg(long, conflicts_with_all = ["rate", "events", "raw", "pairs"], value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    log_rows: Option<u32>,
    /// Prints one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// The doors that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Path {
    /// `POST /api/v1/events`.
    Events,
    /// `POST /api/v1/ptw/events`.
    Ptw,
    /// `POST /functions/v1/receive-event`.
    Erpops,
}

impl Options {
    fn events(&self) -> u64 {
        self.events.unwrap_or_else(|| self.rate.map_or(20_000, |rate| rate * 15))
    }

    fn healthy_webhooks(&self) -> usize {
        if self.accept_only { 0 } else { self.webhooks.into() }
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=0.9).contains(&share) => Ok(share),
        Ok(_) | Err(_) => Err("a share is a number from 0 to 0.9".to_owned()),
    }
}

/// Runs the benchmark and prints its table.
pub(crate) async fn run(options: Options, settings: Settings) -> anyhow::Result<ExitCode> {
    let is_kept = match (options.log_rows, options.replay, options.pairs) {
        (Some(attempts), _, _) => log::run(&options, &settings, attempts).await?,
        (None, Some(originals), _) => Box::pin(replay::run(&options, &settings, originals)).await?,
        (None, None, Some(count)) => pairs::run(&options, &settings, count).await?,
        (None, None, None) => single(&options, &settings).await?,
    };
    Ok(if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn single(options: &Options, settings: &Settings) -> anyhow::Result<bool> {
    let plan = Plan::new(options);
    let raw = if options.raw { Some(raw(options, &plan).await?) } else { None };
    let round = through_a_hub(options, settings, &plan, options.blackhole_share > 0.0).await?;
    report::single(options, &round, raw.as_ref())?;
    Ok(round.verdict.is_kept())
}

/// Measures one round through a hub that is made for it.
async fn through_a_hub(options: &Options, settings: &Settings, plan: &Plan, is_silent: bool) -> anyhow::Result<Round> {
    let traffic = Traffic::new(options, plan, options.healthy_webhooks(), is_silent)?;
    in_a_hub(options, settings, &traffic, async |hub: &Hub| round::measure(options, plan, &traffic, hub).await).await
}

/// Does `work` with a hub that is made for it and goes with it, whatever happens.
async fn in_a_hub<T>(
    options: &Options,
    settings: &Settings,
    traffic: &Traffic,
    work: impl AsyncFnOnce(&Hub) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut hub = Hub::prepare(settings)?;
    let work = Box::pin(async {
        hub.start(options, traffic).await?;
        work(&hub).await
    });
    let done = tokio::select! {
        done = work => done,
        asked = tokio::signal::ctrl_c() => asked.context("Ctrl-C").and_then(|()| Err(anyhow::anyhow!("interrupted"))),
    };
    Box::pin(hub.remove()).await;
    done
}

/// The same generator straight into the same receiver.
async fn raw(options: &Options, plan: &Plan) -> anyhow::Result<Round> {
    let traffic = Traffic::new(options, plan, 1, false)?;
    let work = round::measure_raw(options, plan, &traffic);
    tokio::select! {
        measured = work => Ok(measured),
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    }
}

const fn loopback() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}
