//! Connectors as the management API reads and writes them; secrets go in sealed and never come back.

use busbar_domain::Timestamp;
use busbar_domain::id::{ConnectorId, TenantId};
use busbar_domain::inbound::System;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;
use crate::rotation::Rotation;

/// A connector that is about to be written.
#[derive(Clone, Debug)]
pub struct NewConnector<'c> {
    /// Its id.
    pub id: ConnectorId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The system at its other end.
    pub system: System,
    /// Its name, for people.
    pub name: &'c str,
    /// Compact JSON, an object.
    pub config: &'c [u8],
    /// Sealed at this row's place.
    pub secret: &'c [u8],
    /// By which a secret that the hub has made is found; none for one that a person chose.
    pub secret_code: Option<&'c [u8]>,
    /// What is secret in the configuration, sealed at this row's place.
    pub config_secrets: Option<&'c [u8]>,
}

/// A configuration that takes the place of another.
#[derive(Clone, Copy, Debug)]
pub struct NewConfig<'c> {
    /// Compact JSON, an object, without what is secret.
    pub public: &'c [u8],
    /// What is secret in it, sealed at the connector's place.
    pub secrets: Option<&'c [u8]>,
}

/// A secret that takes the place of another.
#[derive(Clone, Copy, Debug)]
pub struct NewSecret<'c> {
    /// Sealed at the connector's place.
    pub sealed: &'c [u8],
    /// By which it is found.
    pub code: &'c [u8],
}

/// One connector as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectorRecord {
    /// Its id.
    pub id: ConnectorId,
    /// The system at its other end.
    pub system: System,
    /// Its name, for people.
    pub name: String,
    /// Compact JSON, an object, without what is secret.
    pub config: Vec<u8>,
    /// What is secret in the configuration, sealed.
    pub config_secrets: Option<Vec<u8>>,
    /// Until when the secret before the last rotation is taken as well.
    pub old_secret_until: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    system: String,
    name: String,
    config: Vec<u8>,
    config_secrets: Option<Vec<u8>>,
    old_secret_until: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl TryFrom<Row> for ConnectorRecord {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let broken = Error::Inconsistent { table: "connectors", row: row.id.to_string(), what: "system" };
        Ok(Self {
            id: row.id.into(),
            system: System::parse(&row.system).ok_or(broken)?,
            name: row.name,
            config: row.config,
            config_secrets: row.config_secrets,
            old_secret_until: row.old_secret_until,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Writes a new connector.
pub async fn insert(
    conn: &mut PgConnection,
    connector: &NewConnector<'_>,
    now: Timestamp,
) -> Result<ConnectorRecord, Error> {
    let row: Row = sqlx::query_as(
        "insert into connectors (id, tenant_id, system, name, config, secret, created_at, updated_at, secret_code,
             config_secrets)
         values ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9)
         returning id, system, name, config, config_secrets, old_secret_until, created_at, updated_at",
    )
    .bind(connector.id.uuid())
    .bind(connector.tenant.uuid())
    .bind(connector.system.as_str())
    .bind(connector.name)
    .bind(connector.config)
    .bind(connector.secret)
    .bind(now)
    .bind(connector.secret_code)
    .bind(connector.config_secrets)
    .fetch_one(conn)
    .await?;
    row.try_into()
}

/// The connector with this id.
pub async fn find(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ConnectorId,
) -> Result<Option<ConnectorRecord>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "select id, system, name, config, config_secrets, old_secret_until, created_at, updated_at from connectors
         where tenant_id = $1 and id = $2 and deleted_at is null",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .fetch_optional(conn)
    .await?;
    row.map(ConnectorRecord::try_from).transpose()
}

/// The connector with this id, locked for who is about to change it.
pub async fn lock(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ConnectorId,
) -> Result<Option<ConnectorRecord>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "select id, system, name, config, config_secrets, old_secret_until, created_at, updated_at from connectors
         where tenant_id = $1 and id = $2 and deleted_at is null for update",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .fetch_optional(conn)
    .await?;
    row.map(ConnectorRecord::try_from).transpose()
}

/// At most `limit` connectors of `tenant` with ids below `before`, newest first.
pub async fn list(
    conn: &mut PgConnection,
    tenant: TenantId,
    before: Uuid,
    limit: i64,
) -> Result<Vec<ConnectorRecord>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "select id, system, name, config, config_secrets, old_secret_until, created_at, updated_at from connectors
         where tenant_id = $1 and id < $2 and deleted_at is null order by id desc limit $3",
    )
    .bind(tenant.uuid())
    .bind(before)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(ConnectorRecord::try_from).collect()
}

/// Changes what is given; `None` if there is no such connector.
pub async fn update(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ConnectorId,
    name: Option<&str>,
    config: Option<NewConfig<'_>>,
    now: Timestamp,
) -> Result<Option<ConnectorRecord>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "update connectors set name = coalesce($3, name), config = coalesce($4, config), updated_at = $5,
             config_secrets = case when $4 is null then config_secrets else $6 end
         where tenant_id = $1 and id = $2 and deleted_at is null
         returning id, system, name, config, config_secrets, old_secret_until, created_at, updated_at",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .bind(name)
    .bind(config.map(|config| config.public))
    .bind(now)
    .bind(config.and_then(|config| config.secrets))
    .fetch_optional(conn)
    .await?;
    row.map(ConnectorRecord::try_from).transpose()
}

/// Deletes a connector: its door is closed, its row stays for the calls that name it. Answers whether there was one.
pub async fn delete(conn: &mut PgConnection, tenant: TenantId, id: ConnectorId, now: Timestamp) -> Result<bool, Error> {
    let deleted = sqlx::query(
        "update connectors set deleted_at = $3, updated_at = $3
         where tenant_id = $1 and id = $2 and deleted_at is null",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .bind(now)
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected() == 1)
}

/// Puts a new sealed secret in place; the one before is taken as well until `old_until`.
///
/// While an overlap lasts, only a rotation without one is made: it ends that overlap too.
pub async fn rotate_secret(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ConnectorId,
    secret: NewSecret<'_>,
    old_until: Timestamp,
    now: Timestamp,
) -> Result<Rotation, Error> {
    let found: Option<(bool, Option<Timestamp>)> = sqlx::query_as(
        "with known as materialized (
             select id, old_secret_until, $4::timestamptz <= $5::timestamptz or coalesce(old_secret_until <= $5, true)
                 as is_free
             from connectors where tenant_id = $1 and id = $2 and deleted_at is null for update
         ), rotated as (
             update connectors r set secret = $3, updated_at = $5, secret_code = $6,
                 old_secret_code = case when $4 > $5 then r.secret_code end,
                 old_secret = case when $4 > $5 then r.secret end,
                 old_secret_until = case when $4 > $5 then $4 end
             from known where r.id = known.id and known.is_free
         )
         select is_free, old_secret_until from known",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .bind(secret.sealed)
    .bind(old_until)
    .bind(now)
    .bind(secret.code)
    .fetch_optional(conn)
    .await?;
    Ok(Rotation::of(found))
}
