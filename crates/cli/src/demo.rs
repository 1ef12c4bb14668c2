//! `busbar demo`: the demo tenant, and one event of each kind from the door to a verified receiver.
//!
//! Runs again at any time: what the environment file names and the hub still knows is used again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use busbar_domain::Clock;
use busbar_domain::api_key::Scope;
use busbar_domain::dialect::{verify_hex, verify_standard, wire_time};
use busbar_domain::secret::Secret;
use busbar_egress::Method;
use busbar_runtime::Settings;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::api::Api;
use crate::{keys, say};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the environment file is written, for a shell to source.
    #[arg(long, default_value = ENV_FILE)]
    env_file: PathBuf,
    /// Where the sandbox listens.
    #[arg(long, default_value = "http://127.0.0.1:8090")]
    sandbox: String,
}

/// Where `scripts/up` keeps the environment file.
pub(crate) const ENV_FILE: &str = ".busbar/env";

/// How long a delivery may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// One webhook of the demo.
struct Hook {
    name: &'static str,
    variable: &'static str,
    path: &'static str,
    dialect: &'static str,
    events: &'static [&'static str],
}

const HOOKS: [Hook; 2] = [
    Hook {
        name: "Demo permits",
        variable: "BUSBAR_DEMO_PERMITS",
        path: "/demo/permits",
        dialect: "ptw",
        events: &["permit_approved", "permit_rejected", "permit_activated", "permit_completed"],
    },
    Hook {
        name: "Demo operations",
        variable: "BUSBAR_DEMO_OPERATIONS",
        path: "/demo/operations",
        dialect: "standard",
        events: &["erpops.*"],
    },
];

/// The demo's state, as the environment file keeps it.
struct Demo {
    values: BTreeMap<String, String>,
    sandbox: Api,
}

pub(crate) async fn run(options: &Options, settings: &Settings) -> anyhow::Result<()> {
    let mut demo = Demo { values: read(&options.env_file), sandbox: Api::new(&options.sandbox, None)? };
    let ingress = format!("http://{}", settings.ingress.listen);
    let admin = format!("http://{}", settings.admin.listen);
    let api = Api::new(&admin, None)?;
    let operator = demo.operator(&api, settings).await?;
    let tenant = demo.tenant(&operator).await?;
    let secrets = [
        demo.hook(&tenant, &options.sandbox, &HOOKS[0]).await?,
        demo.hook(&tenant, &options.sandbox, &HOOKS[1]).await?,
    ];
    let (connector, connector_secret) = demo.connector(&tenant).await?;
    for (name, value) in [
        ("BUSBAR_INGRESS_URL", ingress.as_str()),
        ("BUSBAR_ADMIN_URL", admin.as_str()),
        ("BUSBAR_SANDBOX_URL", options.sandbox.as_str()),
        ("BUSBAR_DATABASE__URL", settings.database.url.expose_secret()),
        ("BUSBAR_BROKER__URL", settings.broker.url.expose_secret()),
    ] {
        demo.set(name, value);
    }
    write(&options.env_file, &demo.values)?;

    let door = Api::new(&ingress, demo.values.get("BUSBAR_ADMIN_KEY").map(String::as_str))?;
    let [permits, operations] = &secrets;
    demo.permit(&door, permits).await?;
    demo.operation(&door, &connector, &connector_secret, operations).await?;
    say(format_args!("the environment is in {}", options.env_file.display()));
    Ok(())
}

impl Demo {
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.values.insert(name.into(), value.into());
    }

    /// An operator's key that the hub knows.
    async fn operator(&mut self, api: &Api, settings: &Settings) -> anyhow::Result<Api> {
        if let Some(key) = self.get("BUSBAR_OPERATOR_KEY") {
            let operator = api.with_key(key);
            if operator.json(Method::GET, "/api/v1/tenants?limit=1", None).await.is_ok() {
                return Ok(operator);
            }
        }
        let key = keys::create(settings, None, &[Scope::Operator], "demo operator").await?;
        self.set("BUSBAR_OPERATOR_KEY", key.expose());
        Ok(api.with_key(key.expose()))
    }

    /// The demo tenant, as its admin.
    async fn tenant(&mut self, operator: &Api) -> anyhow::Result<Api> {
        if let Some(key) = self.get("BUSBAR_ADMIN_KEY") {
            let admin = operator.with_key(key);
            if admin.json(Method::GET, "/api/v1/webhooks?limit=1", None).await.is_ok() {
                return Ok(admin);
            }
        }
        let body = json!({ "name": "Demo", "plan": "enterprise" });
        let tenant = operator.json(Method::POST, "/api/v1/tenants", Some(&body)).await?;
        self.set("BUSBAR_TENANT_ID", text(&tenant, "id")?);
        let key = text(&tenant, "admin_key")?;
        let admin = operator.with_key(&key);
        self.set("BUSBAR_ADMIN_KEY", key);
        Ok(admin)
    }

    /// The secret of a webhook that points at the sandbox.
    async fn hook(&mut self, admin: &Api, sandbox: &str, hook: &Hook) -> anyhow::Result<Secret> {
        let (id_name, secret_name) = (format!("{}_WEBHOOK", hook.variable), format!("{}_SECRET", hook.variable));
        let url = format!("{sandbox}{}", hook.path);
        if let (Some(id), Some(secret)) = (self.get(&id_name), self.get(&secret_name)) {
            let known = admin.json(Method::GET, &format!("/api/v1/webhooks/{id}"), None).await;
            if known.is_ok_and(|known| known["url"] == url.as_str() && known["status"] == "active") {
                return Ok(Secret::parse(secret)?);
            }
        }
        let body = json!({ "name": hook.name, "url": url, "events": hook.events, "dialect": hook.dialect });
        let made = admin.json(Method::POST, "/api/v1/webhooks", Some(&body)).await?;
        let secret = text(&made, "secret")?;
        self.set(id_name, text(&made, "id")?);
        self.set(secret_name, secret.as_str());
        Ok(Secret::parse(&secret)?)
    }

    /// An ERPOps connector and its secret.
    async fn connector(&mut self, admin: &Api) -> anyhow::Result<(String, Secret)> {
        if let (Some(id), Some(secret)) = (self.get("BUSBAR_DEMO_CONNECTOR"), self.get("BUSBAR_DEMO_CONNECTOR_SECRET"))
            && admin.json(Method::GET, &format!("/api/v1/connectors/{id}"), None).await.is_ok()
        {
            return Ok((id.to_owned(), Secret::parse(secret)?));
        }
        let body = json!({ "system": "erpops", "name": "Demo ERP", "config": {} });
        let made = admin.json(Method::POST, "/api/v1/connectors", Some(&body)).await?;
        let (id, secret) = (text(&made, "id")?, text(&made, "secret")?);
        self.set("BUSBAR_DEMO_CONNECTOR", id.as_str());
        self.set("BUSBAR_DEMO_CONNECTOR_SECRET", secret.as_str());
        Ok((id, Secret::parse(&secret)?))
    }

    /// A permit is approved, and its webhook hears of it.
    async fn permit(&self, door: &Api, secret: &Secret) -> anyhow::Result<()> {
        let now = Clock::system().now();
        let id = now.timestamp_millis();
        let number = format!("PTW-DEMO-{id}");
        let body = json!({
            "event": "permit_approved", "permit_id": id, "permit_number": number, "project_id": 5,
            "data": {
                "status": "approved", "permit_type": "Hot Work", "location": "Gebäude Ä – Etage 3",
                "risk_level": "high", "approved_by": "Zoë Müller", "comments": "Approved with conditions",
            },
        });
        let began = Instant::now();
        let accepted = door.json(Method::POST, "/api/v1/ptw/events", Some(&body)).await?;
        say(format_args!("permit_approved {number} accepted as {}", text(&accepted, "event_id")?));
        let call = self.arrived(HOOKS[0].path, &number).await?;
        let (header, raw) = (|name: &str| call["headers"][name].as_str().unwrap_or_default(), body_of(&call)?);
        verify_hex(&secret.text_key(), header("x-athens-signature"), raw.as_bytes())
            .context("X-Athens-Signature is wrong")?;
        verify_call(secret, &call)?;
        say(format_args!("  delivered in {} ms: {raw}", began.elapsed().as_millis()));
        say(format_args!("  X-Athens-Signature: {} is right", header("x-athens-signature")));
        Ok(())
    }

    /// An ERP's job fails, and the operations webhook hears of it.
    async fn operation(&self, door: &Api, connector: &str, key: &Secret, secret: &Secret) -> anyhow::Result<()> {
        let now = Clock::system().now();
        // In letters, since a long number is masked on its way out.
        let letters =
            now.timestamp_millis().to_string().bytes().map(|digit| char::from(digit - b'0' + b'A')).collect::<String>();
        let job = format!("PSFT_PAYROLL_BATCH_{letters}");
        let body = json!({
            "connector_id": connector, "event_type": "integration.failed", "timestamp": wire_time(now),
            "severity": "error", "source": job, "message": "Exit code 1 at record 18441",
            "metadata": { "exit_code": 1, "records_processed": 18441, "records_total": 40000 },
        });
        let bytes = serde_json::to_vec(&body)?;
        let signature = format!("sha256={}", hex::encode(key.text_key().sign(&[&bytes])));
        let headers = [("x-erpops-connector-id", connector.to_owned()), ("x-erpops-signature", signature)];
        let began = Instant::now();
        let reply = door.call(Method::POST, "/functions/v1/receive-event", &headers, bytes.into()).await?;
        let answer = String::from_utf8_lossy(&reply.body);
        anyhow::ensure!(reply.status == 202, "receive-event was answered {}: {answer}", reply.status);
        say(format_args!("integration.failed {job} accepted: {answer}"));
        let call = self.arrived(HOOKS[1].path, &job).await?;
        verify_call(secret, &call)?;
        say(format_args!("  delivered in {} ms: {}", began.elapsed().as_millis(), body_of(&call)?));
        say(format_args!(
            "  webhook-signature: {} is right",
            call["headers"]["webhook-signature"].as_str().unwrap_or("")
        ));
        Ok(())
    }

    /// Waits until a call that holds `mark` has arrived at the sandbox.
    async fn arrived(&self, path: &str, mark: &str) -> anyhow::Result<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let calls = self.sandbox.json(Method::GET, &format!("/_sandbox/requests?path={path}"), None).await?;
            let calls = calls.as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(call) =
                calls.iter().rev().find(|call| call["body"].as_str().is_some_and(|body| body.contains(mark)))
            {
                return Ok(call.clone());
            }
            anyhow::ensure!(
                Instant::now() < until,
                "nothing arrived at {path} within {} s; look at `busbar deliveries list` and at the services' logs",
                PATIENCE.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn verify_call(secret: &Secret, call: &Value) -> anyhow::Result<()> {
    let header = |name: &str| call["headers"][name].as_str().unwrap_or_default();
    let (id, sent, signature) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    verify_standard(secret, id, sent, signature, body_of(call)?.as_bytes(), Clock::system().now())
        .context("webhook-signature is wrong")
}

fn body_of(call: &Value) -> anyhow::Result<&str> {
    call["body"].as_str().context("the sandbox shows no body")
}

fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    value[name].as_str().map(str::to_owned).with_context(|| format!("the answer has no {name}: {value}"))
}

/// What an environment file says; nothing if there is none.
pub(crate) fn read(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

/// Writes the file readable by its owner only, since it holds keys.
fn write(path: &Path, values: &BTreeMap<String, String>) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut text = String::new();
    for (name, value) in values {
        // Quoted only where a shell needs it, so that other readers of the file see plain values.
        let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(&byte));
        let quote = if plain { "" } else { "'" };
        writeln!(text, "{name}={quote}{value}{quote}")?;
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("{} cannot be written", path.display()))?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    Ok(())
}
