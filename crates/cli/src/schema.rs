//! `busbar migrate`: brings the schema up to date.

use anyhow::Context as _;
use busbar_runtime::{Settings, parts};
use busbar_storage::migrate;

use crate::say;

pub(crate) async fn migrate(settings: &Settings) -> anyhow::Result<()> {
    let database = parts::database(settings, "migrate")?;
    migrate::apply(&database).await.context("the database cannot be migrated")?;
    say("the schema is up to date");
    database.close().await;
    Ok(())
}
