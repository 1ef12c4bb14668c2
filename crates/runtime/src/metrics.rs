//! The process-wide Prometheus registry behind the `metrics` macros.
//! Every histogram has fixed buckets, so that those of several replicas can be added up.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Bounds of histograms whose name ends with `_seconds`.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Bounds of all other histograms: sizes and counts.
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0, 65536.0];
/// How often the exporter must be told to fold its samples, lest they pile up.
const UPKEEP: Duration = Duration::from_secs(5);

static INSTALLED: OnceLock<Metrics> = OnceLock::new();

/// The registry of this process; clones share it.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Makes the registry the target of the `metrics` macros, or returns the one that is already.
    ///
    /// Where another recorder than ours was installed first, that is logged and this registry stays empty.
    pub fn install() -> Result<Self, BuildError> {
        if let Some(installed) = INSTALLED.get() {
            return Ok(installed.clone());
        }
        let recorder = PrometheusBuilder::new()
            .set_buckets(COUNTS)?
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
            .build_recorder();
        let ours = Self { handle: recorder.handle() };
        // Whoever fills the cell installs, so that two threads cannot each hold half.
        let installed = INSTALLED.get_or_init(|| {
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::error!("another metrics recorder was installed first; /metrics stays empty");
            }
            ours
        });
        metrics::describe_gauge!("busbar_build_info", "Always 1; the labels say which build runs.");
        metrics::gauge!("busbar_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(installed.clone())
    }

    /// Everything recorded so far, in Prometheus text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Keeps the registry small; runs until it is dropped.
    pub async fn upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_twice_gives_one_registry_with_fixed_buckets() {
        let first = Metrics::install().unwrap();
        let second = Metrics::install().unwrap();
        metrics::histogram!("busbar_test_wait_seconds").record(0.002);
        metrics::histogram!("busbar_test_batch_size").record(3.0);
        assert!(first.render().contains("busbar_test_wait_seconds_bucket{le=\"0.0025\"} 1"), "{}", first.render());
        assert!(second.render().contains("busbar_test_batch_size_bucket{le=\"4\"} 1"));
        assert!(second.render().contains("busbar_build_info{version="));
    }
}
