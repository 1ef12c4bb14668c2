//! `busbar up`: the five services in one process, for a laptop and for trying things out.

use std::sync::Arc;

use anyhow::Context as _;
use busbar_messaging::topology;
use busbar_runtime::shutdown::Signals;
use busbar_runtime::{Context, Health, Metrics, Ops, Settings, Shutdown, parts, telemetry};
use busbar_storage::migrate;

pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let settings = Arc::new(settings);
    let telemetry = telemetry::install("up", &settings.log, &settings.telemetry)?;
    let database = parts::database(&settings, "up")?;
    migrate::apply(&database).await.context("the database cannot be migrated")?;
    database.close().await;
    topology::apply(&parts::broker(&settings)?).await.context("the queues cannot be declared")?;

    let shutdown = Shutdown::new(&settings.drain);
    let health = Health::new(shutdown.clone());
    let metrics = Metrics::install()?;
    let ops = Ops::bind(settings.ops_listen("ingress"), health.clone(), metrics.clone())
        .context("the ops listener cannot bind")?;
    let signals = Signals::listen().context("signals cannot be listened to")?;
    let of = |service| Context { service, health: health.scoped(service), shutdown: shutdown.clone() };
    // One service that fails takes the others down with it, as a crash of the process would.
    let services = async {
        let ended = tokio::try_join!(
            busbar_ingress::run(Arc::clone(&settings), of("ingress")),
            busbar_admin::run(Arc::clone(&settings), of("admin")),
            busbar_processor::run(Arc::clone(&settings), of("processor")),
            busbar_delivery::run(Arc::clone(&settings), of("delivery")),
            busbar_scheduler::run(Arc::clone(&settings), of("scheduler")),
        );
        ended.map(|_| ())
    };
    tokio::select! {
        ended = services => ended?,
        ended = ops.run() => ended.context("the ops listener ended")?,
        () = async { tokio::join!(signals.drive(shutdown.clone()), metrics.upkeep()); } => {}
    }
    // Flushing spans blocks, which the runtime's own threads must not.
    tokio::task::spawn_blocking(move || drop(telemetry)).await.context("telemetry cannot be flushed")
}
