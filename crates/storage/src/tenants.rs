//! Tenants: the customers of the hub, as the management API reads and writes them.

use busbar_domain::Timestamp;
use busbar_domain::id::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// What a tenant has bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Limited.
    Free,
    /// Limited, but less so.
    Professional,
    /// Unlimited.
    Enterprise,
}

impl Plan {
    /// Every plan.
    pub const ALL: [Self; 3] = [Self::Free, Self::Professional, Self::Enterprise];

    /// The plan's name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Professional => "professional",
            Self::Enterprise => "enterprise",
        }
    }

    /// Reads a plan's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plan| plan.as_str() == name)
    }
}

/// One tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name, for people.
    pub name: String,
    /// Its plan.
    pub plan: Plan,
    /// When it was made.
    pub created_at: Timestamp,
}

type Row = (Uuid, String, String, Timestamp);

fn tenant((id, name, plan, created_at): Row) -> Result<Tenant, Error> {
    let plan = Plan::parse(&plan).ok_or(Error::Inconsistent { table: "tenants", row: id.to_string(), what: "plan" })?;
    Ok(Tenant { id: id.into(), name, plan, created_at })
}

/// Writes a new tenant.
pub async fn insert(conn: &mut PgConnection, tenant: &Tenant) -> Result<(), Error> {
    sqlx::query("insert into tenants (id, name, plan, config_changed_at, created_at) values ($1, $2, $3, $4, $4)")
        .bind(tenant.id.uuid())
        .bind(&tenant.name)
        .bind(tenant.plan.as_str())
        .bind(tenant.created_at)
        .execute(conn)
        .await?;
    Ok(())
}

/// The tenant with this id.
pub async fn find(conn: &mut PgConnection, id: TenantId) -> Result<Option<Tenant>, Error> {
    let row: Option<Row> = sqlx::query_as("select id, name, plan, created_at from tenants where id = $1")
        .bind(id.uuid())
        .fetch_optional(conn)
        .await?;
    row.map(tenant).transpose()
}

/// At most `limit` tenants with ids below `before`, newest first.
pub async fn list(conn: &mut PgConnection, before: Uuid, limit: i64) -> Result<Vec<Tenant>, Error> {
    let rows: Vec<Row> =
        sqlx::query_as("select id, name, plan, created_at from tenants where id < $1 order by id desc limit $2")
            .bind(before)
            .bind(limit)
            .fetch_all(conn)
            .await?;
    rows.into_iter().map(tenant).collect()
}

/// Changes what is given; `None` if there is no such tenant.
pub async fn update(
    conn: &mut PgConnection,
    id: TenantId,
    name: Option<&str>,
    plan: Option<Plan>,
) -> Result<Option<Tenant>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "update tenants set name = coalesce($2, name), plan = coalesce($3, plan) where id = $1
         returning id, name, plan, created_at",
    )
    .bind(id.uuid())
    .bind(name)
    .bind(plan.map(Plan::as_str))
    .fetch_optional(conn)
    .await?;
    row.map(tenant).transpose()
}
