//! `busbar-sandbox --listen 127.0.0.1:8090`: the scripted receiver with its control API under
//! `/_sandbox/`, until it is told to stop.

use std::io::IsTerminal;

use anyhow::Context;
use busbar_sandbox::{Receiver, Recording, Script, parse_listen};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How many requests the control API can show.
const REMEMBERED: usize = 1_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();

    let listen = parse_listen(std::env::args().skip(1))?;
    let script = Script::default().recording(Recording::Last(REMEMBERED)).controlled();
    let receiver = Receiver::start(listen, script).with_context(|| format!("cannot listen on {listen}"))?;
    tracing::info!(url = receiver.url(), "listening");

    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminated.recv() => {}
    }
    receiver.stop();
    receiver.stopped().await;
    Ok(())
}
