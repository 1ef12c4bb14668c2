//! `busbar listen`: a local receiver that prints what arrives and says whether its signatures are right.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use busbar_domain::dialect::{Dialect, InvalidSignature, verify_exact, verify_hex, verify_standard, verify_workpro};
use busbar_domain::secret::Secret;
use busbar_domain::{Clock, Timestamp};
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

/// What the signatures of one call came to: its dialect with the headers that are right, or the one that is wrong.
///
/// The headers tell the dialect. `workpro` and `exact` share the names of theirs, but only `exact` names the event.
fn verdict<'h>(
    secret: &Secret,
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now: Timestamp,
) -> Result<String, String> {
    let text = |name: &str| header(name).unwrap_or_default();
    let standard = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let [id, sent, signatures] = standard.map(text);
    verify_standard(secret, id, sent, signatures, body, now).map_err(|error| {
        let name = match error {
            InvalidSignature::Missing => standard.into_iter().find(|name| text(name).is_empty()),
            InvalidSignature::Id => Some("webhook-id"),
            InvalidSignature::Timestamp => Some("webhook-timestamp"),
            InvalidSignature::Mismatch => Some("webhook-signature"),
        };
        format!("{}: {error}", name.unwrap_or("webhook-signature"))
    })?;
    let (dialect, name) = if header("x-athens-signature").is_some() {
        (Dialect::Ptw, "X-Athens-Signature")
    } else if header("x-webhook-signature").is_none() {
        return Ok("standard: webhook-signature".to_owned());
    } else if header("x-webhook-event").is_some() {
        (Dialect::Exact, "X-Webhook-Signature")
    } else {
        (Dialect::Workpro, "X-Webhook-Signature")
    };
    let name = single(secret, dialect, name, &header, body, now)?;
    Ok(format!("{}: webhook-signature and {name}", dialect.as_str()))
}

/// The name of the header with room for one signature that is right: during a rotation the old secret's, whose twin
/// is the new one's.
fn single<'h>(
    secret: &Secret,
    dialect: Dialect,
    name: &str,
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now: Timestamp,
) -> Result<String, String> {
    let (key, sent) = (secret.text_key(), header("x-webhook-timestamp").unwrap_or_default());
    let check = |name: &str| {
        let signature = header(name).unwrap_or_default();
        match dialect {
            Dialect::Standard => Ok(()),
            Dialect::Ptw => verify_hex(&key, signature, body),
            Dialect::Workpro => verify_workpro(&key, sent, signature, body, now),
            Dialect::Exact => verify_exact(&key, signature, body),
        }
    };
    let twin = format!("{name}-Next");
    match check(name) {
        Ok(()) => Ok(name.to_owned()),
        Err(_) if check(&twin).is_ok() => Ok(twin),
        Err(error @ InvalidSignature::Timestamp) => Err(format!("X-Webhook-Timestamp: {error}")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let secret = options.secret.as_deref().map(Secret::parse).transpose().context("--secret")?;
    let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let sink = move |request: &Request<'_>| {
        let header = |name: &str| request.headers.get(name).and_then(|value| std::str::from_utf8(value).ok());
        let verdict = secret.as_ref().map(|secret| verdict(secret, header, request.body, Clock::system().now()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use busbar_domain::dialect::{Header, Signer};
    use uuid::Uuid;

    const BODY: &[u8] = b"{}";

    fn sent(dialect: Dialect, secret: &Secret, old: Option<&Secret>, now: Timestamp) -> Vec<Header> {
        Signer::new(dialect, secret, old).headers(Uuid::nil(), "a.b", now, now, BODY)
    }

    fn said(secret: &Secret, headers: &[Header], body: &[u8], now: Timestamp) -> Result<String, String> {
        let header = |name: &str| {
            headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        verdict(secret, header, body, now)
    }

    #[test]
    fn every_dialect_is_told_by_its_headers() {
        let (old, new, now) = (Secret::generate(), Secret::generate(), Clock::system().now());
        for (dialect, own) in [
            (Dialect::Standard, ""),
            (Dialect::Ptw, " and X-Athens-Signature"),
            (Dialect::Workpro, " and X-Webhook-Signature"),
            (Dialect::Exact, " and X-Webhook-Signature"),
        ] {
            let right = format!("{}: webhook-signature{own}", dialect.as_str());
            assert_eq!(said(&new, &sent(dialect, &new, None, now), BODY, now), Ok(right.clone()));
            let both = sent(dialect, &new, Some(&old), now);
            assert_eq!(said(&old, &both, BODY, now), Ok(right.clone()));
            let twin = if own.is_empty() { right } else { right + "-Next" };
            assert_eq!(said(&new, &both, BODY, now), Ok(twin));
        }
    }

    #[test]
    fn the_header_that_is_wrong_is_named() {
        let (secret, now) = (Secret::generate(), Clock::system().now());
        for (dialect, name, value, start) in [
            (Dialect::Standard, "webhook-id", "", "webhook-id: a signature header is missing"),
            (Dialect::Standard, "webhook-id", "a.b", "webhook-id: the message id"),
            (Dialect::Standard, "webhook-timestamp", "now", "webhook-timestamp: the timestamp"),
            (Dialect::Standard, "webhook-signature", "v1,", "webhook-signature: no signature"),
            (Dialect::Ptw, "x-athens-signature", "sha256=00", "X-Athens-Signature: no signature"),
            (Dialect::Workpro, "x-webhook-signature", "00", "X-Webhook-Signature: no signature"),
            (Dialect::Workpro, "x-webhook-timestamp", "now", "X-Webhook-Timestamp: the timestamp"),
            (Dialect::Exact, "x-webhook-signature", "", "X-Webhook-Signature: a signature header is missing"),
        ] {
            let mut headers = sent(dialect, &secret, None, now);
            let header = headers.iter_mut().find(|(known, _)| *known == name).unwrap();
            header.1 = value.to_owned();
            let error = said(&secret, &headers, BODY, now).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
        let headers = sent(Dialect::Exact, &secret, None, now);
        assert!(said(&secret, &headers, b"{ }", now).unwrap_err().starts_with("webhook-signature: "));
    }
}
