//! `busbar keys`: API keys straight from the database, for the first operator, and master keys and their change.

use std::process::ExitCode;

use anyhow::Context as _;
use busbar_domain::Clock;
use busbar_domain::api_key::{ApiKey, Scope};
use busbar_domain::id::{ApiKeyId, TenantId};
use busbar_runtime::{Settings, parts};
use busbar_storage::api_keys::{self, NewApiKey};
use busbar_storage::reseal::{self, Column, Position};
use busbar_storage::seal::Keyring;
use busbar_storage::{Database, PgConnection};

use crate::say;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Makes an API key and prints it once.
    Create {
        /// Whose key it is; without it, it is a key of the platform's operator.
        #[arg(long)]
        tenant: Option<TenantId>,
        /// What it may do: operator, admin, read, publish, ingest.
        #[arg(long, value_delimiter = ',', required = true)]
        scopes: Vec<String>,
        /// A name to recognise it by.
        #[arg(long, default_value = "made by busbar keys")]
        name: String,
    },
    /// Prints a new master key for the setting `secrets.master_key`.
    Master {
        /// The key's number; a rotation takes a new one.
        #[arg(long, default_value_t = 1)]
        number: u32,
    },
    /// Seals anew what another master key than the first has sealed. It may be ended and begun again at any time; the
    /// exit code is 0 once nothing is left under another key.
    RotateMaster {
        /// Only counts.
        #[arg(long)]
        check: bool,
    },
}

/// The most rows that are sealed anew in one transaction.
const BATCH: i64 = 200;

pub(crate) async fn run(options: &Options, settings: &Settings) -> anyhow::Result<ExitCode> {
    match &options.action {
        Action::Create { tenant, scopes, name } => {
            let scopes = scopes.iter().map(|scope| {
                Scope::parse(scope).with_context(|| {
                    format!("there is no scope {scope}; the scopes are operator, admin, read, publish, ingest")
                })
            });
            let scopes = scopes.collect::<anyhow::Result<Vec<_>>>()?;
            anyhow::ensure!(
                tenant.is_none() == scopes.contains(&Scope::Operator),
                "a key with the scope operator has no --tenant, and every other key has one"
            );
            say(create(settings, *tenant, &scopes, name).await?.expose());
        }
        Action::Master { number } => say(Keyring::generate(*number)),
        Action::RotateMaster { check } => return rotate_master(settings, *check).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Seals everything anew that the first master key has not sealed, or only counts it.
async fn rotate_master(settings: &Settings, check: bool) -> anyhow::Result<ExitCode> {
    let database = parts::database(settings, "keys")?;
    let first = database.keyring().sealing().context("no master key is set; see secrets.master_key")?;
    let mut connection = database.acquire().await.context("the database cannot be reached")?;
    let mut remaining = 0;
    for column in Column::ALL {
        if !check {
            seal_anew(&database, &mut connection, column).await?;
        }
        remaining += tell(&mut connection, column, first).await?;
    }
    drop(connection);
    database.close().await;
    if remaining > 0 {
        say(format_args!("{remaining} texts are not sealed by key {first} yet"));
        return Ok(ExitCode::FAILURE);
    }
    say(format_args!("everything is sealed by key {first}"));
    Ok(ExitCode::SUCCESS)
}

/// Seals a column anew, batch by batch, and names what does not open.
async fn seal_anew(database: &Database, connection: &mut PgConnection, column: Column) -> anyhow::Result<()> {
    let name = column.as_str();
    let (mut position, mut resealed, mut unreadable) = (Some(Position::default()), 0, 0);
    while let Some(after) = position {
        let batch = reseal::reseal(connection, database.keyring(), column, &after, BATCH)
            .await
            .with_context(|| format!("{name} cannot be sealed anew"))?;
        for (row, error) in &batch.unreadable {
            say(format_args!("{name}: row {row} cannot be read: {error}"));
        }
        resealed += batch.resealed;
        unreadable += batch.unreadable.len();
        position = batch.next;
    }
    say(format_args!("{name}: {resealed} sealed anew, {unreadable} unreadable"));
    Ok(())
}

/// Says which key has sealed how much of a column; answers how much is not sealed by the first.
async fn tell(connection: &mut PgConnection, column: Column, first: u32) -> anyhow::Result<u64> {
    let name = column.as_str();
    let counts = reseal::count(connection, column).await.with_context(|| format!("{name} cannot be counted"))?;
    let mut remaining = 0;
    for (key, rows) in counts {
        match key {
            Some(key) => say(format_args!("{name}: {rows} under key {key}")),
            None => say(format_args!("{name}: {rows} under no key that can be told")),
        }
        remaining += if key == Some(first) { 0 } else { rows };
    }
    Ok(remaining)
}

/// Writes a new key and answers it.
pub(crate) async fn create(
    settings: &Settings,
    tenant: Option<TenantId>,
    scopes: &[Scope],
    name: &str,
) -> anyhow::Result<ApiKey> {
    let database = parts::database(settings, "keys")?;
    let (key, now) = (ApiKey::generate("live"), Clock::system().now());
    let new = NewApiKey { id: ApiKeyId::new(now), tenant, name, key: &key, scopes, expires_at: None };
    let mut connection = database.acquire().await.context("the database cannot be reached")?;
    api_keys::insert(&mut connection, &new, now).await.context("the key cannot be written")?;
    drop(connection);
    database.close().await;
    Ok(key)
}
