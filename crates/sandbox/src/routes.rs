//! Finds the answer to a path without a lock: answers are rendered when a script is set, and a
//! counter per path says which step is next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::reply;
use crate::script::{Answer, Step};

/// What to do about one request.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// Write these bytes.
    Ready(Bytes),
    /// Write these bytes later.
    Delayed(Duration, Bytes),
    /// Misbehave, and end the connection.
    Misbehave(Arc<Answer>),
}

/// The steps of every path, longest path first.
#[derive(Debug)]
pub(crate) struct Routes {
    table: ArcSwap<Vec<Arc<Route>>>,
    fallback: Bytes,
}

#[derive(Debug)]
struct Route {
    path: String,
    steps: Vec<Planned>,
    taken: AtomicU64,
}

#[derive(Debug)]
struct Planned {
    /// The number of the first request that this step no longer answers.
    until: u64,
    choice: Choice,
}

impl Routes {
    pub(crate) fn new(scripts: Vec<(String, Vec<Step>)>) -> Self {
        let routes = Self { table: ArcSwap::default(), fallback: reply::render(200, &[], &[]) };
        for (path, steps) in scripts {
            routes.set(&path, steps);
        }
        routes
    }

    /// Replaces the steps of a path, starting with the first; no steps remove the path.
    pub(crate) fn set(&self, path: &str, steps: Vec<Step>) {
        let route = (!steps.is_empty()).then(|| Arc::new(Route::new(path, steps)));
        self.table.rcu(|table| {
            let others = table.iter().filter(|other| other.path != path);
            let mut table: Vec<_> = others.chain(&route).map(Arc::clone).collect();
            table.sort_by_key(|route| std::cmp::Reverse(route.path.len()));
            table
        });
    }

    /// Takes the next step of the path that covers `target`.
    pub(crate) fn choose(&self, target: &str) -> Choice {
        let path = without_query(target);
        let table = self.table.load();
        table
            .iter()
            .find(|route| covers(&route.path, path))
            .and_then(|route| route.next())
            .unwrap_or_else(|| Choice::Ready(self.fallback.clone()))
    }
}

impl Route {
    fn new(path: &str, steps: Vec<Step>) -> Self {
        let mut until = 0_u64;
        let steps = steps
            .into_iter()
            .map(|step| {
                until = step.times.map_or(u64::MAX, |times| until.saturating_add(times.into()));
                Planned { until, choice: plan(step.answer) }
            })
            .collect();
        Self { path: path.to_owned(), steps, taken: AtomicU64::new(0) }
    }

    fn next(&self) -> Option<Choice> {
        let [only] = self.steps.as_slice() else {
            let number = self.taken.fetch_add(1, Ordering::Relaxed);
            let step = self.steps.iter().find(|step| number < step.until);
            return step.or(self.steps.last()).map(|step| step.choice.clone());
        };
        Some(only.choice.clone())
    }
}

fn plan(answer: Answer) -> Choice {
    match answer {
        Answer::Status { status, headers, body, delay } => {
            let bytes = reply::render(status, &headers, &body);
            if delay.is_zero() { Choice::Ready(bytes) } else { Choice::Delayed(delay, bytes) }
        }
        other => Choice::Misbehave(Arc::new(other)),
    }
}

/// Whether `path` is `prefix` or lies below it.
pub(crate) fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

pub(crate) fn without_query(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}
