//! The way down: from SIGTERM on nothing is ready, a little later nothing is accepted, at the deadline all is dropped.
//! One `Shutdown` may serve several services in one process.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::settings::Drain;

/// The stages of a drain, to be waited for; clones share one state.
#[derive(Clone, Debug)]
pub struct Shutdown {
    draining: CancellationToken,
    since: Arc<OnceLock<Instant>>,
    ready_off: Duration,
    deadline: Duration,
}

impl Shutdown {
    /// A shutdown that nobody asked for yet, with the stages of `drain`.
    pub fn new(drain: &Drain) -> Self {
        Self {
            draining: CancellationToken::new(),
            since: Arc::new(OnceLock::new()),
            ready_off: Duration::from_millis(drain.ready_off_ms),
            deadline: Duration::from_millis(drain.deadline_ms),
        }
    }

    /// A shutdown that stops at once when triggered and allows `deadline` for what is in flight; for tests.
    pub fn immediate(deadline: Duration) -> Self {
        Self {
            draining: CancellationToken::new(),
            since: Arc::new(OnceLock::new()),
            ready_off: Duration::ZERO,
            deadline,
        }
    }

    /// Begins the drain; a repeat does nothing.
    pub fn trigger(&self) {
        self.since.get_or_init(Instant::now);
        self.draining.cancel();
    }

    /// Whether the drain has begun; `/readyz` says no from then on.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Resolves when the drain begins. Work is still accepted, since balancers need time to notice.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Resolves when nothing new may be accepted or consumed any more; what is in flight goes on.
    pub async fn stop(&self) {
        tokio::time::sleep_until(self.begun().await + self.ready_off).await;
    }

    /// Resolves when what is still in flight must be let go.
    pub async fn deadline(&self) {
        tokio::time::sleep_until(self.begun().await + self.deadline).await;
    }

    /// The time until [`Self::deadline`]; `None` before the drain begins.
    pub fn remaining(&self) -> Option<Duration> {
        let since = self.since.get()?;
        Some(self.deadline.saturating_sub(since.elapsed()))
    }

    /// A token that is cancelled at the instant of [`Self::draining`], for code that wants one.
    pub fn draining_token(&self) -> CancellationToken {
        self.draining.child_token()
    }

    async fn begun(&self) -> Instant {
        self.draining.cancelled().await;
        *self.since.get_or_init(Instant::now)
    }
}

/// SIGTERM and SIGINT of this process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes both signals over from their default, which would end the process.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The first signal begins the drain, the second ends the process at once with code 1.
    pub async fn drive(mut self, shutdown: Shutdown) {
        self.next().await;
        tracing::info!("draining, a second signal ends the process at once");
        shutdown.trigger();
        self.next().await;
        tracing::warn!("ended by a second signal");
        std::process::exit(1);
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_stages_follow_each_other() {
        let shutdown = Shutdown::new(&Drain { ready_off_ms: 30, deadline_ms: 60 });
        assert!(!shutdown.is_draining() && shutdown.remaining().is_none());
        let begin = Instant::now();
        shutdown.trigger();
        shutdown.trigger();
        shutdown.draining().await;
        assert!(shutdown.is_draining() && shutdown.draining_token().is_cancelled());
        shutdown.stop().await;
        assert!(begin.elapsed() >= Duration::from_millis(30));
        shutdown.deadline().await;
        assert!(begin.elapsed() >= Duration::from_millis(60));
        assert_eq!(shutdown.remaining(), Some(Duration::ZERO));
    }

    #[tokio::test]
    async fn a_clone_drains_with_its_original() {
        let shutdown = Shutdown::immediate(Duration::from_secs(5));
        let clone = shutdown.clone();
        let waiting = async move { clone.stop().await };
        shutdown.trigger();
        waiting.await;
    }
}
