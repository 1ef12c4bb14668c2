//! Calls the handler until the batch is settled: transient failures wait and repeat, panics are contained, and a batch
//! that keeps panicking is halved until the id that does it stands alone.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use busbar_domain::Failure;
use busbar_domain::trace::TraceContext;
use futures_util::FutureExt;
use metrics::counter;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::handler::Handler;
use crate::seldom::Seldom;
use crate::topology::Queue;

/// From how many panics in a row on a batch is halved.
const PANICS: u32 = 3;

const FLOOR: Duration = Duration::from_millis(100);
const CEILING: Duration = Duration::from_secs(2);

/// The longest that a failure's own `retry_after` is honoured; rows that must wait longer have a due time.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Every id was worked or given up; ack.
    Done,
    /// The consumer stops before the batch succeeded; give it back.
    Stopped,
    /// The connection broke; the broker gives the batch to someone.
    Lost,
}

/// What calls for the handler need to know.
pub(crate) struct Settling<'a, H, A> {
    pub(crate) handler: &'a H,
    pub(crate) queue: Queue,
    pub(crate) stop: &'a CancellationToken,
    /// Whether the connection that the batch came on still stands.
    pub(crate) alive: A,
}

enum Call {
    Succeeded,
    Failed(Failure),
    Panicked(String),
}

impl<H: Handler, A: Fn() -> bool> Settling<'_, H, A> {
    /// Works `ids`, the whole batch first.
    pub(crate) async fn settle(&self, ids: Vec<Uuid>, trace: Option<TraceContext>) -> Settled {
        if ids.is_empty() {
            return Settled::Done;
        }
        let mut allowed = PANICS;
        let mut parts = VecDeque::from([ids]);
        while let Some(part) = parts.pop_front() {
            match self.attempt(&part, trace, allowed).await {
                Ok(Settled::Done) => {}
                Ok(ended) => return ended,
                Err(panic) => {
                    self.halve(part, &panic, &mut parts);
                    // The batch proved itself bad; its parts are cut at the first panic, to find the culprit quickly.
                    allowed = 1;
                }
            }
        }
        Settled::Done
    }

    fn halve(&self, mut part: Vec<Uuid>, panic: &str, parts: &mut VecDeque<Vec<Uuid>>) {
        if let [id] = part[..] {
            counter!("busbar_wakeups_given_up_total", "queue" => self.queue.name()).increment(1);
            tracing::error!(queue = self.queue.name(), %id, panic, "an id panics alone; its row counts the crash");
            return;
        }
        let tail = part.split_off(part.len() / 2);
        parts.push_front(tail);
        parts.push_front(part);
    }

    /// Calls the handler until it succeeds, gives up or panics `allowed` times in a row.
    async fn attempt(&self, ids: &[Uuid], trace: Option<TraceContext>, allowed: u32) -> Result<Settled, String> {
        let mut backoff = Backoff::between(FLOOR, CEILING);
        let mut warned = Seldom::default();
        let mut panics = 0;
        loop {
            let wait = match self.call(ids, trace).await {
                Call::Succeeded => return Ok(Settled::Done),
                Call::Failed(Failure::Permanent { source }) => {
                    tracing::error!(queue = self.queue.name(), ids = ids.len(), error = %source, "a batch is given up");
                    return Ok(Settled::Done);
                }
                Call::Failed(Failure::Transient { source, retry_after }) => {
                    panics = 0;
                    if let Some(count) = warned.due() {
                        let queue = self.queue.name();
                        tracing::warn!(queue, ids = ids.len(), error = %source, count, "a batch is tried again");
                    }
                    backoff.next().max(retry_after.unwrap_or_default().min(PATIENCE))
                }
                Call::Panicked(panic) => {
                    counter!("busbar_handler_panics_total", "queue" => self.queue.name()).increment(1);
                    panics += 1;
                    if panics >= allowed {
                        return Err(panic);
                    }
                    tracing::error!(queue = self.queue.name(), ids = ids.len(), panic, "a handler panicked");
                    backoff.next()
                }
            };
            if tokio::time::timeout(wait, self.stop.cancelled()).await.is_ok() {
                return Ok(Settled::Stopped);
            }
            if !(self.alive)() {
                return Ok(Settled::Lost);
            }
        }
    }

    async fn call(&self, ids: &[Uuid], trace: Option<TraceContext>) -> Call {
        let call = async { self.handler.handle(ids.to_vec(), trace).await };
        match AssertUnwindSafe(call).catch_unwind().await {
            Ok(Ok(())) => Call::Succeeded,
            Ok(Err(failure)) => Call::Failed(failure),
            Err(panic) => Call::Panicked(text_of(panic.as_ref())),
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without text").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Records what it is called with and answers as `answer` says.
    struct Scripted<F> {
        calls: Mutex<Vec<Vec<Uuid>>>,
        answer: F,
    }

    impl<F> Handler for Scripted<F>
    where
        F: Fn(usize, &[Uuid]) -> Result<(), Failure> + Send + Sync + 'static,
    {
        async fn handle(&self, ids: Vec<Uuid>, _: Option<TraceContext>) -> Result<(), Failure> {
            let call = {
                let mut calls = self.calls.lock().unwrap();
                calls.push(ids.clone());
                calls.len()
            };
            (self.answer)(call, &ids)
        }
    }

    async fn settle<F>(ids: &[Uuid], stop: &CancellationToken, alive: bool, answer: F) -> (Settled, Vec<Vec<Uuid>>)
    where
        F: Fn(usize, &[Uuid]) -> Result<(), Failure> + Send + Sync + 'static,
    {
        let handler = Scripted { calls: Mutex::default(), answer };
        let settling = Settling { handler: &handler, queue: Queue::Jobs, stop, alive: || alive };
        let settled = settling.settle(ids.to_vec(), None).await;
        (settled, handler.calls.into_inner().unwrap())
    }

    fn ids(count: u128) -> Vec<Uuid> {
        (1..=count).map(Uuid::from_u128).collect()
    }

    #[tokio::test]
    async fn a_transient_failure_is_called_again_with_the_same_ids() {
        let answer = |call, _: &[Uuid]| if call < 3 { Err(Failure::transient("database")) } else { Ok(()) };
        let (settled, calls) = settle(&ids(5), &CancellationToken::new(), true, answer).await;
        assert_eq!((settled, calls), (Settled::Done, vec![ids(5); 3]));
    }

    #[tokio::test]
    async fn a_permanent_failure_is_called_once() {
        let answer = |_, _: &[Uuid]| Err(Failure::permanent("no"));
        let (settled, calls) = settle(&ids(5), &CancellationToken::new(), true, answer).await;
        assert_eq!((settled, calls.len()), (Settled::Done, 1));
    }

    #[tokio::test]
    async fn a_poisonous_id_is_cornered_and_the_others_are_worked() {
        let poison = Uuid::from_u128(6);
        let answer = move |_, ids: &[Uuid]| {
            assert!(!ids.contains(&poison), "poison");
            Ok(())
        };
        let (settled, calls) = settle(&ids(16), &CancellationToken::new(), true, answer).await;
        assert_eq!(settled, Settled::Done);
        assert_eq!(calls[..3], vec![ids(16); 3]);
        let mut worked: Vec<_> = calls.iter().filter(|ids| !ids.contains(&poison)).flatten().copied().collect();
        worked.sort_unstable();
        let others: Vec<_> = ids(16).into_iter().filter(|id| *id != poison).collect();
        assert_eq!(worked, others);
        assert_eq!(calls.iter().filter(|ids| **ids == [poison]).count(), 1);
    }

    #[tokio::test]
    async fn a_stop_ends_the_waiting() {
        let stop = CancellationToken::new();
        stop.cancel();
        let answer = |_, _: &[Uuid]| Err(Failure::transient("database"));
        let (settled, calls) = settle(&ids(1), &stop, true, answer).await;
        assert_eq!((settled, calls.len()), (Settled::Stopped, 1));
    }

    #[tokio::test]
    async fn a_batch_of_a_broken_connection_is_let_go() {
        let answer = |_, _: &[Uuid]| Err(Failure::transient("database"));
        let (settled, _) = settle(&ids(1), &CancellationToken::new(), false, answer).await;
        assert_eq!(settled, Settled::Lost);
    }
}
