//! Why settings were refused: each fault names the setting, what is wrong and what would be right.
//! No message shows the value of a secret.

use std::fmt;
use std::path::PathBuf;

use config::ConfigError;

use super::Key;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The settings file cannot be read.
    #[error("the settings file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file that was named.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The settings file is not TOML.
    #[error("the settings file {} is not valid TOML: {reason}", path.display())]
    Unparsable {
        /// The file that was named.
        path: PathBuf,
        /// Where and why, without the text of the line.
        reason: String,
    },
    /// Settings are unknown or have bad values.
    #[error("{}", lines(.0))]
    Refused(Vec<Fault>),
}

impl SettingsError {
    /// Translates what the settings library says about a value into the words of the setting.
    pub(super) fn refused_by(error: ConfigError, keys: &[Key]) -> Self {
        let (key, wrong) = match error {
            ConfigError::Type { unexpected, expected, key, .. } => {
                (key.unwrap_or_default(), format!("{unexpected} is not {expected}"))
            }
            ConfigError::At { error, key, .. } => (key.unwrap_or_default(), error.to_string()),
            ConfigError::NotFound(key) => (key, "it is missing".to_owned()),
            other => (String::new(), other.to_string()),
        };
        let name = key.split('[').next().unwrap_or_default();
        Self::Refused(vec![Fault::of(name, wrong, keys)])
    }
}

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting or the environment variable at fault.
    pub key: String,
    /// What is wrong.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl Fault {
    /// A bad value of the setting `name`; what would be right is its documentation.
    pub(super) fn of(name: &str, wrong: impl Into<String>, keys: &[Key]) -> Self {
        match keys.iter().find(|key| key.name == name) {
            Some(key) => Self {
                key: format!("{} ({})", key.name, key.variable),
                wrong: wrong.into(),
                right: format!("{} For example {}", key.meaning, key.example),
            },
            None => Self { key: name.to_owned(), wrong: wrong.into(), right: "see the documented settings".to_owned() },
        }
    }

    /// A name that no setting has; `shown` is how its author wrote it.
    pub(super) fn unknown(shown: &str, section: &str, keys: &[Key]) -> Self {
        let prefix = format!("{section}.");
        let siblings: Vec<&str> = keys.iter().filter_map(|key| key.name.strip_prefix(&prefix)).collect();
        let right = if siblings.is_empty() {
            let mut sections: Vec<&str> = keys.iter().filter_map(|key| key.name.split('.').next()).collect();
            sections.dedup();
            format!("the sections are {}", sections.join(", "))
        } else {
            format!("the settings of `{section}` are {}", siblings.join(", "))
        };
        Self { key: shown.to_owned(), wrong: "there is no such setting".to_owned(), right }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; expected: {}", self.key, self.wrong, self.right)
    }
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
