//! The settings of all services: embedded defaults, then a TOML file, then the environment.
//! A setting nobody knows, or a value of the wrong kind, stops the start and is named.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};
use serde::Deserialize;

mod error;
mod layers;
mod sections;
#[cfg(test)]
mod tests;
mod validation;

pub use error::{Fault, SettingsError};
pub use sections::{
    Admin, Broker, Database, Delivery, Drain, Egress, Ingress, Log, LogFormat, Processor, QueueType, Scheduler,
    Secrets, Telemetry,
};

/// The embedded defaults, a complete settings file with comments.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// Declares [`Settings`] once, so that the list of its sections cannot drift from the struct.
macro_rules! settings {
    ($($(#[doc = $about:literal])+ $name:ident: $section:ty,)+) => {
        /// Every setting of Busbar, checked; a service reads its own section and the shared ones.
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Settings {
            $($(#[doc = $about])+ pub $name: $section,)+
        }

        /// Name and fields of each section, in the order of the struct.
        const SECTIONS: &[(&str, &[sections::Field])] = &[$((stringify!($name), <$section>::FIELDS),)+];
    };
}

settings! {
    /// PostgreSQL.
    database: Database,
    /// RabbitMQ.
    broker: Broker,
    /// The public door.
    ingress: Ingress,
    /// The management API.
    admin: Admin,
    /// The worker of inbound calls and jobs.
    processor: Processor,
    /// The worker that sends webhooks.
    delivery: Delivery,
    /// What starts by clock.
    scheduler: Scheduler,
    /// Where the hub may connect to.
    egress: Egress,
    /// Secrets at rest.
    secrets: Secrets,
    /// What is written to stderr.
    log: Log,
    /// Trace export.
    telemetry: Telemetry,
    /// What happens between SIGTERM and exit.
    drain: Drain,
}

/// One setting, as documentation and error messages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The name in a settings file, `section.key`.
    pub name: String,
    /// The environment variable that sets it.
    pub variable: String,
    /// Meaning and unit, in one or two sentences.
    pub meaning: String,
    /// The default as TOML; `None` where the setting is optional and absent.
    pub default: Option<String>,
    /// An example as TOML; the default where there is one.
    pub example: String,
    /// Whether the value must never be shown.
    pub secret: bool,
}

impl Key {
    /// Whether the environment gives it as a comma separated list.
    pub fn is_list(&self) -> bool {
        self.default.as_deref().is_some_and(|default| default.starts_with('['))
    }
}

impl Settings {
    /// Reads the embedded defaults, then `file` (or the file that `BUSBAR_CONFIG` of `env` names), then `env`.
    ///
    /// It touches nothing of the process but the files that are named.
    pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Self, SettingsError> {
        let env: BTreeMap<String, String> = env.collect();
        let file = file
            .map(PathBuf::from)
            .or_else(|| env.get("BUSBAR_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from));
        let keys = Self::keys();
        let mut faults = Vec::new();

        let mut builder = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(path) = file {
            builder = builder.add_source(layers::file(&path, &keys, &mut faults)?);
        }
        for entry in layers::environment(&env, &keys, &mut faults) {
            builder = builder
                .set_override(&entry.key, entry.value)
                .map_err(|error| SettingsError::refused_by(error, &keys))?;
        }
        if !faults.is_empty() {
            return Err(SettingsError::Refused(faults));
        }

        let settings: Self = builder
            .build()
            .and_then(Config::try_deserialize)
            .map_err(|error| SettingsError::refused_by(error, &keys))?;
        settings.validate()?;
        Ok(settings)
    }

    /// Every setting there is, in the order of the struct.
    pub fn keys() -> Vec<Key> {
        let examples = layers::examples(DEFAULTS);
        let mut keys = Vec::new();
        for (section, fields) in SECTIONS {
            for field in *fields {
                let name = format!("{section}.{}", field.name);
                let (example, is_default) = examples.get(&name).cloned().unwrap_or_default();
                keys.push(Key {
                    variable: format!("BUSBAR_{}__{}", section.to_uppercase(), field.name.to_uppercase()),
                    meaning: field.meaning.trim().to_owned(),
                    default: is_default.then(|| example.clone()),
                    secret: field.kind.contains("SecretString"),
                    example,
                    name,
                });
            }
        }
        keys
    }

    /// Where `service` shows its health; any other name (all services in one process) shares ingress's.
    pub fn ops_listen(&self, service: &str) -> SocketAddr {
        match service {
            "admin" => self.admin.ops_listen,
            "processor" => self.processor.ops_listen,
            "delivery" => self.delivery.ops_listen,
            "scheduler" => self.scheduler.ops_listen,
            _ => self.ingress.ops_listen,
        }
    }
}

/// The environment of this process, without the variables that are not Unicode.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
