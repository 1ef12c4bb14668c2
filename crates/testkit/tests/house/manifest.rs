//! The workspace's manifest: every library is there for a reason that is written above it.

use crate::tree::{File, read};
use crate::{hold, seen_to_fail};

/// Libraries without a reason. A comment holds for its line and for the lines of one family that follow it at once,
/// such as `prost` and `prost-build`; our own crates need none.
fn unexplained(manifest: &File) -> Vec<String> {
    let section = manifest.text.split("[workspace.dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let (mut broken, mut explained) = (Vec::new(), None);
    for line in section.lines() {
        if line.starts_with('#') {
            explained = Some("");
            continue;
        }
        let Some((name, _)) = line.split_once(" = ") else {
            explained = None;
            continue;
        };
        let family = name.split(['-', '_']).next().unwrap_or_default();
        let has_reason = explained.is_some_and(|of| of.is_empty() || of == family);
        if !has_reason && !name.starts_with("busbar-") {
            broken.push(format!("{name} has no comment above it that says why it is there"));
        }
        explained = has_reason.then_some(family);
    }
    broken
}

/// Whether something stands behind every rule above: a manifest that is not read breaks none.
fn is_empty(manifest: &File) -> bool {
    !manifest.text.contains("\nlapin = ")
}

#[test]
fn every_library_has_its_reason() {
    let manifest = read("Cargo.toml");
    assert!(!is_empty(&manifest), "the manifest is not where it was");
    hold(&unexplained(&manifest));
    let manifest =
        "[workspace.dependencies]\n# Ours.\nbusbar-domain = 1\n# Wake-ups.\nprost = 1\nprost-build = 1\nlapin = 1\n";
    seen_to_fail(&unexplained(&File::new("Cargo.toml", manifest)), "lapin");
}
