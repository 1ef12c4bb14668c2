//! How a service runs as a process: settings, telemetry, ops listener, the work itself, drain, exit code.
//! Nothing is opened before the settings are known to be good.

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::health::Health;
use crate::metrics::Metrics;
use crate::ops::Ops;
use crate::settings::{self, Settings};
use crate::shutdown::{Shutdown, Signals};
use crate::telemetry;

/// The exit code of a start that its settings or arguments forbid; `EX_USAGE` of `sysexits.h`.
pub const BAD_SETTINGS: u8 = 64;
/// The exit code of a service that failed, or that the deadline cut off.
pub const FAILED: u8 = 1;

/// How long threads that are blocked may hold up the exit.
const LAST_THREADS: Duration = Duration::from_secs(1);

/// What a service gets from its process besides the settings; clones share it.
#[derive(Clone, Debug)]
pub struct Context {
    /// Which service runs: `ingress`, `admin`, `processor`, `delivery`, `scheduler`.
    pub service: &'static str,
    /// Where it reports what works.
    pub health: Health,
    /// When it must stop.
    pub shutdown: Shutdown,
}

/// Runs `service` from its arguments and environment to its exit code; the whole of a `main`.
///
/// `run` ends when the drain has ended. 0: it ended well; 1: it failed, or the deadline cut it off;
/// 64: arguments or settings are bad.
pub fn serve<F, Fut>(service: &'static str, run: F) -> ExitCode
where
    F: FnOnce(Arc<Settings>, Context) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    ExitCode::from(outcome(service, std::env::args_os().skip(1), settings::environment(), run))
}

/// Makes aws-lc the TLS provider of every library in this process; a repeat does nothing.
pub fn install_tls_provider() {
    // An error only says that a provider is there already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn outcome<F, Fut>(
    service: &'static str,
    arguments: impl Iterator<Item = OsString>,
    env: impl Iterator<Item = (String, String)>,
    run: F,
) -> u8
where
    F: FnOnce(Arc<Settings>, Context) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let loaded =
        config_file(arguments).and_then(|file| Settings::load(file.as_deref(), env).map_err(|error| error.to_string()));
    let settings = match loaded {
        Ok(settings) => Arc::new(settings),
        Err(reason) => {
            eprintln!("busbar-{service}: {reason}");
            return BAD_SETTINGS;
        }
    };
    install_tls_provider();
    // The guard outlives the runtime, since the spans of the last tasks are to be sent too.
    let _telemetry = match telemetry::install(service, &settings.log, &settings.telemetry) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("busbar-{service}: {error}");
            return FAILED;
        }
    };
    match block_on(drive(service, settings, run)) {
        Ok(()) => {
            tracing::info!(service, "ended");
            0
        }
        Err(error) => {
            tracing::error!(service, error = format!("{error:#}"), "failed");
            FAILED
        }
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime did not start")?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_THREADS);
    result
}

async fn drive<F, Fut>(service: &'static str, settings: Arc<Settings>, run: F) -> anyhow::Result<()>
where
    F: FnOnce(Arc<Settings>, Context) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let shutdown = Shutdown::new(&settings.drain);
    let health = Health::new(shutdown.clone());
    let metrics = Metrics::install()?;
    let signals = Signals::listen().context("signals cannot be listened to")?;
    let listen = settings.ops_listen(service);
    let ops = Ops::bind(listen, health.clone(), metrics.clone())
        .with_context(|| format!("the ops listener cannot bind {listen}"))?;
    tracing::info!(service, ops = %ops.address(), version = env!("CARGO_PKG_VERSION"), "started");

    // Dropping the set at the end of this function ends what is in it.
    let mut background = JoinSet::new();
    background.spawn(signals.drive(shutdown.clone()));
    background.spawn(metrics.upkeep());
    background.spawn(async move {
        if let Err(error) = ops.run().await {
            tracing::error!(%error, "the ops listener ended");
        }
    });

    let deadline = shutdown.clone();
    let context = Context { service, health, shutdown };
    let work = run(settings, context);
    tokio::select! {
        result = work => result,
        () = deadline.deadline() => Err(anyhow::anyhow!("the drain's deadline passed with work unfinished")),
    }
}

/// Understands `--config FILE` and `--config=FILE`, and nothing else.
fn config_file(mut arguments: impl Iterator<Item = OsString>) -> Result<Option<PathBuf>, String> {
    let mut file = None;
    while let Some(argument) = arguments.next() {
        let inline = argument.to_str().and_then(|text| text.strip_prefix("--config="));
        file = match inline {
            Some(path) => Some(PathBuf::from(path)),
            None if argument == "--config" => {
                let path = arguments.next().ok_or("--config needs the path of a settings file")?;
                Some(PathBuf::from(path))
            }
            None => {
                let argument = argument.display();
                return Err(format!("unknown argument {argument}; the only one is --config FILE"));
            }
        };
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with<F, Fut>(arguments: &[&str], env: &[(&str, &str)], run: F) -> u8
    where
        F: FnOnce(Arc<Settings>, Context) -> Fut,
        Fut: Future<Output = anyhow::Result<()>>,
    {
        // Port 0, so that tests do not meet on one.
        let free_port = ("BUSBAR_INGRESS__OPS_LISTEN", "127.0.0.1:0");
        let env: Vec<_> =
            [free_port].iter().chain(env).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        outcome("ingress", arguments.iter().map(OsString::from), env.into_iter(), run)
    }

    async fn never_reached(_: Arc<Settings>, _: Context) -> anyhow::Result<()> {
        panic!("a service must not start with bad settings");
    }

    #[test]
    fn bad_settings_and_bad_arguments_end_with_64_before_anything_starts() {
        assert_eq!(run_with(&[], &[("BUSBAR_DATABASE__URL", "nonsense")], never_reached), BAD_SETTINGS);
        assert_eq!(run_with(&[], &[("BUSBAR_NO__SUCH", "1")], never_reached), BAD_SETTINGS);
        assert_eq!(run_with(&["--config", "/nowhere/at/all.toml"], &[], never_reached), BAD_SETTINGS);
        assert_eq!(run_with(&["--config"], &[], never_reached), BAD_SETTINGS);
        assert_eq!(run_with(&["--verbose"], &[], never_reached), BAD_SETTINGS);
    }

    #[test]
    fn a_failed_start_ends_with_1() {
        let code = run_with(&[], &[], |_, _| async { anyhow::bail!("the database does not answer") });
        assert_eq!(code, FAILED);
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        assert_eq!(run_with(&[], &[("BUSBAR_INGRESS__OPS_LISTEN", &address)], never_reached), FAILED);
    }

    #[test]
    fn a_drained_service_ends_with_0() {
        let code = run_with(&[], &[("BUSBAR_DRAIN__READY_OFF_MS", "10")], |settings, context| async move {
            assert_eq!(settings.drain.ready_off_ms, 10);
            assert_eq!(context.service, "ingress");
            context.shutdown.trigger();
            context.shutdown.stop().await;
            Ok(())
        });
        assert_eq!(code, 0);
    }

    #[test]
    fn sigterm_begins_the_drain() {
        let code = run_with(&[], &[("BUSBAR_DRAIN__READY_OFF_MS", "10")], |_, context| async move {
            let health = context.health.register("broker");
            health.up();
            assert!(context.health.is_ready());
            let kill = std::process::Command::new("kill").arg(std::process::id().to_string()).status()?;
            assert!(kill.success());
            context.shutdown.stop().await;
            assert!(!context.health.is_ready());
            Ok(())
        });
        assert_eq!(code, 0);
    }

    #[test]
    fn work_that_outlives_the_deadline_is_cut_off() {
        let drain = [("BUSBAR_DRAIN__READY_OFF_MS", "10"), ("BUSBAR_DRAIN__DEADLINE_MS", "50")];
        let code = run_with(&[], &drain, |_, context| async move {
            context.shutdown.trigger();
            std::future::pending().await
        });
        assert_eq!(code, FAILED);
    }
}
