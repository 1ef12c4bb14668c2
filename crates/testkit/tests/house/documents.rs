//! What the documents must say and must not: the map, the settings, the links.

use std::path::Path;

use busbar_runtime::Settings;
use busbar_runtime::settings::Key;

use crate::tree::{File, files, packages, read, root};
use crate::{hold, seen_to_fail};

/// The first cells of a document's table rows, where they are words in backquotes.
pub(crate) fn first_cells(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next())
}

fn bad_map(rooms: &[String], map: &File) -> Vec<String> {
    let drawn: Vec<&str> = first_cells(&map.text).collect();
    let missing = rooms.iter().filter(|room| !drawn.contains(&room.as_str()));
    let missing = missing.map(|room| format!("{room} is not on the map in {}", map.path));
    let gone = drawn.iter().filter(|drawn| !rooms.iter().any(|room| room == *drawn));
    missing.chain(gone.map(|room| format!("{} draws {room}, which does not stand", map.path))).collect()
}

/// The line of `docs/configuration.md` that documents `key`.
fn line_of(key: &Key) -> String {
    let default = key.default.as_ref().map_or_else(|| "none".to_owned(), |default| format!("`{default}`"));
    format!("| `{}` | {default} | {} |", key.variable, key.meaning)
}

fn undocumented_settings(keys: &[Key], document: &File) -> Vec<String> {
    let lines: Vec<&str> = document.text.lines().collect();
    let missing = keys.iter().map(line_of).filter(|line| !lines.contains(&line.as_str()));
    missing.map(|line| format!("{} lacks the line\n{line}", document.path)).collect()
}

fn invented_settings(keys: &[Key], document: &File) -> Vec<String> {
    let is_name = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
    let named = document.text.split(|letter| !is_name(letter)).filter(|word| word.starts_with("BUSBAR_"));
    let known = |word: &&str| {
        let setting = word.strip_suffix("_FILE").unwrap_or(word);
        setting == "BUSBAR_SECTION__KEY" || keys.iter().any(|key| key.variable == setting || key.variable == **word)
    };
    let unknown = named.filter(|word| word.contains("__") && !known(word));
    unknown.map(|word| format!("{} names {word}, which is no setting", document.path)).collect()
}

/// `docs`, and the page at the top where there is one.
fn all_documents() -> Vec<File> {
    let mut documents = files("docs", ".md");
    if root().join("README.md").exists() {
        documents.push(read("README.md"));
    }
    documents
}

/// Relative links that lead nowhere; `exists` is asked for paths from the root.
fn dead_links(documents: &[File], exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut broken = Vec::new();
    for document in documents {
        let folder = Path::new(&document.path).parent().unwrap_or(Path::new(""));
        for link in document.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if !path.is_empty() && !link.contains("://") && !link.starts_with("mailto:") && !exists(&folder.join(path))
            {
                broken.push(format!("{} links to {link}, which is not there", document.path));
            }
        }
    }
    broken
}

fn unlisted_decisions(records: &[File], list: &File) -> Vec<String> {
    let name = |file: &File| file.path.rsplit('/').next().unwrap_or_default().to_owned();
    let records = records.iter().map(name).filter(|name| name != "README.md");
    records
        .filter(|record| !list.text.contains(&format!("]({record})")))
        .map(|record| format!("{record} is not linked from {}", list.path))
        .collect()
}

#[test]
fn every_room_is_on_the_map() {
    let rooms: Vec<String> = packages().into_iter().map(|package| package.room).collect();
    hold(&bad_map(&rooms, &read("docs/architecture.md")));
    let map = File::new("map.md", "| `domain` | What things are. |\n| `attic` | Old things. |\n");
    seen_to_fail(&bad_map(&["domain".to_owned()], &map), "attic");
    seen_to_fail(&bad_map(&["domain", "attic", "egress"].map(str::to_owned), &map), "egress");
}

#[test]
fn every_setting_is_documented_and_no_other() {
    let keys = Settings::keys();
    hold(&undocumented_settings(&keys, &read("docs/configuration.md")));
    hold(&all_documents().iter().flat_map(|document| invented_settings(&keys, document)).collect::<Vec<_>>());

    let mut text: String = keys.iter().map(|key| line_of(key) + "\n").collect();
    text += "`BUSBAR_SECTION__KEY_FILE`, such as `BUSBAR_DATABASE__URL_FILE`, and `BUSBAR_CONFIG`.";
    hold(&undocumented_settings(&keys, &File::new("settings.md", &text)));
    hold(&invented_settings(&keys, &File::new("settings.md", &text)));
    let invented = File::new("settings.md", "`BUSBAR_BROKER__SPEED`");
    seen_to_fail(&invented_settings(&keys, &invented), "BUSBAR_BROKER__SPEED");
    let outdated = text.replace("| `BUSBAR_SCHEDULER__TICK_MS` | `500` |", "| `BUSBAR_SCHEDULER__TICK_MS` | `250` |");
    seen_to_fail(&undocumented_settings(&keys, &File::new("settings.md", &outdated)), "BUSBAR_SCHEDULER__TICK_MS");
}

#[test]
fn every_link_leads_somewhere() {
    hold(&dead_links(&all_documents(), |path| root().join(path).exists()));
    let document = File::new("docs/a.md", "[here](b.md#part) [there](https://example.com) [up](#top) [gone](../c.md)");
    seen_to_fail(&dead_links(&[document], |path| path == Path::new("docs/b.md")), "c.md");
}

#[test]
fn every_decision_is_listed() {
    hold(&unlisted_decisions(&files("docs/decisions", ".md"), &read("docs/decisions/README.md")));
    let records = ["0001-a.md", "0002-b.md", "README.md"].map(|name| File::new(&format!("docs/decisions/{name}"), ""));
    let list = File::new("docs/decisions/README.md", "- [A](0001-a.md)");
    seen_to_fail(&unlisted_decisions(&records, &list), "0002-b.md");
}
