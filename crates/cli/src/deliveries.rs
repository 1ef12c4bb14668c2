//! `busbar deliveries`: what was owed to whom, and what an owner does with one delivery.

use busbar_egress::Method;
use serde_json::Value;

use crate::access::{Access, text};
use crate::say;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    access: Access,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Lists deliveries, newest first.
    List(List),
    /// Shows one delivery with its attempts.
    Show {
        /// The delivery's id.
        id: uuid::Uuid,
    },
    /// Owes an ended delivery once more, under the same webhook-id.
    Replay {
        /// The delivery's id.
        id: uuid::Uuid,
    },
    /// Calls off a delivery that has not ended.
    Cancel {
        /// The delivery's id.
        id: uuid::Uuid,
    },
}

#[derive(clap::Args)]
struct List {
    /// Only those in this state: pending, retrying, succeeded, held, dead, cancelled.
    #[arg(long)]
    status: Option<String>,
    /// Only those of this webhook.
    #[arg(long)]
    webhook: Option<String>,
    /// Only those of events of this type.
    #[arg(long)]
    event_type: Option<String>,
    /// Only those made at this time or later, such as 2026-04-20T10:00:00Z.
    #[arg(long)]
    since: Option<String>,
    /// Only those made before this time.
    #[arg(long)]
    until: Option<String>,
    /// Only those with exactly this id, event, message, trace, subject or ordering key.
    #[arg(long)]
    q: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 20)]
    limit: u16,
    /// Where a list before this one ended.
    #[arg(long)]
    cursor: Option<String>,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let access = &options.access;
    let (method, path) = match &options.action {
        Action::List(list) => return print(access, list).await,
        Action::Show { id } => (Method::GET, format!("/api/v1/deliveries/{id}")),
        Action::Replay { id } => (Method::POST, format!("/api/v1/deliveries/{id}/replay")),
        Action::Cancel { id } => (Method::POST, format!("/api/v1/deliveries/{id}/cancel")),
    };
    let answer = access.admin()?.json(method, &path, None).await?;
    access.show(&answer)
}

async fn print(access: &Access, list: &List) -> anyhow::Result<()> {
    let parameters = [
        ("status", list.status.as_deref()),
        ("webhook", list.webhook.as_deref()),
        ("event_type", list.event_type.as_deref()),
        ("since", list.since.as_deref()),
        ("until", list.until.as_deref()),
        ("q", list.q.as_deref()),
        ("cursor", list.cursor.as_deref()),
    ];
    if !access.json {
        say(format_args!("{:<36}  {:<10}  {:<6}  {:<28}  {}", "id", "status", "code", "event", "error"));
    }
    access.list("/api/v1/deliveries", &parameters, list.limit.into(), line).await
}

fn line(row: &Value) -> String {
    let text = |name| text(row, name);
    let (id, status, code) = (text("id"), text("status"), text("response_code"));
    format!("{id:<36}  {status:<10}  {code:<6}  {:<28}  {}", text("event_type"), text("error"))
}
