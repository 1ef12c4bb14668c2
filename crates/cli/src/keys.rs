//! `busbar keys`: API keys straight from the database, for the first operator, and master keys for the settings.

use anyhow::Context as _;
use busbar_domain::Clock;
use busbar_domain::api_key::{ApiKey, Scope};
use busbar_domain::id::{ApiKeyId, TenantId};
use busbar_runtime::{Settings, parts};
use busbar_storage::api_keys::{self, NewApiKey};
use busbar_storage::seal::Keyring;

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
}

pub(crate) async fn run(options: &Options, settings: &Settings) -> anyhow::Result<()> {
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
    }
    Ok(())
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
