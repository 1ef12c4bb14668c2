//! How files look: a header of at most five lines, a length that can be read, names that say something.

use std::collections::BTreeSet;

use crate::tree::{File, files, tracked};
use crate::{hold, seen_to_fail};

/// A file is shorter than this.
const TOO_LONG: usize = 400;
/// Files that may be longer, each with its reason.
const LONG_FOR_A_REASON: [(&str, &str); 0] = [];
/// The longest `//!` block, in lines.
const LONGEST_HEADER: usize = 5;
/// The longest `main.rs` of a service, in lines.
const LONGEST_MAIN: usize = 20;
/// The services' folders.
const SERVICES: [&str; 5] = ["ingress", "admin", "processor", "delivery", "scheduler"];
/// What lies at the top of the repository, dotfiles aside.
const TOP: [&str; 9] =
    ["Cargo.toml", "Cargo.lock", "README.md", "crates", "deploy", "migrations", "proto-schemas", "docs", "scripts"];
/// Words that say nothing about what is behind a name.
const EMPTY_WORDS: [&str; 8] = ["manager", "managers", "helper", "helpers", "util", "utils", "common", "commons"];

fn bad_headers(sources: &[File]) -> Vec<String> {
    let lines = |file: &File| file.text.lines().take_while(|line| line.starts_with("//!")).count();
    sources
        .iter()
        .filter(|file| !(1..=LONGEST_HEADER).contains(&lines(file)))
        .map(|file| format!("{} opens with {} lines of //!, not 1 to {LONGEST_HEADER}", file.path, lines(file)))
        .collect()
}

fn long_files(sources: &[File], exceptions: &[(&str, &str)]) -> Vec<String> {
    let mut broken = Vec::new();
    for file in sources {
        let (lines, excepted) = (file.text.lines().count(), exceptions.iter().any(|(path, _)| *path == file.path));
        match (lines >= TOO_LONG, excepted) {
            (true, false) => broken.push(format!("{} has {lines} lines; split it by what it does", file.path)),
            (false, true) => broken.push(format!("{} is short again and needs no exception", file.path)),
            (true, true) | (false, false) => {}
        }
    }
    broken
}

fn long_mains(sources: &[File]) -> Vec<String> {
    let is_main = |file: &File| SERVICES.iter().any(|service| file.path == format!("crates/{service}/src/main.rs"));
    let mains: Vec<&File> = sources.iter().filter(|file| is_main(file)).collect();
    let missing = (mains.len() < SERVICES.len()).then(|| "a service has no src/main.rs".to_owned());
    let long = mains.into_iter().filter(|file| file.text.lines().count() > LONGEST_MAIN);
    long.map(|file| format!("{} is longer than {LONGEST_MAIN} lines", file.path)).chain(missing).collect()
}

fn empty_names(sources: &[File]) -> Vec<String> {
    let says_nothing = |name: &str| name.split(['_', '-', '.']).any(|word| EMPTY_WORDS.contains(&word));
    let mut broken = Vec::new();
    for file in sources {
        if file.path.split('/').any(says_nothing) {
            broken.push(format!("{} has a name that says nothing", file.path));
        }
        for line in file.text.lines().map(str::trim) {
            let module = ["mod ", "pub mod ", "pub(crate) mod ", "pub(super) mod "]
                .iter()
                .find_map(|start| line.strip_prefix(start))
                .map(|rest| rest.trim_end_matches([';', '{', ' ']));
            if let Some(module) = module.filter(|module| says_nothing(module)) {
                broken.push(format!("{} has a module {module}, a name that says nothing", file.path));
            }
        }
    }
    broken
}

fn strangers_at_the_top(tracked: &[String]) -> Vec<String> {
    let tops: BTreeSet<&str> = tracked.iter().filter_map(|path| path.split('/').next()).collect();
    let stranger = |top: &&str| !top.starts_with('.') && !TOP.contains(top);
    tops.into_iter().filter(stranger).map(|top| format!("{top} does not belong at the top")).collect()
}

#[test]
fn every_file_says_what_it_is_for() {
    hold(&bad_headers(&files("crates", ".rs")));
    seen_to_fail(&bad_headers(&[File::new("a.rs", "use std::fs;\n")]), "a.rs");
    seen_to_fail(&bad_headers(&[File::new("b.rs", &"//! So it is.\n".repeat(6))]), "b.rs");
    hold(&bad_headers(&[File::new("c.rs", &"//! So it is.\n".repeat(5))]));
}

#[test]
fn no_file_is_too_long_to_read() {
    hold(&long_files(&files("crates", ".rs"), &LONG_FOR_A_REASON));
    let long = File::new("long.rs", &"x\n".repeat(TOO_LONG));
    seen_to_fail(&long_files(std::slice::from_ref(&long), &[]), "long.rs");
    hold(&long_files(std::slice::from_ref(&long), &[("long.rs", "a table")]));
    seen_to_fail(&long_files(&[File::new("short.rs", "x")], &[("short.rs", "a table")]), "short.rs");
}

#[test]
fn a_service_is_a_library_under_a_short_main() {
    hold(&long_mains(&files("crates", "main.rs")));
    let mut mains: Vec<File> =
        SERVICES.iter().map(|service| File::new(&format!("crates/{service}/src/main.rs"), "fn main() {}")).collect();
    hold(&long_mains(&mains));
    mains[0].text = "x\n".repeat(LONGEST_MAIN + 1);
    seen_to_fail(&long_mains(&mains), "ingress");
    seen_to_fail(&long_mains(&mains[1..]), "no src/main.rs");
}

#[test]
fn every_name_says_something() {
    hold(&empty_names(&files("crates", "")));
    seen_to_fail(&empty_names(&[File::new("crates/storage/src/row_helpers.rs", "")]), "row_helpers");
    seen_to_fail(&empty_names(&[File::new("crates/storage/src/lib.rs", "pub mod common;\n")]), "common");
}

#[test]
fn the_top_of_the_repository_is_as_it_was_drawn() {
    hold(&strangers_at_the_top(&tracked()));
    let tracked = ["Cargo.toml", ".gitignore", "docs/a.md", "tools/x.sh", "tools/y.sh"].map(str::to_owned);
    seen_to_fail(&strangers_at_the_top(&tracked), "tools");
}
