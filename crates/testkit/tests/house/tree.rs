//! The repository as the rules read it: packages from cargo, sources and documents from the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A text file with its path from the repository's root.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The folder below `crates/` that it lies in.
    pub(crate) fn room(&self) -> &str {
        self.path.strip_prefix("crates/").and_then(|rest| rest.split('/').next()).unwrap_or_default()
    }

    /// What stands before its unit tests.
    pub(crate) fn code(&self) -> &str {
        self.text.split("#[cfg(test)]").next().unwrap_or_default()
    }
}

/// One of our packages.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// The name without `busbar-`.
    pub(crate) room: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A line of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Whether only tests and benchmarks have it.
    pub(crate) dev: bool,
}

impl Package {
    pub(crate) fn new(room: &str, dependencies: &[(&str, bool)]) -> Self {
        let dependencies =
            dependencies.iter().map(|(name, dev)| Dependency { name: (*name).to_owned(), dev: *dev }).collect();
        Self { room: room.to_owned(), dependencies }
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies two folders deep").to_owned()
}

/// The file at `path` from the root.
pub(crate) fn read(path: &str) -> File {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"));
    File { path: path.to_owned(), text }
}

/// Every file below `folder` whose name ends with `ending`, in order; none if the folder is not there.
pub(crate) fn files(folder: &str, ending: &str) -> Vec<File> {
    let (root, mut found, mut folders) = (root(), Vec::new(), vec![PathBuf::from(folder)]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries {
            let entry = entry.expect("a folder can be listed");
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(read(&path.to_string_lossy()));
            }
        }
    }
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Our packages, as cargo reads the manifests.
pub(crate) fn packages() -> Vec<Package> {
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let metadata: Value = serde_json::from_str(&output(env!("CARGO"), &arguments)).expect("cargo speaks JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let dependency = |line: &Value| Dependency { name: text(&line["name"]), dev: line["kind"] == "dev" };
    list(&metadata["packages"])
        .iter()
        .map(|package| Package {
            room: text(&package["name"])
                .strip_prefix("busbar-")
                .expect("packages are called busbar-<folder>")
                .to_owned(),
            dependencies: list(&package["dependencies"]).iter().map(dependency).collect(),
        })
        .collect()
}

/// Every path that git knows.
pub(crate) fn tracked() -> Vec<String> {
    output("git", &["ls-files"]).lines().map(str::to_owned).collect()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it speaks UTF-8")
}
