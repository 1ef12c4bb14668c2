//! API keys as the management API reads and writes them; the key itself is never here, only its hash.

use busbar_domain::Timestamp;
use busbar_domain::api_key::{ApiKey, Scope};
use busbar_domain::id::{ApiKeyId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// A key that is about to be written.
#[derive(Clone, Debug)]
pub struct NewApiKey<'k> {
    /// The row's id.
    pub id: ApiKeyId,
    /// Whose key it is; `None` for the platform's operator.
    pub tenant: Option<TenantId>,
    /// Its name, for people.
    pub name: &'k str,
    /// The key, of which the hash is stored.
    pub key: &'k ApiKey,
    /// What it may do.
    pub scopes: &'k [Scope],
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// One key as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// The row's id.
    pub id: ApiKeyId,
    /// Its name, for people.
    pub name: String,
    /// The public part of the key.
    pub key_id: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Since when it is worth nothing.
    pub revoked_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    key_id: String,
    scopes: Vec<String>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl From<Row> for ApiKeyRecord {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            name: row.name,
            key_id: row.key_id,
            scopes: row.scopes.iter().filter_map(|scope| Scope::parse(scope)).collect(),
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        }
    }
}

/// Writes a new key.
pub async fn insert(conn: &mut PgConnection, key: &NewApiKey<'_>, now: Timestamp) -> Result<ApiKeyRecord, Error> {
    let row: Row = sqlx::query_as(
        "insert into api_keys (id, tenant_id, key_id, name, hash, scopes, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         returning id, name, key_id, scopes, created_at, expires_at, revoked_at",
    )
    .bind(key.id.uuid())
    .bind(key.tenant.map(TenantId::uuid))
    .bind(key.key.key_id())
    .bind(key.name)
    .bind(&key.key.hash().as_bytes()[..])
    .bind(key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>())
    .bind(now)
    .bind(key.expires_at)
    .fetch_one(conn)
    .await?;
    Ok(row.into())
}

/// At most `limit` keys of `tenant` with ids below `before`, newest first.
pub async fn list(
    conn: &mut PgConnection,
    tenant: TenantId,
    before: Uuid,
    limit: i64,
) -> Result<Vec<ApiKeyRecord>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "select id, name, key_id, scopes, created_at, expires_at, revoked_at from api_keys
         where tenant_id = $1 and id < $2 order by id desc limit $3",
    )
    .bind(tenant.uuid())
    .bind(before)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(ApiKeyRecord::from).collect())
}

/// Locks the key with this id.
pub async fn lock(conn: &mut PgConnection, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKeyRecord>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "select id, name, key_id, scopes, created_at, expires_at, revoked_at from api_keys
         where tenant_id = $1 and id = $2 for update",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .fetch_optional(conn)
    .await?;
    Ok(row.map(ApiKeyRecord::from))
}

/// Revokes a key, once and for all; a repeat keeps the first time. `None` if there is no such key.
pub async fn revoke(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<Option<ApiKeyRecord>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "update api_keys set revoked_at = coalesce(revoked_at, $3) where tenant_id = $1 and id = $2
         returning id, name, key_id, scopes, created_at, expires_at, revoked_at",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .bind(now)
    .fetch_optional(conn)
    .await?;
    Ok(row.map(ApiKeyRecord::from))
}

/// Lets a key end at `end`, or when it ends anyway if that is earlier.
pub async fn expire(conn: &mut PgConnection, tenant: TenantId, id: ApiKeyId, end: Timestamp) -> Result<(), Error> {
    sqlx::query("update api_keys set expires_at = least(expires_at, $3) where tenant_id = $1 and id = $2")
        .bind(tenant.uuid())
        .bind(id.uuid())
        .bind(end)
        .execute(conn)
        .await?;
    Ok(())
}
