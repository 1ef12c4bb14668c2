//! `busbar replay` and `busbar replays`: deliveries are owed once more by a job, which can be watched and stopped.

use std::time::Duration;

use anyhow::Context as _;
use busbar_egress::Method;
use serde_json::{Value, json};

use crate::access::{Access, text};
use crate::api::Api;
use crate::say;

const REPLAYS: &str = "/api/v1/replays";
/// How often a job that is followed is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only deliveries to this webhook.
    #[arg(long, required_unless_present = "since")]
    webhook: Option<uuid::Uuid>,
    /// Deliveries that ended so: dead, succeeded, cancelled.
    #[arg(long, default_value = "dead")]
    status: String,
    /// Only deliveries of events of this type.
    #[arg(long)]
    event_type: Option<String>,
    /// Only deliveries made at this time or later, such as 2026-04-20T10:00:00Z.
    #[arg(long)]
    since: Option<String>,
    /// Only deliveries made before this time; now, if absent.
    #[arg(long)]
    until: Option<String>,
    /// The most deliveries made in a second.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Only count them.
    #[arg(long)]
    dry_run: bool,
    /// Stay until the job has ended, and show how it comes on.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    access: Access,
}

#[derive(clap::Args)]
pub(crate) struct ListOptions {
    #[command(subcommand)]
    action: Option<Action>,
    /// At most so many.
    #[arg(long, default_value_t = 20)]
    limit: u16,
    /// Where a list before this one ended.
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    access: Access,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Shows one job with its progress.
    Show {
        /// The job's id.
        id: uuid::Uuid,
    },
    /// Stops a job for a while.
    Pause {
        /// The job's id.
        id: uuid::Uuid,
    },
    /// Lets a paused job go on where it stopped.
    Resume {
        /// The job's id.
        id: uuid::Uuid,
    },
    /// Ends a job early.
    Cancel {
        /// The job's id.
        id: uuid::Uuid,
    },
}

pub(crate) async fn start(options: &Options) -> anyhow::Result<()> {
    let api = options.access.admin()?;
    let mut job = api.json(Method::POST, REPLAYS, Some(&wish(options))).await?;
    if options.follow {
        job = follow(&api, job, options.access.json).await?;
    }
    if options.access.json {
        say(job);
    } else {
        head();
        say(line(&job));
    }
    Ok(())
}

/// What the options ask for, as the API takes it.
fn wish(options: &Options) -> Value {
    let mut filter = json!({ "status": options.status });
    let given = [
        ("webhook", options.webhook.map(|webhook| webhook.to_string())),
        ("event_type", options.event_type.clone()),
        ("since", options.since.clone()),
        ("until", options.until.clone()),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            filter[name] = json!(value);
        }
    }
    json!({ "filter": filter, "dry_run": options.dry_run, "rate_per_second": options.rate })
}

/// Looks at a job until it has ended.
async fn follow(api: &Api, mut job: Value, is_quiet: bool) -> anyhow::Result<Value> {
    let path = format!("{REPLAYS}/{}", job["id"].as_str().context("the answer has no id")?);
    while ["running", "paused"].contains(&job["state"].as_str().unwrap_or_default()) {
        if !is_quiet {
            say(progress(&job));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        job = api.json(Method::GET, &path, None).await?;
    }
    Ok(job)
}

fn progress(job: &Value) -> String {
    let known = |name: &str| job[name].as_i64().map_or_else(|| "?".to_owned(), |number| number.to_string());
    let wait = job["eta_seconds"].as_i64().map_or_else(String::new, |seconds| format!(", {seconds} s left"));
    let (state, made, skipped, total) = (text(job, "state"), known("made"), known("skipped"), known("total"));
    format!("{state}: {made} made and {skipped} skipped of {total}{wait}")
}

pub(crate) async fn list(options: &ListOptions) -> anyhow::Result<()> {
    let access = &options.access;
    let (method, path) = match &options.action {
        None => return print(options).await,
        Some(Action::Show { id }) => (Method::GET, format!("{REPLAYS}/{id}")),
        Some(Action::Pause { id }) => (Method::POST, format!("{REPLAYS}/{id}/pause")),
        Some(Action::Resume { id }) => (Method::POST, format!("{REPLAYS}/{id}/resume")),
        Some(Action::Cancel { id }) => (Method::POST, format!("{REPLAYS}/{id}/cancel")),
    };
    let answer = access.admin()?.json(method, &path, None).await?;
    access.show(&answer)
}

async fn print(options: &ListOptions) -> anyhow::Result<()> {
    if !options.access.json {
        head();
    }
    options.access.list(REPLAYS, &[("cursor", options.cursor.as_deref())], options.limit.into(), line).await
}

fn head() {
    say(format_args!("{:<36}  {:<9}  {:>9}  {:>9}  {:>9}  created", "id", "state", "total", "made", "skipped"));
}

fn line(job: &Value) -> String {
    let text = |name| text(job, name);
    let (id, state, total, made) = (text("id"), text("state"), text("total"), text("made"));
    format!("{id:<36}  {state:<9}  {total:>9}  {made:>9}  {:>9}  {}", text("skipped"), text("created_at"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_even_where_the_total_is_not_known() {
        let mut job = json!({ "state": "running", "made": 5, "skipped": 1, "total": 10, "eta_seconds": 2 });
        assert_eq!(progress(&job), "running: 5 made and 1 skipped of 10, 2 s left");
        job["total"] = Value::Null;
        job["eta_seconds"] = Value::Null;
        assert_eq!(progress(&job), "running: 5 made and 1 skipped of ?");
    }
}
