//! Message-driven work: inbound calls become events, and wide fan-outs are finished in chunks.
//!
//! A batch is one transaction: rows locked, pure decisions, events with the deliveries they owe, rows marked.

mod deaths;
mod exact;
mod inbound;
mod metric;
mod reports;
mod spread;
mod wakeups;

use std::sync::Arc;

use anyhow::Context as _;
use busbar_domain::inbound::System;
use busbar_messaging::topology::UNREADABLE;
use busbar_messaging::{Queue, consume, consume_unreadable};
use busbar_runtime::settings::Settings;
use busbar_runtime::{Context, Parts, parts};
use busbar_systems::registry::edge;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::exact::Actions;
use crate::inbound::Calls;
use crate::reports::Reports;
use crate::spread::Spread;
use crate::wakeups::Wakeups;

/// How many wake-ups may be in hand unacked.
const PREFETCH: u16 = 32;

/// Runs the processor until `context` says stop.
pub async fn run(settings: Arc<Settings>, context: Context) -> anyhow::Result<()> {
    let parts = Parts::open(&settings, &context).await?;
    let publisher = parts::publisher(&settings, &context.health)?;
    let broker = parts::broker(&settings)?;
    let stop = CancellationToken::new();
    let most = usize::try_from(settings.processor.batch).unwrap_or(256);
    let mut consumers = JoinSet::new();
    for name in &settings.processor.queues {
        let queue = Queue::parse(name).with_context(|| format!("processor.queues: there is no queue {name}"))?;
        let health = parts::health_report(&context.health, name);
        let (broker, stop) = (broker.clone(), stop.clone());
        if queue == Queue::Jobs {
            let handler = Spread::new(&parts, publisher.clone());
            consumers.spawn(consume(broker, queue, PREFETCH, most, handler, health, stop));
        } else {
            let system = System::ALL.into_iter().find(|system| Queue::inbound(*system) == Some(queue));
            let system = system.with_context(|| format!("processor.queues: nothing is processed from {name} yet"))?;
            if let Some(to_event) = edge(system).to_event {
                let handler = Calls::new(&parts, publisher.clone(), Reports { system, to_event });
                consumers.spawn(consume(broker, queue, PREFETCH, most, handler, health, stop));
            } else {
                let handler = Calls::new(&parts, publisher.clone(), Actions::new(&parts));
                consumers.spawn(consume(broker, queue, PREFETCH, most, handler, health, stop));
            }
        }
    }
    let health = parts::health_report(&context.health, UNREADABLE);
    consumers.spawn(consume_unreadable(broker, Wakeups::new(&parts), health, stop.clone()));
    context.shutdown.stop().await;
    stop.cancel();
    while let Some(ended) = consumers.join_next().await {
        ended.context("a consumer failed")?.context("a consumer cannot run")?;
    }
    publisher.close().await;
    parts.close().await;
    Ok(())
}
