//! `busbar dead-letters`: what the hub has given up, and what an operator does about it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use busbar_domain::json;
use busbar_egress::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::access::{Access, query, text};
use crate::say;

const DEAD_LETTERS: &str = "/api/v1/dead-letters";

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
    #[command(flatten)]
    access: Access,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Shows one letter with the body that a resubmission would send or process.
    Show {
        /// The letter's id.
        id: Uuid,
    },
    /// Tries a letter once more, or all open ones of one cause.
    Resubmit {
        #[command(flatten)]
        which: Which,
        /// A file with JSON that is sent or processed in place of the body.
        #[arg(long, requires = "id")]
        body: Option<PathBuf>,
    },
    /// Closes a letter for good, or all open ones of one cause.
    Discard {
        #[command(flatten)]
        which: Which,
        /// Why; it is kept with the letter.
        #[arg(long)]
        reason: String,
    },
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The letter's id.
    id: Option<Uuid>,
    /// The common cause of the letters, as the grouped list shows it.
    #[arg(long)]
    fingerprint: Option<String>,
}

#[derive(clap::Args)]
struct List {
    /// Show causes, the most frequent first, in place of letters.
    #[arg(long)]
    group: bool,
    /// Only those in this status: open, resubmitted, discarded.
    #[arg(long)]
    status: Option<String>,
    /// Only those of this kind: delivery, inbound, wakeup.
    #[arg(long)]
    kind: Option<String>,
    /// Only those of this webhook.
    #[arg(long)]
    webhook: Option<String>,
    /// Only those of this connector.
    #[arg(long)]
    connector: Option<String>,
    /// Only those of this cause.
    #[arg(long)]
    fingerprint: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 20)]
    limit: u16,
    /// Where a list before this one ended.
    #[arg(long)]
    cursor: Option<String>,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let access = &options.access;
    match &options.action {
        None if options.list.group => causes(access, &options.list).await,
        None => letters(access, &options.list).await,
        Some(Action::Show { id }) => {
            access.show(&access.admin()?.json(Method::GET, &format!("{DEAD_LETTERS}/{id}"), None).await?)
        }
        Some(Action::Resubmit { which: Which { id: Some(id), .. }, body }) => {
            resubmit(access, *id, body.as_deref()).await
        }
        Some(Action::Resubmit { which, body: _ }) => {
            group(access, "resubmit", &json!({ "fingerprint": which.fingerprint })).await
        }
        Some(Action::Discard { which: Which { id: Some(id), .. }, reason }) => {
            let path = format!("{DEAD_LETTERS}/{id}/discard");
            access.show(&access.admin()?.json(Method::POST, &path, Some(&json!({ "reason": reason }))).await?)
        }
        Some(Action::Discard { which, reason }) => {
            group(access, "discard", &json!({ "fingerprint": which.fingerprint, "reason": reason })).await
        }
    }
}

async fn letters(access: &Access, list: &List) -> anyhow::Result<()> {
    let parameters = [
        ("status", list.status.as_deref()),
        ("kind", list.kind.as_deref()),
        ("webhook", list.webhook.as_deref()),
        ("connector", list.connector.as_deref()),
        ("fingerprint", list.fingerprint.as_deref()),
        ("cursor", list.cursor.as_deref()),
    ];
    if !access.json {
        say(format_args!("{:<36}  {:<8}  {:<28}  {:<20}  {}", "id", "kind", "what", "reason", "error"));
    }
    let line = |row: &Value| {
        let text = |name| text(row, name);
        let (id, kind, label, reason) = (text("id"), text("kind"), text("label"), text("reason"));
        format!("{id:<36}  {kind:<8}  {label:<28}  {reason:<20}  {}", text("error"))
    };
    access.list(DEAD_LETTERS, &parameters, list.limit.into(), line).await
}

async fn causes(access: &Access, list: &List) -> anyhow::Result<()> {
    let parameters = [
        ("group", Some("fingerprint")),
        ("kind", list.kind.as_deref()),
        ("webhook", list.webhook.as_deref()),
        ("connector", list.connector.as_deref()),
    ];
    let answer = access.admin()?.json(Method::GET, &query(DEAD_LETTERS, &parameters), None).await?;
    if access.json {
        return access.show(&answer);
    }
    say(format_args!(
        "{:<16}  {:>7}  {:<8}  {:<28}  {:<20}  {}",
        "cause", "letters", "kind", "what", "reason", "error"
    ));
    for row in answer["data"].as_array().into_iter().flatten() {
        let text = |name| text(row, name);
        let (cause, count, kind, label) = (text("fingerprint"), text("count"), text("kind"), text("label"));
        let (reason, error) = (text("reason"), text("error"));
        say(format_args!("{cause:<16}  {count:>7}  {kind:<8}  {label:<28}  {reason:<20}  {error}"));
    }
    Ok(())
}

/// Tries one letter once more; a body goes out byte for byte as the file has it, so that no number is rounded.
async fn resubmit(access: &Access, id: Uuid, body: Option<&Path>) -> anyhow::Result<()> {
    let edit = match body {
        Some(file) => {
            let text = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
            let text = json::compact(&text).with_context(|| format!("{} is not taken", file.display()))?;
            [b"{\"body\":".as_slice(), &text, b"}"].concat()
        }
        None => b"{}".to_vec(),
    };
    let path = format!("{DEAD_LETTERS}/{id}/resubmit");
    let reply = access.admin()?.call(Method::POST, &path, &[], edit.into()).await?;
    let text = String::from_utf8_lossy(&reply.body);
    anyhow::ensure!(reply.status == 201, "POST {path} was answered {}: {text}", reply.status);
    access.show(&serde_json::from_str(&text)?)
}

/// Disposes of a whole cause, a thousand letters at a time.
async fn group(access: &Access, act: &str, body: &Value) -> anyhow::Result<()> {
    let (api, mut total) = (access.admin()?, 0);
    loop {
        let done = api.json(Method::POST, &format!("{DEAD_LETTERS}/{act}"), Some(body)).await?;
        let number = |name: &str| done[name].as_i64().unwrap_or(0);
        total += number("count");
        if number("remaining") == 0 || number("count") == 0 {
            return access.show(&json!({ "count": total, "remaining": number("remaining") }));
        }
    }
}
