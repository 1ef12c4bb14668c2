//! An ended call is processed once more: a new call with the same body from the same connector.

use busbar_domain::Timestamp;
use busbar_domain::id::{InboundId, TenantId};
use busbar_domain::inbound::System;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::Error;
use crate::audit::{self, Entry};

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such call.
    NotFound,
    /// It has not ended, so it need not be repeated.
    Open,
    /// Its connector was deleted.
    ConnectorDeleted,
    /// Its system's calls are not processed from a queue.
    NoQueue,
}

/// Who repeats a call, and when.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// Whose call it is.
    pub tenant: TenantId,
    /// The key that is used; the nil id for the operator's key of the settings.
    pub actor: Uuid,
    /// The systems whose calls are processed from a queue.
    pub systems: &'a [System],
    /// The present; the new call is due at once.
    pub now: Timestamp,
}

/// A call that repeats another, to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Its id.
    pub id: InboundId,
    /// Its system.
    pub system: System,
}

type Row = (String, String, bool, Option<Uuid>);

/// Makes a new call of an ended one. It is no repeat to the door, so nothing keeps it from being processed.
pub async fn replay(conn: &mut PgConnection, id: InboundId, act: &Act<'_>) -> Result<Result<Replayed, Refusal>, Error> {
    let made = InboundId::new(act.now);
    let systems: Vec<&str> = act.systems.iter().map(|system| system.as_str()).collect();
    let mut tx = conn.begin().await?;
    let original: Option<Row> = sqlx::query_as(REPLAY)
        .bind(act.tenant.uuid())
        .bind(id.uuid())
        .bind(made.uuid())
        .bind(act.now)
        .bind(systems)
        .fetch_optional(&mut *tx)
        .await?;
    let Some((system, state, is_deleted, written)) = original else { return Ok(Err(Refusal::NotFound)) };
    let system = System::parse(&system).filter(|system| act.systems.contains(system));
    let (Some(system), Some(_)) = (system, written) else {
        return Ok(Err(match (system, state.as_str()) {
            (None, _) => Refusal::NoQueue,
            (Some(_), "received" | "failed") => Refusal::Open,
            (Some(_), _) if is_deleted => Refusal::ConnectorDeleted,
            (Some(_), _) => Refusal::NotFound,
        }));
    };
    let detail = format!("as {made}");
    let entry = Entry {
        tenant: Some(act.tenant),
        actor: act.actor,
        action: "inbound.replayed",
        object: id.uuid(),
        detail: Some(&detail),
    };
    audit::record(&mut tx, &entry, act.now).await?;
    tx.commit().await?;
    Ok(Ok(Replayed { id: made, system }))
}

const REPLAY: &str = "
with original as materialized (
    select i.id, i.tenant_id, i.connector_id, i.system, i.state, i.trace, i.body, c.deleted_at is not null as is_deleted
    from inbound i join connectors c on c.id = i.connector_id
    where i.id = $2 and i.tenant_id = $1 for share of c
), made as (
    insert into inbound (id, tenant_id, connector_id, system, state, due_at, received_at, trace, body, replay_of)
    select $3, o.tenant_id, o.connector_id, o.system, 'received', $4, $4, o.trace, o.body, o.id
    from original o where o.state in ('processed', 'dead') and not o.is_deleted and o.system = any($5)
    returning id
)
select o.system, o.state, o.is_deleted, (select id from made) from original o";
