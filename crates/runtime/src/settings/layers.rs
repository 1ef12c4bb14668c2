//! The layers over the defaults: a TOML file and the environment, each held against the list of settings.
//! Variables without `__` belong to clients (`BUSBAR_INGRESS_URL` and the like) and are passed over.

use std::collections::BTreeMap;
use std::path::Path;

use config::{File, FileFormat, FileSourceString, Source, Value, ValueKind};

use super::{Fault, Key, SettingsError};

/// One setting that the environment gives.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Value,
}

/// Reads a settings file and notes every name in it that no setting has.
pub(super) fn file(
    path: &Path,
    keys: &[Key],
    faults: &mut Vec<Fault>,
) -> Result<File<FileSourceString, FileFormat>, SettingsError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
    let source = File::from_str(&text, FileFormat::Toml);
    let tables = source.collect().map_err(|error| SettingsError::Unparsable {
        path: path.to_owned(),
        reason: without_excerpt(&error.to_string()),
    })?;

    let mut sections: Vec<_> = tables.into_iter().collect();
    sections.sort_by(|a, b| a.0.cmp(&b.0));
    for (section, value) in sections {
        let ValueKind::Table(table) = value.kind else {
            faults.push(Fault::unknown(&section, &section, keys));
            continue;
        };
        let mut names: Vec<_> = table.into_keys().map(|key| format!("{section}.{key}")).collect();
        names.sort();
        let known = |name: &String| keys.iter().any(|key| key.name == *name);
        faults.extend(names.iter().filter(|name| !known(name)).map(|name| Fault::unknown(name, &section, keys)));
        if names.is_empty() && !keys.iter().any(|key| key.name.starts_with(&format!("{section}."))) {
            faults.push(Fault::unknown(&section, &section, keys));
        }
    }
    Ok(source)
}

/// Finds the settings in `env` and notes every `BUSBAR_X__Y` that no setting has.
///
/// An empty variable counts as absent, but for lists, which it empties.
pub(super) fn environment(env: &BTreeMap<String, String>, keys: &[Key], faults: &mut Vec<Fault>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (variable, text) in env {
        let Some((section, key)) = variable.strip_prefix("BUSBAR_").and_then(|rest| rest.split_once("__")) else {
            continue;
        };
        let section = section.to_lowercase();
        let name = format!("{section}.{}", key.to_lowercase());
        let find = |name: &str| keys.iter().find(|key| key.name == name);

        let (key, text) = if let Some(key) = find(&name) {
            (key, text.clone())
        } else if let Some(key) = name.strip_suffix("_file").and_then(find) {
            if text.is_empty() {
                continue;
            }
            match std::fs::read_to_string(text) {
                Ok(content) => (key, content.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    let wrong = format!("the file {text} cannot be read: {error}");
                    let right = format!("a file that holds the value of {}", key.variable);
                    faults.push(Fault { key: variable.clone(), wrong, right });
                    continue;
                }
            }
        } else {
            faults.push(Fault::unknown(variable, &section, keys));
            continue;
        };

        if text.is_empty() && !key.is_list() {
            continue;
        }
        if entries.iter().any(|entry| entry.key == key.name) {
            let wrong = format!("{0} and {0}_FILE are both set", key.variable);
            faults.push(Fault { key: key.variable.clone(), wrong, right: "only one of them".to_owned() });
            continue;
        }
        entries.push(Entry { key: key.name.clone(), value: value(variable, &text, key.is_list()) });
    }
    entries
}

/// Texts stay texts: a secret of digits must not become a number on its way.
fn value(variable: &str, text: &str, is_list: bool) -> Value {
    let origin = Some(variable.to_owned());
    let one = |text: &str| Value::new(origin.as_ref(), ValueKind::String(text.to_owned()));
    if is_list {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(one).collect();
        Value::new(origin.as_ref(), ValueKind::Array(items))
    } else {
        one(text)
    }
}

/// The value of each line of a settings file, and whether the line is in force or commented out.
pub(super) fn examples(toml: &str) -> BTreeMap<String, (String, bool)> {
    let mut section = "";
    let mut found = BTreeMap::new();
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((key, example)) = line.split_once(" = ") {
            let name = format!("{section}.{}", key.trim_start_matches(['#', ' ']));
            found.insert(name, (example.to_owned(), !key.starts_with('#')));
        }
    }
    found
}

/// Position and reason of a TOML error, without the line itself: it may hold a secret.
fn without_excerpt(message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first, .., last] => format!("{first}: {last}"),
    }
}
