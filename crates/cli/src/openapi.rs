//! `busbar openapi`: the API documents, generated from the handlers into `docs/api/`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::say;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only say whether the documents are up to date.
    #[arg(long)]
    check: bool,
    /// Where the documents are.
    #[arg(long, default_value = "docs/api")]
    folder: PathBuf,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let mut stale = false;
    for (name, document) in [("public", busbar_ingress::openapi()), ("admin", busbar_admin::openapi())] {
        let path = options.folder.join(name).join("v1/openapi.json");
        let text = format!("{}\n", document.to_pretty_json()?);
        let current = std::fs::read_to_string(&path).ok().as_deref() == Some(text.as_str());
        if current {
            say(format_args!("{} is up to date", path.display()));
        } else if options.check {
            stale = true;
            say(format_args!("{} is out of date; run `busbar openapi`", path.display()));
        } else {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
            say(format_args!("{} is written", path.display()));
        }
    }
    Ok(if stale { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
