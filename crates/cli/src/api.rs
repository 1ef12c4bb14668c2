//! The command line's own way to the hub's APIs: JSON over HTTP with an API key, through the guarded client.

use std::time::Duration;

use anyhow::Context as _;
use busbar_egress::{Egress, HeaderMap, HeaderName, HeaderValue, Limits, Method, Outgoing, Policy, Target};
use bytes::Bytes;
use serde_json::Value;

/// A client of one base URL.
pub(crate) struct Api {
    egress: Egress,
    base: String,
    key: Option<String>,
}

/// What a call was answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Api {
    /// Calls `base` with `key`. The operator's own terminal may call any address.
    pub(crate) fn new(base: &str, key: Option<&str>) -> anyhow::Result<Self> {
        let everywhere = ["0.0.0.0/0".to_owned(), "::/0".to_owned()];
        let policy = Policy::parse(&everywhere, &[], false)?;
        let limits = Limits { response_cap: 16 * 1024 * 1024, ..Limits::default() };
        let egress = Egress::new(policy, limits).context("the HTTP client cannot be built")?;
        Ok(Self { egress, base: base.trim_end_matches('/').to_owned(), key: key.map(str::to_owned) })
    }

    /// The same base URL with another key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { egress: self.egress.clone(), base: self.base.clone(), key: Some(key.to_owned()) }
    }

    /// Sends `body` with further headers and answers whatever comes back.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> anyhow::Result<Reply> {
        let url = format!("{}{path}", self.base);
        let target =
            Target::parse(&url, self.egress.policy()).map_err(|refusal| anyhow::anyhow!("{url}: {refusal}"))?;
        let mut map = HeaderMap::new();
        map.insert(HeaderName::from_static("content-type"), HeaderValue::from_static("application/json"));
        if let Some(key) = &self.key {
            let value = HeaderValue::try_from(key.as_str()).context("the API key cannot be a header")?;
            map.insert(HeaderName::from_static("x-api-key"), value);
        }
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::try_from(value.as_str())?);
        }
        let outgoing = Outgoing { target: &target, headers: map, body, deadline: Duration::from_secs(30) };
        let answer = self.egress.send(method, outgoing).await;
        let answer = answer.map_err(|failure| anyhow::anyhow!("{url} cannot be called: {}", failure.detail))?;
        Ok(Reply { status: answer.status, body: answer.body })
    }

    /// Sends JSON and answers JSON; any status but 2xx is an error that shows the answer.
    pub(crate) async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let reply = self.call(method.clone(), path, &[], bytes.into()).await?;
        let text = String::from_utf8_lossy(&reply.body);
        anyhow::ensure!((200..300).contains(&reply.status), "{method} {path} was answered {}: {text}", reply.status);
        if reply.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&reply.body).with_context(|| format!("{method} {path} was not answered in JSON: {text}"))
    }
}
