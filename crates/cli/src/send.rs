//! `busbar events send`: what an integrator does first.

use anyhow::Context as _;
use busbar_egress::Method;
use serde_json::{Value, json};

use crate::access::Access;
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
    /// Publishes one event.
    Send {
        /// The event's type, such as workorder.created.
        kind: String,
        /// The event's data as JSON, or @file.
        #[arg(default_value = "{}")]
        data: String,
        /// What it happened to.
        #[arg(long)]
        subject: Option<String>,
        /// The project it belongs to.
        #[arg(long)]
        project: Option<String>,
    },
}

pub(crate) async fn events(options: &Options) -> anyhow::Result<()> {
    let Action::Send { kind, data, subject, project } = &options.action;
    let text = match data.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("{path} cannot be read"))?,
        None => data.clone(),
    };
    let data: Value = serde_json::from_str(&text).context("the data is not valid JSON")?;
    let mut body = json!({ "type": kind, "data": data });
    for (name, value) in [("subject", subject), ("project_id", project)] {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    let api = options.access.ingress()?;
    let answer = api.json(Method::POST, "/api/v1/events", Some(&body)).await?;
    if options.access.json {
        say(answer);
    } else {
        say(answer["event_id"].as_str().unwrap_or_default());
    }
    Ok(())
}
