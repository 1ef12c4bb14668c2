//! The door itself: what every route needs to accept something, and the two writers that make it durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::{HttpRequest, web};
use busbar_domain::event::NewEvent;
use busbar_domain::id::{EventId, InboundId, TenantId};
use busbar_domain::inbound::NewInbound;
use busbar_domain::trace::TraceContext;
use busbar_domain::{Clock, Timestamp};
use busbar_messaging::{Publisher, Queue as Wake};
use busbar_runtime::settings::Settings;
use busbar_runtime::telemetry::Step;
use busbar_runtime::{Parts, Problem, Shutdown};
use busbar_storage::access::{Callers, Connectors, Plans};
use busbar_storage::answers::Answers;
use busbar_storage::{accept, inbound};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::batch::{CallWriter, EventWriter};
use crate::commit::{self, Queue, Refused};
use crate::metric;

/// The most entries that one commit makes durable.
const MOST: usize = 256;

/// What every route shares; clones are one door.
#[derive(Clone, Debug)]
pub struct Door(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    clock: Clock,
    callers: Callers,
    connectors: Connectors,
    events: Queue<Vec<NewEvent>, Vec<accept::Receipt>>,
    calls: Queue<NewInbound, inbound::Receipt>,
    answers: Answers,
    /// Where the management API is reached, without a slash at its end.
    admin_url: String,
    limits: Limits,
    shutdown: Shutdown,
    writers: Mutex<JoinSet<()>>,
    stop: tokio_util::sync::CancellationToken,
}

/// How much of a body is taken, and how long that may last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) body: usize,
    pub(crate) body_timeout: Duration,
    sample_ratio: Option<f64>,
}

impl Door {
    /// Opens the door over `parts`; wake-ups go through `publisher`.
    pub fn open(settings: &Settings, parts: &Parts, publisher: Publisher, shutdown: Shutdown) -> Self {
        let rules = &settings.ingress;
        let timeout = Duration::from_millis(rules.commit_timeout_ms);
        let (events, event_intake) = commit::queue(rules.commit_queue, timeout);
        let (calls, call_intake) = commit::queue(rules.commit_queue, timeout);
        let plans = Plans::new(parts.database.clone(), parts.changes.clone());
        let stop = tokio_util::sync::CancellationToken::new();
        let mut writers = JoinSet::new();
        let events_writer =
            EventWriter::new(parts.database.clone(), parts.clock.clone(), plans, publisher.clone(), Wake::Deliveries);
        writers.spawn(events_writer.run(event_intake, MOST, stop.clone()));
        let calls_writer = CallWriter::new(parts.database.clone(), parts.clock.clone(), publisher);
        writers.spawn(calls_writer.run(call_intake, MOST, stop.clone()));
        let answers = Answers::default();
        writers.spawn({
            let (answers, database, stop) = (answers.clone(), parts.database.clone(), stop.clone());
            async move { answers.watch(&database, &stop).await }
        });
        Self(Arc::new(Inside {
            clock: parts.clock.clone(),
            callers: Callers::new(parts.database.clone(), parts.changes.clone()),
            connectors: Connectors::new(parts.database.clone(), parts.changes.clone()),
            events,
            calls,
            answers,
            admin_url: settings.admin.public_url.trim_end_matches('/').to_owned(),
            limits: Limits {
                body: rules.max_body_bytes,
                body_timeout: Duration::from_millis(rules.body_timeout_ms),
                sample_ratio: settings.telemetry.otlp_endpoint.is_some().then_some(settings.telemetry.sample_ratio),
            },
            shutdown,
            writers: Mutex::new(writers),
            stop,
        }))
    }

    /// Ends the writers once what is in their queues is durable, and the listening for answers.
    pub async fn close(&self) {
        self.0.stop.cancel();
        let mut writers = self.0.writers.lock().await;
        while writers.join_next().await.is_some() {}
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(crate) fn callers(&self) -> &Callers {
        &self.0.callers
    }

    pub(crate) fn connectors(&self) -> &Connectors {
        &self.0.connectors
    }

    pub(crate) fn answers(&self) -> &Answers {
        &self.0.answers
    }

    /// Where the outcome of a call is told.
    pub(crate) fn status_url(&self, call: InboundId) -> String {
        format!("{}/api/v1/inbound/{call}", self.0.admin_url)
    }

    pub(crate) fn limits(&self) -> Limits {
        self.0.limits
    }

    /// Makes `events` of one tenant durable; the receipts are in their order.
    pub(crate) async fn accept(
        &self,
        tenant: TenantId,
        events: Vec<NewEvent>,
    ) -> Result<Vec<(EventId, accept::Receipt)>, Refused> {
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        let receipts = self.0.events.commit(tenant, events).await?;
        Ok(ids.into_iter().zip(receipts).collect())
    }

    /// Makes one call durable; answers its id, or that of the same call before.
    pub(crate) async fn receive(&self, call: NewInbound) -> Result<InboundId, Refused> {
        let id = call.id;
        match self.0.calls.commit(call.tenant, call).await? {
            inbound::Receipt::Accepted => Ok(id),
            inbound::Receipt::Repeat { first } => Ok(first),
        }
    }

    /// Begins the step of accepting `request`: in its own `traceparent`'s trace, or in a new one.
    ///
    /// Whether the trace is sampled is decided here and never by the caller.
    pub(crate) fn begin(&self, request: &HttpRequest) -> Step {
        let sent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        let parent = sent.and_then(TraceContext::parse).unwrap_or_else(TraceContext::root);
        let sampled = self.0.limits.sample_ratio.is_some_and(|ratio| fastrand::f64() < ratio);
        Step::below(parent.sampled(sampled), || tracing::info_span!("accept", http.route = request.match_pattern()))
    }
}

/// The answer to what was not made durable; the sender may try again.
pub(crate) fn problem_of(refused: Refused) -> Problem {
    match refused {
        Refused::Full | Refused::TimedOut => Problem::unavailable(1),
        Refused::Rejected => Problem::internal(),
    }
}

/// Tells keep-alive clients to go elsewhere once a drain has begun; nothing is refused for it.
pub(crate) async fn close_while_draining(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let draining = request.app_data::<web::Data<Door>>().is_some_and(|door| door.0.shutdown.is_draining());
    let mut response = next.call(request).await?;
    if draining {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// Counts what one commit did.
pub(crate) fn measure(entries: usize, began: Instant) {
    #[expect(clippy::cast_precision_loss, reason = "batches are small")]
    metrics::histogram!(metric::BATCH).record(entries as f64);
    metrics::histogram!(metric::COMMIT).record(began.elapsed());
}
