//! `busbar`: the hub in one process, and what operators and integrators do from a terminal.

mod access;
mod api;
mod bench;
mod dead_letters;
mod deliveries;
mod demo;
mod inbound;
mod keys;
mod listen;
mod openapi;
mod replay;
mod schema;
mod send;
mod topology;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use busbar_runtime::Settings;
use busbar_runtime::process::{BAD_SETTINGS, install_tls_provider};
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Busbar, the ERP integration hub.
#[derive(Parser)]
#[command(name = "busbar", version, about)]
struct Arguments {
    /// Settings file; the environment (`BUSBAR_SECTION__KEY`) overrides it.
    #[arg(long, global = true, env = "BUSBAR_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs all five services in this process, after migrating the database and declaring the queues.
    Up,
    /// Brings the database's schema up to date.
    Migrate,
    /// Declares or exports the broker's queues.
    Topology(topology::Options),
    /// Makes API keys and master keys, and seals everything anew under a new one.
    Keys(keys::Options),
    /// Publishes events.
    Events(send::Options),
    /// Finds deliveries, repeats them and calls them off.
    Deliveries(deliveries::Options),
    /// Finds calls of outside systems and repeats them.
    Inbound(inbound::Options),
    /// Finds what was given up, and resubmits or discards it.
    DeadLetters(dead_letters::Options),
    /// Owes many deliveries once more.
    Replay(replay::Options),
    /// Lists replays, shows one, stops it, and lets it go on.
    Replays(replay::ListOptions),
    /// Listens locally, prints what arrives and verifies it.
    Listen(listen::Options),
    /// Measures the hub on this machine and proves that nothing is lost.
    Bench(bench::Options),
    /// Sets up the demo tenant and sends one event of each kind through the running hub.
    Demo(demo::Options),
    /// Writes the OpenAPI documents, or checks that they are up to date.
    Openapi(openapi::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = match Settings::load(arguments.config.as_deref(), busbar_runtime::settings::environment()) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("busbar: {error}");
            return ExitCode::from(BAD_SETTINGS);
        }
    };
    install_tls_provider();
    match run(arguments.command, settings) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("busbar: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, settings: Settings) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        match command {
            Command::Up => Box::pin(up::run(settings)).await?,
            Command::Migrate => schema::migrate(&settings).await?,
            Command::Topology(options) => topology::run(&options, &settings).await?,
            Command::Keys(options) => return keys::run(&options, &settings).await,
            Command::Events(options) => send::events(&options).await?,
            Command::Deliveries(options) => deliveries::run(&options).await?,
            Command::Inbound(options) => inbound::run(&options).await?,
            Command::DeadLetters(options) => dead_letters::run(&options).await?,
            Command::Replay(options) => replay::start(&options).await?,
            Command::Replays(options) => replay::list(&options).await?,
            Command::Listen(options) => return listen::run(&options).await,
            Command::Bench(options) => return Box::pin(bench::run(options, settings)).await,
            Command::Demo(options) => demo::run(&options, &settings).await?,
            Command::Openapi(options) => return openapi::run(&options),
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Prints one line of a command's result.
pub(crate) fn say(line: impl std::fmt::Display) {
    #[expect(clippy::print_stdout, reason = "a command prints its result")]
    {
        println!("{line}");
    }
}
