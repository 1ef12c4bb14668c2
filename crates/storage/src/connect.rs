//! Connections: a pool for everyday statements, and hot connections whose plans are pinned.

use std::sync::Arc;
use std::time::Duration;

use busbar_domain::Clock;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::seal::Keyring;
use crate::wire::Wire;

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct Config {
    /// `postgres://user:password@host:port/database`.
    pub url: SecretString,
    /// The most connections of the everyday pool.
    pub max_connections: u32,
    /// The longest that one statement may take.
    pub statement_timeout: Duration,
    /// Shows in `pg_stat_activity`.
    pub application_name: String,
}

/// The database: its everyday pool, and what hot connections are made of.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
    options: PgConnectOptions,
    keyring: Keyring,
    _wire: Option<Arc<Wire>>,
}

/// A connection of the everyday pool, given back when dropped.
pub type Pooled = sqlx::pool::PoolConnection<sqlx::Postgres>;

/// A transaction, rolled back when dropped.
#[derive(Debug)]
pub struct Transaction(sqlx::Transaction<'static, sqlx::Postgres>);

impl Transaction {
    /// Makes what was written durable. After an error of the connection, whether it is so is not known.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.0.commit().await?)
    }
}

impl std::ops::Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl std::ops::DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

/// Whether a hot connection's commits wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A commit is on disk when it returns.
    Durable,
    /// A commit may be lost by a crash of the database: for claims, whose loss only repeats work.
    Relaxed,
}

/// A hot connection that is made when it is needed and given up when it fails.
#[derive(Debug)]
pub struct Line {
    database: Database,
    durability: Durability,
    open: Option<PgConnection>,
}

impl Line {
    /// A line to `database`; nothing is connected yet.
    pub const fn new(database: Database, durability: Durability) -> Self {
        Self { database, durability, open: None }
    }

    /// The connection, made anew if there is none.
    pub async fn get(&mut self) -> Result<&mut PgConnection, Error> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.database.connect_hot(self.durability).await?,
        };
        Ok(self.open.insert(open))
    }

    /// Closes the connection, so that the next one is made anew: after an error, or when its answer did not come.
    pub fn give_up(&mut self) {
        self.open = None;
    }
}

impl Database {
    /// Prepares the pool; connections are made when they are first needed. Called inside a tokio runtime.
    pub fn new(config: &Config, keyring: Keyring) -> Result<Self, Error> {
        let milliseconds = config.statement_timeout.as_millis().to_string();
        let options = config
            .url
            .expose_secret()
            .parse::<PgConnectOptions>()?
            .application_name(&config.application_name)
            .log_statements(tracing::log::LevelFilter::Off)
            .options([
                ("statement_timeout", milliseconds.as_str()),
                ("idle_in_transaction_session_timeout", "15000"),
                ("tcp_keepalives_idle", "10"),
                ("tcp_keepalives_interval", "5"),
                ("tcp_keepalives_count", "3"),
                ("jit", "off"),
                ("timezone", "UTC"),
            ]);
        let (options, wire) = Wire::under(options)?;
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(Duration::from_secs(2))
            .connect_lazy_with(options.clone());
        Ok(Self { pool, options, keyring, _wire: wire })
    }

    /// The everyday pool.
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection of the everyday pool.
    pub async fn acquire(&self) -> Result<Pooled, Error> {
        Ok(self.pool.acquire().await?)
    }

    /// A transaction on a connection of the everyday pool; dropped without a commit, it is rolled back.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        Ok(Transaction(self.pool.begin().await?))
    }

    /// What opens and closes secrets.
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// A connection for one hot statement. Its plans are generic and never scan, since a plan that was made while
    /// the tables were empty would otherwise stay.
    async fn connect_hot(&self, durability: Durability) -> Result<PgConnection, Error> {
        let commit = match durability {
            Durability::Durable => "on",
            Durability::Relaxed => "off",
        };
        let options = self.options.clone().options([
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
            ("enable_mergejoin", "off"),
            ("synchronous_commit", commit),
        ]);
        let connecting = PgConnection::connect_with(&options);
        match tokio::time::timeout(Duration::from_secs(2), connecting).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(Error::Connection(sqlx::Error::PoolTimedOut)),
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        let answer = tokio::time::timeout(Duration::from_secs(1), sqlx::query("select 1").execute(&self.pool)).await;
        answer.map_err(|_| Error::Connection(sqlx::Error::PoolTimedOut))?.map(|_| ()).map_err(Error::from)
    }

    /// Keeps `clock` on the database's time and reports whether the database answers, until `stop`.
    pub async fn watch(&self, clock: &Clock, stop: &CancellationToken, report: impl Fn(Result<(), String>)) {
        let mut round = 0_u32;
        loop {
            let answer = if round.is_multiple_of(10) { self.correct(clock).await } else { self.ping().await };
            // A failed correction is asked for again with the next round.
            round = if answer.is_ok() { round + 1 } else { 0 };
            report(answer.map_err(|error| error.to_string()));
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn correct(&self, clock: &Clock) -> Result<(), Error> {
        let asked = tokio::time::timeout(
            Duration::from_secs(1),
            sqlx::query_scalar("select clock_timestamp()").fetch_one(&self.pool),
        );
        let now = asked.await.map_err(|_| Error::Connection(sqlx::Error::PoolTimedOut))??;
        clock.correct(now);
        Ok(())
    }

    /// Closes the pool once its connections are idle.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
