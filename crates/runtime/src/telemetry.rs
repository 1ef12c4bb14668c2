//! Logs to stderr and, where a collector is named, spans to OpenTelemetry.
//! Without `telemetry.otlp_endpoint` no OpenTelemetry layer exists, so that a span costs what a log line costs.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use busbar_domain::trace::TraceContext;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt, TracerProvider};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, fmt};

use crate::settings::{Log, LogFormat, Telemetry};

/// The most that one export to the collector may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Libraries under the exporter itself: their spans would be exported, which makes more of them.
const SILENT: [&str; 5] = ["hyper", "h2", "reqwest", "rustls", "opentelemetry"];

static TRACING: AtomicBool = AtomicBool::new(false);

/// Why telemetry did not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.filter` cannot be read.
    #[error("log.filter: {0}")]
    Filter(#[from] ParseError),
    /// The exporter cannot be made.
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// Sends what is still buffered when dropped; keep it until the process ends.
///
/// Dropping it blocks for a few seconds where the collector does not answer.
#[must_use = "a dropped guard ends the export"]
#[derive(Debug)]
pub struct TelemetryGuard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            TRACING.store(false, Ordering::Relaxed);
            if let Err(error) = provider.shutdown_with_timeout(EXPORT_TIMEOUT) {
                tracing::warn!(%error, "the last spans were not exported");
            }
        }
    }
}

/// Sets up logs and traces for this process; where that was done already, the first set-up stays.
pub fn install(service: &str, log: &Log, telemetry: &Telemetry) -> Result<TelemetryGuard, TelemetryError> {
    let filter = EnvFilter::try_new(&log.filter)?;
    let lines = match log.format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .with_filter(filter)
            .boxed(),
        LogFormat::Human => fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .with_filter(filter)
            .boxed(),
    };
    let provider = match &telemetry.otlp_endpoint {
        Some(endpoint) => Some(tracer_provider(service, endpoint, telemetry.sample_ratio)?),
        None => None,
    };
    let spans = provider.as_ref().map(export_layer);
    let installed: Result<(), TryInitError> = tracing_subscriber::registry().with(lines).with(spans).try_init();
    if installed.is_err() {
        return Ok(TelemetryGuard { provider: None });
    }
    TRACING.store(provider.is_some(), Ordering::Relaxed);
    Ok(TelemetryGuard { provider })
}

/// Whether spans are exported at all; hot paths make none where they are not.
pub fn tracing_enabled() -> bool {
    TRACING.load(Ordering::Relaxed)
}

/// Makes `span`, not yet entered, a child of a W3C `traceparent` of our own, such as a wake-up's.
///
/// The parent decides whether the span is sampled, so a stranger's traceparent belongs to [`with_link`].
#[must_use]
pub fn with_parent(span: Span, traceparent: &str) -> Span {
    if let Some(parent) = parse(traceparent) {
        // It fails where nothing is exported or the span is filtered out; both are fine.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    span
}

/// Links `span` to a `traceparent` without letting it decide: for a stranger's, and for each member of a batch.
#[must_use]
pub fn with_link(span: Span, traceparent: &str) -> Span {
    if let Some(linked) = parse(traceparent) {
        span.add_link(linked);
    }
    span
}

/// The W3C `traceparent` that makes others children of `span`; `None` where nothing is exported.
pub fn traceparent_of(span: &Span) -> Option<String> {
    let context = span.context();
    let current = context.span();
    let span = current.span_context();
    span.is_valid().then(|| format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8()))
}

/// A step on an event's way: its place in the trace for what follows, and its span for as long as the step lasts.
#[derive(Debug)]
pub struct Step {
    context: TraceContext,
    _span: Option<Span>,
}

impl Step {
    /// Begins a step below `parent`; `span` is made only if the trace is sampled and exported.
    pub fn below(parent: TraceContext, span: impl FnOnce() -> Span) -> Self {
        if !(parent.is_sampled() && tracing_enabled()) {
            return Self { context: parent.child(), _span: None };
        }
        let span = with_parent(span(), &parent.to_string());
        let own = traceparent_of(&span).and_then(|own| TraceContext::parse(&own));
        Self { context: own.unwrap_or_else(|| parent.child()), _span: Some(span) }
    }

    /// This step's place in the trace.
    pub const fn context(&self) -> TraceContext {
        self.context
    }
}

fn tracer_provider(service: &str, endpoint: &str, ratio: f64) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(traces_url(endpoint))
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    let resource = Resource::builder().with_service_name(format!("busbar-{service}")).build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::parent_based(Sampler::TraceIdRatioBased(ratio)))
        .with_resource(resource)
        .build())
}

fn export_layer<S>(provider: &SdkTracerProvider) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let exported =
        Targets::new().with_default(LevelFilter::INFO).with_targets(SILENT.map(|library| (library, LevelFilter::OFF)));
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("busbar"))
        .with_location(false)
        .with_threads(false)
        .with_filter(exported)
        .boxed()
}

fn traces_url(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with("/v1/traces") { endpoint.to_owned() } else { format!("{endpoint}/v1/traces") }
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Carrier(traceparent));
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// The one header that is carried.
struct Carrier<'a>(&'a str);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;

    const OURS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// A collector that takes one export: the address, and its request line and body.
    fn collector() -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut request, mut length) = (String::new(), 0);
            reader.read_line(&mut request).unwrap();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                match line.to_lowercase().strip_prefix("content-length:") {
                    Some(value) => length = value.trim().parse().unwrap(),
                    None if line == "\r\n" => break,
                    None => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            sender.send((request, body)).unwrap();
        });
        (address, receiver)
    }

    fn contains(haystack: &[u8], needle: &[u8]) -> bool {
        haystack.windows(needle.len()).any(|window| window == needle)
    }

    #[test]
    fn a_span_arrives_at_the_collector_under_its_parent() {
        let (address, exported) = collector();
        // Nothing of a trace that begins here is sampled; the sampled parent decides for its child.
        let provider = tracer_provider("delivery", &address, 0.0).unwrap();
        let subscriber = tracing_subscriber::registry().with(export_layer(&provider));
        let traceparent = tracing::subscriber::with_default(subscriber, || {
            let _unsampled = tracing::info_span!("root_of_nobody").entered();
            let span = with_parent(tracing::info_span!(parent: None, "process_deliveries"), OURS);
            let _library = tracing::info_span!(target: "hyper::proto", parent: &span, "library_noise").entered();
            let traceparent = traceparent_of(&span).unwrap();
            let _inside = span.enter();
            traceparent
        });
        provider.shutdown().unwrap();

        assert!(traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && traceparent.ends_with("-01"));
        assert_ne!(traceparent, OURS);
        let (request, body) = exported.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(request.starts_with("POST /v1/traces "), "{request}");
        assert!(contains(&body, b"process_deliveries") && contains(&body, b"busbar-delivery"));
        assert!(!contains(&body, b"root_of_nobody") && !contains(&body, b"library_noise"));
    }

    #[test]
    fn a_strangers_traceparent_does_not_force_sampling() {
        let provider = SdkTracerProvider::builder().with_sampler(Sampler::parent_based(Sampler::AlwaysOff)).build();
        let subscriber = tracing_subscriber::registry().with(export_layer(&provider));
        tracing::subscriber::with_default(subscriber, || {
            let span = with_link(tracing::info_span!("accept"), OURS);
            assert!(traceparent_of(&span).unwrap().ends_with("-00"));
        });
    }

    #[test]
    fn without_a_collector_there_is_no_traceparent() {
        let span = with_parent(tracing::info_span!("plain"), OURS);
        assert_eq!(traceparent_of(&span), None);
        assert!(!tracing_enabled());
    }

    #[test]
    fn nonsense_is_no_parent() {
        for text in ["", "00-0-0-0", "garbage", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_endpoint_may_be_given_with_or_without_its_path() {
        assert_eq!(traces_url("http://c:4318"), "http://c:4318/v1/traces");
        assert_eq!(traces_url("http://c:4318/"), "http://c:4318/v1/traces");
        assert_eq!(traces_url("http://c:4318/v1/traces"), "http://c:4318/v1/traces");
    }
}
