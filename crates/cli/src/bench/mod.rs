//! `busbar bench`: how fast the hub is on this machine, and a ledger that proves that nothing was lost.

use std::process::ExitCode;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {}

/// Runs the benchmark and prints its table.
pub(crate) async fn run(_options: Options) -> anyhow::Result<ExitCode> {
    anyhow::bail!("being written")
}
