//! Waiting for a state, never for a time.

use std::future::Future;
use std::time::{Duration, Instant};

/// Asks `probe` until it answers `Some`, and answers that.
///
/// # Panics
/// When it has not happened within `patience`, naming `what`.
pub async fn eventually<T, F>(what: &str, patience: Duration, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let until = Instant::now() + patience;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not happen within {patience:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
