//! The public door: verify the raw bytes, make durable, answer. Nothing is answered 2xx that is not in PostgreSQL.
//!
//! Absent by design: processing, deliveries, any outgoing connection.

mod api;
mod authorized;
mod batch;
mod body;
mod commit;
mod door;
mod erpops;
mod events;
mod exact;
mod metric;
mod ptw;

use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpServer};
use anyhow::Context as _;
use busbar_runtime::settings::Settings;
use busbar_runtime::{Context, Parts, parts};

pub use api::openapi;
pub use door::Door;

/// Runs the ingress until `context` says stop.
pub async fn run(settings: Arc<Settings>, context: Context) -> anyhow::Result<()> {
    let parts = Parts::open(&settings, &context).await?;
    let publisher = parts::publisher(&settings, &context.health)?;
    let door = Door::open(&settings, &parts, publisher.clone(), context.shutdown.clone());
    let listening = context.health.register("listener");
    let rules = &settings.ingress;
    let workers = if rules.workers == 0 {
        std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
    } else {
        rules.workers
    };
    let server = {
        let door = door.clone();
        HttpServer::new(move || {
            App::new()
                .wrap(actix_web::middleware::from_fn(door::close_while_draining))
                .configure(api::routes(door.clone()))
        })
        .workers(workers)
        .max_connections(rules.max_connections.div_ceil(workers))
        .client_request_timeout(Duration::from_millis(rules.header_timeout_ms))
        .keep_alive(Duration::from_secs(75))
        .shutdown_timeout(10)
        .disable_signals()
        .bind(rules.listen)
        .with_context(|| format!("the ingress cannot bind {}", rules.listen))?
        .run()
    };
    listening.up();
    tracing::info!(listen = %rules.listen, "the door is open");
    let mut stopper = tokio::task::JoinSet::new();
    stopper.spawn({
        let (shutdown, handle) = (context.shutdown.clone(), server.handle());
        async move {
            shutdown.stop().await;
            handle.stop(true).await;
        }
    });
    server.await.context("the listener failed")?;
    door.close().await;
    publisher.close().await;
    parts.close().await;
    Ok(())
}
