//! What the types of the settings cannot say: numbers above zero, URLs of the right scheme, keys of the right length.
//! All faults are told at once.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{Fault, Settings, SettingsError};

impl Settings {
    /// Holds every value against what it must be.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let mut wrong: Vec<(&str, String)> = Vec::new();
        self.numbers(&mut wrong);
        self.urls(&mut wrong);
        self.texts(&mut wrong);
        if wrong.is_empty() {
            return Ok(());
        }
        let keys = Self::keys();
        Err(SettingsError::Refused(wrong.into_iter().map(|(name, wrong)| Fault::of(name, wrong, &keys)).collect()))
    }

    fn numbers(&self, wrong: &mut Vec<(&str, String)>) {
        let zero = [
            ("database.max_connections", self.database.max_connections == 0),
            ("database.statement_timeout_ms", self.database.statement_timeout_ms == 0),
            ("broker.backlog_limit", self.broker.backlog_limit == 0),
            ("ingress.max_body_bytes", self.ingress.max_body_bytes == 0),
            ("ingress.header_timeout_ms", self.ingress.header_timeout_ms == 0),
            ("ingress.body_timeout_ms", self.ingress.body_timeout_ms == 0),
            ("ingress.commit_queue", self.ingress.commit_queue == 0),
            ("ingress.commit_timeout_ms", self.ingress.commit_timeout_ms == 0),
            ("ingress.max_connections", self.ingress.max_connections == 0),
            ("processor.batch", self.processor.batch == 0),
            ("delivery.max_in_flight", self.delivery.max_in_flight == 0),
            ("delivery.max_in_flight_per_webhook", self.delivery.max_in_flight_per_webhook == 0),
            ("delivery.lane_queue", self.delivery.lane_queue == 0),
            ("delivery.timeout_ms", self.delivery.timeout_ms == 0),
            ("delivery.response_cap_bytes", self.delivery.response_cap_bytes == 0),
            ("delivery.circuit_failures", self.delivery.circuit_failures == 0),
            ("delivery.prefetch", self.delivery.prefetch == 0),
            ("scheduler.tick_ms", self.scheduler.tick_ms == 0),
            ("scheduler.batch", self.scheduler.batch == 0),
            ("scheduler.late_per_second", self.scheduler.late_per_second == 0),
            ("scheduler.broken_after_hours", self.scheduler.broken_after_hours == 0),
            ("scheduler.partition_weeks_ahead", self.scheduler.partition_weeks_ahead == 0),
            ("drain.deadline_ms", self.drain.deadline_ms == 0),
        ];
        wrong.extend(zero.iter().filter(|(_, is_zero)| *is_zero).map(|(key, _)| (*key, "it must not be 0".to_owned())));

        if !(0.0..=1.0).contains(&self.telemetry.sample_ratio) {
            let ratio = self.telemetry.sample_ratio;
            wrong.push(("telemetry.sample_ratio", format!("{ratio} is not between 0.0 and 1.0")));
        }
        if self.delivery.max_in_flight_per_webhook > self.delivery.max_in_flight {
            let most = self.delivery.max_in_flight;
            wrong.push((
                "delivery.max_in_flight_per_webhook",
                format!("it is more than delivery.max_in_flight, {most}"),
            ));
        }
        if self.drain.ready_off_ms > self.drain.deadline_ms {
            let deadline = self.drain.deadline_ms;
            wrong.push(("drain.ready_off_ms", format!("it is later than drain.deadline_ms, {deadline}")));
        }
    }

    fn urls(&self, wrong: &mut Vec<(&str, String)>) {
        let endpoint = self.telemetry.otlp_endpoint.as_deref();
        let urls = [
            ("database.url", Some(self.database.url.expose_secret()), ["postgres", "postgresql"]),
            ("broker.url", Some(self.broker.url.expose_secret()), ["amqp", "amqps"]),
            ("ingress.public_url", Some(self.ingress.public_url.as_str()), ["http", "https"]),
            ("admin.public_url", Some(self.admin.public_url.as_str()), ["http", "https"]),
            ("telemetry.otlp_endpoint", endpoint, ["http", "https"]),
        ];
        for (key, url, schemes) in urls {
            // The text of a URL may hold a password, so it is not repeated.
            match url.map(Url::parse) {
                Some(Err(error)) => wrong.push((key, format!("it is not a URL: {error}"))),
                Some(Ok(url)) if !schemes.contains(&url.scheme()) => {
                    wrong.push((key, format!("the scheme `{}` is not one of {}", url.scheme(), schemes.join(", "))));
                }
                Some(Ok(_)) | None => {}
            }
        }
    }

    fn texts(&self, wrong: &mut Vec<(&str, String)>) {
        let namespace = &self.broker.namespace;
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
        if namespace.is_empty() || namespace.len() > 40 || !namespace.bytes().all(allowed) {
            wrong.push(("broker.namespace", format!("{namespace:?} is not 1 to 40 of a-z 0-9 _ . -")));
        }
        if self.admin.operator_key.as_ref().is_some_and(|key| key.expose_secret().trim().is_empty()) {
            wrong.push(("admin.operator_key", "it is blank".to_owned()));
        }
        if self.processor.queues.is_empty() || self.processor.queues.iter().any(|queue| queue.trim().is_empty()) {
            wrong.push(("processor.queues", "it is empty, or one of the names is".to_owned()));
        }
        if let Err(error) = EnvFilter::try_new(&self.log.filter) {
            wrong.push(("log.filter", format!("{:?} is not a filter: {error}", self.log.filter)));
        }
        if let Some(Err(reason)) = self.secrets.master_key.as_ref().map(|key| master_key(key.expose_secret())) {
            wrong.push(("secrets.master_key", reason.to_owned()));
        }
    }
}

fn master_key(text: &str) -> Result<(), &'static str> {
    let mut versions = BTreeSet::new();
    for one in text.split(',') {
        let (version, key) = one.trim().split_once(':').ok_or("a key has no version before a colon")?;
        if version.parse::<u32>().is_err() {
            return Err("a version is not a number");
        }
        if !versions.insert(version) {
            return Err("two keys have the same version");
        }
        if STANDARD.decode(key).map_or(0, |bytes| bytes.len()) != 32 {
            return Err("a key is not the base64 of 32 bytes");
        }
    }
    Ok(())
}
