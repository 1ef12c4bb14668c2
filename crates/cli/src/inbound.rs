//! `busbar inbound`: calls of outside systems, their way through the hub, and their replay.

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
    /// Lists calls, newest first.
    List(List),
    /// Shows one call with its body, the events made of it and what these owe.
    Show {
        /// The call's id.
        id: uuid::Uuid,
    },
    /// Processes an ended call once more.
    Replay {
        /// The call's id.
        id: uuid::Uuid,
    },
}

#[derive(clap::Args)]
struct List {
    /// Only those in this state: received, processed, failed, dead.
    #[arg(long)]
    status: Option<String>,
    /// Only those of this connector.
    #[arg(long)]
    connector: Option<String>,
    /// Only those of this system, such as erpops.
    #[arg(long)]
    system: Option<String>,
    /// Only those received at this time or later, such as 2026-04-20T10:00:00Z.
    #[arg(long)]
    since: Option<String>,
    /// Only those received before this time.
    #[arg(long)]
    until: Option<String>,
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
        Action::Show { id } => (Method::GET, format!("/api/v1/inbound/{id}")),
        Action::Replay { id } => (Method::POST, format!("/api/v1/inbound/{id}/replay")),
    };
    let answer = access.admin()?.json(method, &path, None).await?;
    access.show(&answer)
}

async fn print(access: &Access, list: &List) -> anyhow::Result<()> {
    let parameters = [
        ("status", list.status.as_deref()),
        ("connector", list.connector.as_deref()),
        ("system", list.system.as_deref()),
        ("since", list.since.as_deref()),
        ("until", list.until.as_deref()),
        ("cursor", list.cursor.as_deref()),
    ];
    if !access.json {
        say(format_args!("{:<36}  {:<10}  {:<8}  {:<27}  {}", "id", "status", "system", "received", "reason"));
    }
    access.list("/api/v1/inbound", &parameters, list.limit.into(), line).await
}

fn line(row: &Value) -> String {
    let text = |name| text(row, name);
    let (id, status, system) = (text("id"), text("status"), text("system"));
    format!("{id:<36}  {status:<10}  {system:<8}  {:<27}  {}", text("received_at"), text("reason"))
}
