//! How commands reach a running hub: its addresses, a key, and lists that are read page by page.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use busbar_egress::Method;
use serde_json::{Value, json};

use crate::api::Api;
use crate::{demo, say};

/// The most pages that one command reads; a page may be empty while there is more.
const MOST_PAGES: u32 = 50;

#[derive(clap::Args)]
pub(crate) struct Access {
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
    pub(crate) json: bool,
}

impl Access {
    /// The public door.
    pub(crate) fn ingress(&self) -> anyhow::Result<Api> {
        self.api(&self.ingress_url)
    }

    /// The management API.
    pub(crate) fn admin(&self) -> anyhow::Result<Api> {
        self.api(&self.admin_url)
    }

    fn api(&self, base: &str) -> anyhow::Result<Api> {
        let demo = demo::read(Path::new(demo::ENV_FILE));
        let key = self.key.as_ref().or_else(|| demo.get("BUSBAR_ADMIN_KEY"));
        let key =
            key.context("an API key is needed: --key, or BUSBAR_ADMIN_KEY in the environment or in .busbar/env")?;
        Api::new(base, Some(key))
    }

    /// Prints up to `limit` rows of a list, each as `line` writes it, and how to go on.
    pub(crate) async fn list(
        &self,
        path: &str,
        parameters: &[(&str, Option<&str>)],
        limit: usize,
        line: impl Fn(&Value) -> String,
    ) -> anyhow::Result<()> {
        let api = self.admin()?;
        let (mut rows, mut cursor) = (Vec::new(), parameter(parameters, "cursor").map(str::to_owned));
        for _ in 0..MOST_PAGES {
            let wanted = (limit - rows.len()).min(200).to_string();
            let own = [("limit", Some(wanted.as_str())), ("cursor", cursor.as_deref())];
            let others = parameters.iter().filter(|(name, _)| *name != "cursor");
            let page = api.json(Method::GET, &query(path, others.chain(&own)), None).await?;
            rows.extend(page["data"].as_array().cloned().unwrap_or_default());
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || rows.len() >= limit {
                break;
            }
        }
        if self.json {
            say(json!({ "data": rows, "next_cursor": cursor }));
            return Ok(());
        }
        for row in &rows {
            say(line(row));
        }
        if let Some(cursor) = cursor {
            say(format_args!("there is more: --cursor {cursor}"));
        }
        Ok(())
    }

    /// Prints an answer as a whole.
    pub(crate) fn show(&self, answer: &Value) -> anyhow::Result<()> {
        if self.json {
            say(answer);
        } else {
            say(serde_json::to_string_pretty(answer)?);
        }
        Ok(())
    }
}

fn parameter<'p>(parameters: &[(&str, Option<&'p str>)], wanted: &str) -> Option<&'p str> {
    parameters.iter().find(|(name, _)| *name == wanted).and_then(|(_, value)| *value)
}

/// A path with those parameters that have a value, percent-encoded.
pub(crate) fn query<'p>(path: &str, parameters: impl IntoIterator<Item = &'p (&'p str, Option<&'p str>)>) -> String {
    let mut text = path.to_owned();
    let given = parameters.into_iter().filter_map(|(name, value)| Some((name, (*value)?)));
    for (at, (name, value)) in given.enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(byte.into());
            } else {
                // A string takes whatever is written to it.
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// A member of an answer as text; empty where there is none.
pub(crate) fn text(row: &Value, name: &str) -> String {
    match &row[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::query;

    #[test]
    fn what_is_searched_for_may_hold_anything() {
        let parameters = [("status", None), ("q", Some("PTW 7&a=ü%")), ("limit", Some("20"))];
        assert_eq!(query("/deliveries", &parameters), "/deliveries?q=PTW%207%26a%3D%C3%BC%25&limit=20");
        assert_eq!(query("/deliveries", &[]), "/deliveries");
    }
}
