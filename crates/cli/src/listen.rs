//! `busbar listen`: a local receiver that prints what arrives and says whether its signatures are right.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use busbar_domain::Clock;
use busbar_domain::dialect::{verify_hex, verify_standard};
use busbar_domain::secret::Secret;
use busbar_sandbox::{Receiver, Recording, Request, Script};

use crate::say;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8099")]
    listen: SocketAddr,
    /// The webhook's secret; without it nothing is verified.
    #[arg(long, env = "BUSBAR_WEBHOOK_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// The status to answer with.
    #[arg(long, default_value_t = 200)]
    status: u16,
    /// End after so many calls; 1 if one of them had a wrong signature.
    #[arg(long)]
    count: Option<u64>,
}

/// What the signatures of one call came to.
pub(crate) fn verdict(secret: &Secret, request: &Request<'_>) -> Result<String, String> {
    let header = |name: &str| request.headers.get(name).and_then(|value| std::str::from_utf8(value).ok());
    let text = |name: &str| header(name).unwrap_or_default();
    let (id, sent, signatures) = (text("webhook-id"), text("webhook-timestamp"), text("webhook-signature"));
    verify_standard(secret, id, sent, signatures, request.body, Clock::system().now())
        .map_err(|error| format!("webhook-signature: {error}"))?;
    let mut right = "webhook-signature".to_owned();
    if let Some(signature) = header("x-athens-signature") {
        // During a rotation the single signature is the old secret's and its twin is the new one's.
        let next = text("x-athens-signature-next");
        let key = secret.text_key();
        verify_hex(&key, signature, request.body)
            .or_else(|_| verify_hex(&key, next, request.body))
            .map_err(|error| format!("X-Athens-Signature: {error}"))?;
        right.push_str(" and X-Athens-Signature");
    }
    Ok(right)
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let secret = options.secret.as_deref().map(Secret::parse).transpose().context("--secret")?;
    let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let sink = move |request: &Request<'_>| {
        let verdict = secret.as_ref().map(|secret| verdict(secret, request));
        let body = String::from_utf8_lossy(request.body).into_owned();
        // The listener has gone away when the program ends; there is nobody to tell then.
        let _gone = report.send((format!("{} {}", request.method, request.path), body, verdict));
    };
    let script = Script::answering(options.status).recording(Recording::Sink(Arc::new(sink)));
    let receiver =
        Receiver::start(options.listen, script).with_context(|| format!("{} cannot be bound", options.listen))?;
    say(format_args!("listening on {}", receiver.url()));
    let (mut seen, mut wrong) = (0, false);
    loop {
        let report = tokio::select! {
            report = reports.recv() => report,
            ended = tokio::signal::ctrl_c() => { ended?; break; }
        };
        let Some((line, body, verdict)) = report else { break };
        say(format_args!("{line}\n  {body}"));
        match verdict {
            None => say("  not verified: no secret was given"),
            Some(Ok(right)) => say(format_args!("  verified: {right}")),
            Some(Err(error)) => {
                wrong = true;
                say(format_args!("  REFUSED: {error}"));
            }
        }
        seen += 1;
        if options.count.is_some_and(|count| seen >= count) {
            break;
        }
    }
    receiver.stop();
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
