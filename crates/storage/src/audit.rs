//! Who did what by hand. Rows are only added, in the transaction of what they tell.

use busbar_domain::Timestamp;
use busbar_domain::id::{EventId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// One act that is about to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'e> {
    /// Whose object it was; none for what concerns the platform's operator only.
    pub tenant: Option<TenantId>,
    /// The key that was used; the nil id for the operator's key of the settings.
    pub actor: Uuid,
    /// What was done, as a stable word: `dead_letter.resubmitted`.
    pub action: &'e str,
    /// What it was done to.
    pub object: Uuid,
    /// What changed, in few words; never a secret, nor the content of a body.
    pub detail: Option<&'e str>,
}

/// One act as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Record {
    /// Its own id.
    pub id: Uuid,
    /// When it was done.
    pub at: Timestamp,
    /// The key that was used; the nil id for the operator's key of the settings.
    pub actor: Uuid,
    /// What was done, as a stable word.
    pub action: String,
    /// What it was done to.
    pub object_id: Uuid,
    /// What changed.
    pub detail: Option<String>,
}

/// Adds a row to the audit.
pub async fn record(conn: &mut PgConnection, entry: &Entry<'_>, now: Timestamp) -> Result<(), Error> {
    sqlx::query(
        "insert into audit (id, tenant_id, at, actor, action, object_id, detail) values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(EventId::new(now).uuid())
    .bind(entry.tenant.map(TenantId::uuid))
    .bind(now)
    .bind(entry.actor)
    .bind(entry.action)
    .bind(entry.object)
    .bind(entry.detail)
    .execute(conn)
    .await?;
    Ok(())
}

/// What was done to `tenant`'s objects, newest first; without a tenant, to what is the platform operator's own.
pub async fn list(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    before: Uuid,
    limit: i64,
) -> Result<Vec<Record>, Error> {
    let listed = match tenant {
        Some(tenant) => {
            sqlx::query_as(
                "select id, at, actor, action, object_id, detail from audit
                 where tenant_id = $1 and id < $2 order by id desc limit $3",
            )
            .bind(tenant.uuid())
            .bind(before)
            .bind(limit)
            .fetch_all(conn)
            .await?
        }
        None => {
            sqlx::query_as(
                "select id, at, actor, action, object_id, detail from audit
                 where tenant_id is null and id < $1 order by id desc limit $2",
            )
            .bind(before)
            .bind(limit)
            .fetch_all(conn)
            .await?
        }
    };
    Ok(listed)
}
