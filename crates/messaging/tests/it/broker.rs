//! The real broker, one namespace of it per test, and what a test watches.

use std::collections::BTreeSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use busbar_domain::Failure;
use busbar_domain::trace::TraceContext;
use busbar_messaging::{
    CancellationToken, Config, Handler, HealthReport, Namespace, Publisher, Queue, QueueType, topology,
};
use futures_util::FutureExt;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::task::JoinSet;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

/// Where the broker listens.
#[expect(clippy::disallowed_methods, reason = "tests have no settings")]
pub(crate) fn url() -> String {
    std::env::var("BUSBAR_BROKER__URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned())
}

/// Runs `test` with queues of its own, which are gone afterwards however the test ends.
pub(crate) async fn with_topology<F: Future<Output = ()>>(test: impl FnOnce(Config) -> F) {
    recorder();
    let namespace = format!("test-{}", Uuid::now_v7().simple());
    let config = Config {
        url: url().into(),
        namespace: Namespace::parse(&namespace).unwrap(),
        queue_type: QueueType::Classic,
        backlog_limit: 10_000,
    };
    topology::apply(&config).await.unwrap();
    let ended = AssertUnwindSafe(test(config.clone())).catch_unwind().await;
    topology::remove(&config).await.unwrap();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap())
}

/// What a counter stands at; tests of one process share it, so only growth can be asserted.
pub(crate) fn counted(name: &str, queue: Queue) -> u64 {
    let series = format!("{name}{{queue=\"{}\"}} ", queue.name());
    recorder().render().lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or(0)
}

/// Waits until `condition` holds, and says what it waited for when it never does.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How many messages wait in a queue, `None` where it is missing.
pub(crate) async fn depth(config: &Config, name: &str) -> Option<u32> {
    let depths = topology::depths(config).await.unwrap();
    depths.into_iter().find(|(queue, _)| *queue == name).unwrap().1
}

/// New ids.
pub(crate) fn ids(count: usize) -> Vec<Uuid> {
    (0..count).map(|_| Uuid::now_v7()).collect()
}

/// Keeps what a health report was last told.
#[derive(Clone, Default)]
pub(crate) struct Health(Arc<Mutex<Option<Result<(), String>>>>);

impl Health {
    pub(crate) fn report(&self) -> HealthReport {
        let told = self.clone();
        Arc::new(move |health| *told.0.lock().unwrap() = Some(health))
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(*self.0.lock().unwrap(), Some(Ok(())))
    }

    pub(crate) fn is_down_naming(&self, text: &str) -> bool {
        matches!(&*self.0.lock().unwrap(), Some(Err(reason)) if reason.contains(text))
    }
}

/// A publisher that is connected.
pub(crate) async fn publisher(config: &Config) -> Publisher {
    let publisher = Publisher::start(config.clone(), Health::default().report()).unwrap();
    eventually("the publisher is ready", async || publisher.ready()).await;
    publisher
}

type Answer = dyn Fn(usize, &[Uuid]) -> Result<(), Failure> + Send + Sync;

/// A handler that records its calls and answers as it was told.
#[derive(Clone)]
pub(crate) struct Worker {
    calls: Arc<Mutex<Vec<Call>>>,
    answer: Arc<Answer>,
}

/// One call of the handler.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) ids: Vec<Uuid>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) succeeded: bool,
}

impl Worker {
    /// Answers each call, the first being number 1, by `answer`.
    pub(crate) fn answering(answer: impl Fn(usize, &[Uuid]) -> Result<(), Failure> + Send + Sync + 'static) -> Self {
        Self { calls: Arc::default(), answer: Arc::new(answer) }
    }

    /// Succeeds always.
    pub(crate) fn willing() -> Self {
        Self::answering(|_, _| Ok(()))
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// The ids that were worked with success.
    pub(crate) fn worked(&self) -> BTreeSet<Uuid> {
        self.calls().into_iter().filter(|call| call.succeeded).flat_map(|call| call.ids).collect()
    }

    /// Waits until all of `ids` were worked.
    pub(crate) async fn has_worked(&self, ids: &[Uuid]) {
        let wanted: BTreeSet<_> = ids.iter().copied().collect();
        eventually("all ids are worked", async || self.worked().is_superset(&wanted)).await;
    }
}

impl Handler for Worker {
    async fn handle(&self, ids: Vec<Uuid>, trace: Option<TraceContext>) -> Result<(), Failure> {
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(Call { ids: ids.clone(), trace, succeeded: false });
            calls.len()
        };
        let answer = (self.answer)(number, &ids);
        self.calls.lock().unwrap()[number - 1].succeeded = answer.is_ok();
        answer
    }
}

/// A consumer in the background.
pub(crate) struct Running {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    pub(crate) health: Health,
}

impl Running {
    /// Consumes `queue`, 32 messages ahead and 500 ids at once.
    pub(crate) fn start(config: &Config, queue: Queue, worker: &Worker) -> Self {
        let (stop, health, mut tasks) = (CancellationToken::new(), Health::default(), JoinSet::new());
        let (config, worker, report, token) = (config.clone(), worker.clone(), health.report(), stop.clone());
        tasks.spawn(async move {
            busbar_messaging::consume(config, queue, 32, 500, worker, report, token).await.unwrap();
        });
        Self { tasks, stop, health }
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}
