//! A change of the master key: what another key than the ring's first has sealed is opened and sealed anew, in batches.
//!
//! Nothing is locked while it is opened. A row is written only where it still holds what was read, so whoever changes
//! a secret meanwhile wins. It may be ended at any point and begun again: what is done is not looked at any more.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Postgres};
use uuid::Uuid;

use crate::Error;
use crate::access::{CONNECTOR_CONFIG, CONNECTOR_SECRET, WEBHOOK_HEADERS, WEBHOOK_SECRET};
use crate::idempotency::DATA_KEY;
use crate::seal::{self, Keyring, Place, head_of, key_of};

/// A column that holds what the master key seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The secrets that sign deliveries.
    WebhookSecret,
    /// Those before the last rotation.
    WebhookOldSecret,
    /// Custom headers of webhooks.
    WebhookHeaders,
    /// The secrets that calls are signed with.
    ConnectorSecret,
    /// Those before the last rotation.
    ConnectorOldSecret,
    /// What is secret in the configuration of connectors.
    ConnectorConfig,
    /// The keys of kept answers.
    AnswerKey,
}

impl Column {
    /// Every column that is sealed by the master key.
    pub const ALL: [Self; 7] = [
        Self::WebhookSecret,
        Self::WebhookOldSecret,
        Self::WebhookHeaders,
        Self::ConnectorSecret,
        Self::ConnectorOldSecret,
        Self::ConnectorConfig,
        Self::AnswerKey,
    ];

    /// Table and column, as people read them.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebhookSecret => "webhooks.secret",
            Self::WebhookOldSecret => "webhooks.old_secret",
            Self::WebhookHeaders => "webhooks.headers",
            Self::ConnectorSecret => "connectors.secret",
            Self::ConnectorOldSecret => "connectors.old_secret",
            Self::ConnectorConfig => "connectors.config_secrets",
            Self::AnswerKey => "idempotency.data_key",
        }
    }

    /// Whether a code beside the text is made with the master key, too.
    const fn has_code(self) -> bool {
        matches!(self, Self::ConnectorSecret | Self::ConnectorOldSecret)
    }

    /// What the texts of this column are bound to, beside their row.
    const fn place(self) -> &'static str {
        match self {
            Self::WebhookSecret | Self::WebhookOldSecret => WEBHOOK_SECRET,
            Self::WebhookHeaders => WEBHOOK_HEADERS,
            Self::ConnectorSecret | Self::ConnectorOldSecret => CONNECTOR_SECRET,
            Self::ConnectorConfig => CONNECTOR_CONFIG,
            Self::AnswerKey => DATA_KEY,
        }
    }
}

/// The row behind which the next batch begins; the default is before all rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    id: Uuid,
    route: String,
    key: String,
}

/// What one batch came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Rows that were sealed anew.
    pub resealed: u64,
    /// Rows that somebody else changed meanwhile.
    pub changed: u64,
    /// Rows that do not open, and why.
    pub unreadable: Vec<(Uuid, seal::Error)>,
    /// Where the next batch begins; nothing after the last one.
    pub next: Option<Position>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    route: String,
    key: String,
    /// What the text is bound to: the row's own id, or who began the answer.
    place: Uuid,
    sealed: Vec<u8>,
}

/// A row with its text sealed anew.
struct Renewed {
    row: Row,
    sealed: Vec<u8>,
    /// The code of a connector's secret, where it had one.
    code: Option<Vec<u8>>,
}

/// Seals at most `limit` rows behind `after` anew, those that another key than the ring's first has sealed.
pub async fn reseal(
    conn: &mut PgConnection,
    keyring: &Keyring,
    column: Column,
    after: &Position,
    limit: i64,
) -> Result<Batch, Error> {
    let number = keyring.sealing().ok_or(seal::Error::NoKey)?;
    let rows = list(conn, column, number, after, limit).await?;
    let full = i64::try_from(rows.len()).unwrap_or(limit) >= limit;
    let last = rows.last().map(|row| Position { id: row.id, route: row.route.clone(), key: row.key.clone() });
    let mut batch = Batch { next: last.filter(|_| full), ..Batch::default() };
    let mut renewed = Vec::with_capacity(rows.len());
    for row in rows {
        let place = Place { column: column.place(), row: row.place };
        match keyring.open_bytes(place, &row.sealed) {
            Ok(plain) => renewed.push(Renewed {
                sealed: keyring.seal_bytes(place, &plain)?,
                code: column.has_code().then(|| keyring.code(&plain)).transpose()?,
                row,
            }),
            Err(error) => batch.unreadable.push((row.place, error)),
        }
    }
    batch.resealed = write(conn, column, &renewed).await?;
    batch.changed = (renewed.len() as u64).saturating_sub(batch.resealed);
    Ok(batch)
}

/// How many rows each key has sealed; `None` for texts that name none.
pub async fn count(conn: &mut PgConnection, column: Column) -> Result<BTreeMap<Option<u32>, u64>, Error> {
    let counting = match column {
        Column::WebhookSecret => {
            sqlx::query_as("select substring(secret from 1 for 5), count(*) from webhooks group by 1")
        }
        Column::WebhookOldSecret => sqlx::query_as(
            "select substring(old_secret from 1 for 5), count(*) from webhooks where old_secret is not null group by 1",
        ),
        Column::WebhookHeaders => sqlx::query_as(
            "select substring(headers from 1 for 5), count(*) from webhooks where headers is not null group by 1",
        ),
        Column::ConnectorSecret => {
            sqlx::query_as("select substring(secret from 1 for 5), count(*) from connectors group by 1")
        }
        Column::ConnectorOldSecret => sqlx::query_as(
            "select substring(old_secret from 1 for 5), count(*) from connectors where old_secret is not null group by 1",
        ),
        Column::ConnectorConfig => sqlx::query_as(
            "select substring(config_secrets from 1 for 5), count(*) from connectors where config_secrets is not null
             group by 1",
        ),
        Column::AnswerKey => sqlx::query_as(
            "select substring(data_key from 1 for 5), count(*) from idempotency where data_key is not null group by 1",
        ),
    };
    let rows: Vec<(Vec<u8>, i64)> = counting.fetch_all(conn).await?;
    let mut counted = BTreeMap::new();
    for (head, rows) in rows {
        *counted.entry(key_of(&head).ok()).or_default() += rows.unsigned_abs();
    }
    Ok(counted)
}

/// Rows behind `after` that the key with this number has not sealed, in order of their keys.
async fn list(
    conn: &mut PgConnection,
    column: Column,
    number: u32,
    after: &Position,
    limit: i64,
) -> Result<Vec<Row>, Error> {
    let listing: sqlx::query::QueryAs<'_, Postgres, Row, _> = match column {
        Column::WebhookSecret => sqlx::query_as(
            "select id, '' as route, '' as key, id as place, secret as sealed from webhooks
             where id > $1 and substring(secret from 1 for 5) <> $2 order by id limit $3",
        ),
        Column::WebhookOldSecret => sqlx::query_as(
            "select id, '' as route, '' as key, id as place, old_secret as sealed from webhooks
             where id > $1 and substring(old_secret from 1 for 5) <> $2 order by id limit $3",
        ),
        Column::WebhookHeaders => sqlx::query_as(
            "select id, '' as route, '' as key, id as place, headers as sealed from webhooks
             where id > $1 and substring(headers from 1 for 5) <> $2 order by id limit $3",
        ),
        Column::ConnectorSecret => sqlx::query_as(
            "select id, '' as route, '' as key, id as place, secret as sealed from connectors
             where id > $1 and substring(secret from 1 for 5) <> $2 order by id limit $3",
        ),
        Column::ConnectorOldSecret => sqlx::query_as(
            "select id, '' as route, '' as key, id as place, old_secret as sealed from connectors
             where id > $1 and substring(old_secret from 1 for 5) <> $2 order by id limit $3",
        ),
        Column::ConnectorConfig => sqlx::query_as(
            "select id, '' as route, '' as key, id as place, config_secrets as sealed from connectors
             where id > $1 and substring(config_secrets from 1 for 5) <> $2 order by id limit $3",
        ),
        Column::AnswerKey => sqlx::query_as(
            "select tenant_id as id, route, key, owner as place, data_key as sealed from idempotency
             where (tenant_id, route, key) > ($1, $4, $5) and substring(data_key from 1 for 5) <> $2
             order by tenant_id, route, key limit $3",
        ),
    };
    let mut listing = listing.bind(after.id).bind(head_of(number)).bind(limit);
    if column == Column::AnswerKey {
        listing = listing.bind(&after.route).bind(&after.key);
    }
    Ok(listing.fetch_all(conn).await?)
}

/// Writes texts that were sealed anew, each where the row still holds the old one; answers how many were written.
async fn write(conn: &mut PgConnection, column: Column, renewed: &[Renewed]) -> Result<u64, Error> {
    if renewed.is_empty() {
        return Ok(0);
    }
    let writing = match column {
        Column::WebhookSecret => sqlx::query(
            "update webhooks w set secret = n.new from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as n (id, old, new)
             where w.id = n.id and w.secret = n.old",
        ),
        Column::WebhookOldSecret => sqlx::query(
            "update webhooks w set old_secret = n.new
             from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as n (id, old, new)
             where w.id = n.id and w.old_secret = n.old",
        ),
        Column::WebhookHeaders => sqlx::query(
            "update webhooks w set headers = n.new
             from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as n (id, old, new)
             where w.id = n.id and w.headers = n.old",
        ),
        Column::ConnectorSecret => sqlx::query(
            "update connectors c set secret = n.new,
                 secret_code = case when c.secret_code is not null then n.code end
             from unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::bytea[]) as n (id, old, new, code)
             where c.id = n.id and c.secret = n.old",
        ),
        Column::ConnectorOldSecret => sqlx::query(
            "update connectors c set old_secret = n.new,
                 old_secret_code = case when c.old_secret_code is not null then n.code end
             from unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::bytea[]) as n (id, old, new, code)
             where c.id = n.id and c.old_secret = n.old",
        ),
        Column::ConnectorConfig => sqlx::query(
            "update connectors c set config_secrets = n.new
             from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as n (id, old, new)
             where c.id = n.id and c.config_secrets = n.old",
        ),
        Column::AnswerKey => sqlx::query(
            "update idempotency i set data_key = n.new
             from unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::text[], $5::text[])
                 as n (tenant_id, old, new, route, key)
             where i.tenant_id = n.tenant_id and i.route = n.route and i.key = n.key and i.data_key = n.old",
        ),
    };
    let of = |text: fn(&Renewed) -> &[u8]| renewed.iter().map(text).collect::<Vec<_>>();
    let mut writing = writing
        .bind(renewed.iter().map(|one| one.row.id).collect::<Vec<_>>())
        .bind(of(|one| &one.row.sealed))
        .bind(of(|one| &one.sealed));
    if column.has_code() {
        writing = writing.bind(renewed.iter().map(|one| one.code.as_deref()).collect::<Vec<_>>());
    }
    if column == Column::AnswerKey {
        writing = writing
            .bind(renewed.iter().map(|one| one.row.route.as_str()).collect::<Vec<_>>())
            .bind(renewed.iter().map(|one| one.row.key.as_str()).collect::<Vec<_>>());
    }
    Ok(writing.execute(conn).await?.rows_affected())
}
