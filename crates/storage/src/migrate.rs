//! The schema's migrations, embedded; applied by `busbar migrate`, only checked by services.

use sqlx::migrate::Migrator;

use crate::{Database, Error};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// Applies what is missing, under the migrator's advisory lock.
pub async fn apply(database: &Database) -> Result<(), Error> {
    MIGRATIONS.run(database.pool()).await.map_err(|error| Error::Schema(error.to_string()))
}

/// Whether every migration that this program knows has been applied.
pub async fn check(database: &Database) -> Result<(), Error> {
    let applied: Vec<i64> = sqlx::query_scalar("select version from _sqlx_migrations where success")
        .fetch_all(database.pool())
        .await
        .map_err(|error| match Error::from(error) {
            Error::Refused(source) => Error::Schema(source.to_string()),
            other => other,
        })?;
    match MIGRATIONS.iter().find(|known| !applied.contains(&known.version)) {
        Some(migration) => Err(Error::Schema(format!("migration {} is missing", migration.version))),
        None => Ok(()),
    }
}
