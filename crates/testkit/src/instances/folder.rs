//! A folder in the temporary folder that leaves with its owner, and before that sweeps what crashed runs have left.

use std::fs;
use std::path::{Path, PathBuf};

const PREFIX: &str = "busbar-instance-";

/// A folder of its own, removed when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes an empty folder.
    ///
    /// # Panics
    /// When there is no room for one.
    pub fn make() -> Self {
        sweep();
        let name = format!("{PREFIX}{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder can be made");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it and answers where.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays is swept by a later run.
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// Removes folders whose owner no longer runs.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
        if owner.is_some_and(|pid| !super::is_alive(pid)) {
            let _left = fs::remove_dir_all(entry.path());
        }
    }
}
