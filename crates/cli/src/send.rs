//! `busbar events send` and `busbar deliveries list`: what an integrator does first.

use std::path::Path;

use anyhow::Context as _;
use busbar_egress::Method;
use serde_json::{Value, json};

use crate::api::Api;
use crate::{demo, say};

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    access: Access,
}

#[derive(clap::Args)]
struct Access {
    /// Where the ingress listens.
    #[arg(long, env = "BUSBAR_INGRESS_URL", default_value = "http://127.0.0.1:8080", global = true)]
    ingress_url: String,
    /// Where the admin API listens.
    #[arg(long, env = "BUSBAR_ADMIN_URL", default_value = "http://127.0.0.1:8081", global = true)]
    admin_url: String,
    /// An API key of the tenant.
    #[arg(long, env = "BUSBAR_ADMIN_KEY", hide_env_values = true, global = true)]
    key: Option<String>,
    /// Print the answers as JSON.
    #[arg(long, global = true)]
    json: bool,
}

impl Access {
    fn api(&self, base: &str) -> anyhow::Result<Api> {
        let demo = demo::read(Path::new(demo::ENV_FILE));
        let key = self.key.as_ref().or_else(|| demo.get("BUSBAR_ADMIN_KEY"));
        let key =
            key.context("an API key is needed: --key, or BUSBAR_ADMIN_KEY in the environment or in .busbar/env")?;
        Api::new(base, Some(key))
    }
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
    let api = options.access.api(&options.access.ingress_url)?;
    let answer = api.json(Method::POST, "/api/v1/events", Some(&body)).await?;
    if options.access.json {
        say(answer);
    } else {
        say(answer["event_id"].as_str().unwrap_or_default());
    }
    Ok(())
}

#[derive(clap::Args)]
pub(crate) struct DeliveryOptions {
    #[command(subcommand)]
    action: DeliveryAction,
    #[command(flatten)]
    access: Access,
}

#[derive(clap::Subcommand)]
enum DeliveryAction {
    /// Lists deliveries, newest first.
    List {
        /// Only those in this state: pending, retrying, succeeded, held, dead, cancelled.
        #[arg(long)]
        status: Option<String>,
        /// Only those of this webhook.
        #[arg(long)]
        webhook: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Shows one delivery with its attempts.
    Show {
        /// The delivery's id.
        id: String,
    },
}

pub(crate) async fn deliveries(options: &DeliveryOptions) -> anyhow::Result<()> {
    let api = options.access.api(&options.access.admin_url)?;
    match &options.action {
        DeliveryAction::List { status, webhook, limit } => {
            let mut path = format!("/api/v1/deliveries?limit={limit}");
            for (name, value) in [("status", status), ("webhook", webhook)] {
                if let Some(value) = value {
                    path.extend(["&", name, "=", value]);
                }
            }
            let answer = api.json(Method::GET, &path, None).await?;
            if options.access.json {
                say(answer);
                return Ok(());
            }
            say(format_args!("{:<36}  {:<10}  {:<6}  {:<28}  {}", "id", "status", "code", "event", "error"));
            for row in answer["data"].as_array().map(Vec::as_slice).unwrap_or_default() {
                let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
                let code = row["response_code"].as_i64().map_or_else(String::new, |code| code.to_string());
                say(format_args!(
                    "{:<36}  {:<10}  {code:<6}  {:<28}  {}",
                    text("id"),
                    text("status"),
                    text("event_type"),
                    text("error")
                ));
            }
        }
        DeliveryAction::Show { id } => {
            let answer = api.json(Method::GET, &format!("/api/v1/deliveries/{id}"), None).await?;
            say(serde_json::to_string_pretty(&answer)?);
        }
    }
    Ok(())
}
