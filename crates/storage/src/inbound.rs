//! Inbound calls: made durable by the door in batches, locked and finished by the processor.

use std::collections::{HashMap, HashSet};

use busbar_domain::Timestamp;
use busbar_domain::id::{ConnectorId, InboundId, TenantId};
use busbar_domain::inbound::{NewInbound, System};
use busbar_domain::trace::TraceContext;
use bytes::Bytes;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;
use crate::accept::{Keys, find_first};

/// What became of one call at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Durable.
    Accepted,
    /// The same call was accepted before.
    Repeat {
        /// Under this id.
        first: InboundId,
    },
}

/// Writes a batch of calls. The scheduler may wake those of a system from `due_at` of it on.
///
/// Sending the same batch again after an unknown outcome changes nothing.
pub async fn insert(
    conn: &mut PgConnection,
    calls: &[NewInbound],
    now: Timestamp,
    due_at: impl Fn(System) -> Timestamp,
) -> Result<HashMap<InboundId, Receipt>, Error> {
    let mut keys = Keys::default();
    let mut taken = HashSet::new();
    let (mut firsts, mut repeats) = (Vec::with_capacity(calls.len()), Vec::new());
    for call in calls {
        match &call.once {
            Some(once) if !taken.insert((call.tenant, once.scope, &once.key)) => repeats.push(call),
            Some(once) => {
                keys.push(call.tenant, once, call.id.uuid());
                firsts.push(call);
            }
            None => firsts.push(call),
        }
    }
    let column = |of: fn(&NewInbound) -> Uuid| firsts.iter().map(|call| of(call)).collect::<Vec<_>>();
    let won: Vec<Uuid> = sqlx::query_scalar(INSERT)
        .bind(keys.tenant)
        .bind(keys.scope)
        .bind(keys.key)
        .bind(keys.id)
        .bind(keys.digest)
        .bind(keys.until)
        .bind(now)
        .bind(column(|call| call.id.uuid()))
        .bind(column(|call| call.tenant.uuid()))
        .bind(column(|call| call.connector.uuid()))
        .bind(firsts.iter().map(|call| call.system.as_str()).collect::<Vec<_>>())
        .bind(firsts.iter().map(|call| call.received_at).collect::<Vec<_>>())
        .bind(firsts.iter().map(|call| call.trace.to_bytes().to_vec()).collect::<Vec<_>>())
        .bind(firsts.iter().map(|call| &call.body[..]).collect::<Vec<_>>())
        .bind(firsts.iter().map(|call| call.once.is_some()).collect::<Vec<_>>())
        .bind(firsts.iter().map(|call| due_at(call.system)).collect::<Vec<_>>())
        .fetch_one(&mut *conn)
        .await?;
    let won: HashSet<Uuid> = won.into_iter().collect();
    let mut receipts = HashMap::with_capacity(calls.len());
    for call in firsts {
        if call.once.is_none() || won.contains(&call.id.uuid()) {
            receipts.insert(call.id, Receipt::Accepted);
        } else {
            repeats.push(call);
        }
    }
    for call in repeats {
        let Some(once) = &call.once else { continue };
        let (first, _) = find_first(conn, call.tenant, once).await?.ok_or(Error::Inconsistent {
            table: "first_seen",
            row: once.key.clone(),
            what: "it expired while a repeat was answered",
        })?;
        receipts.insert(call.id, Receipt::Repeat { first: first.into() });
    }
    Ok(receipts)
}

const INSERT: &str = "
with won as (
    insert into first_seen as f (tenant_id, scope, key, id, digest, expires_at)
    select k.* from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bytea[], $6::timestamptz[])
        as k (tenant_id, scope, key, id, digest, expires_at)
    order by k.tenant_id, k.scope, k.key
    on conflict (tenant_id, scope, key) do update
        set id = excluded.id, digest = excluded.digest, expires_at = excluded.expires_at
        where f.expires_at <= $7 or f.id = excluded.id
    returning f.id
), made as (
    insert into inbound (id, tenant_id, connector_id, system, state, due_at, received_at, trace, body)
    select i.id, i.tenant_id, i.connector_id, i.system, 'received', i.due_at, i.received_at, i.trace, i.body
    from unnest($8::uuid[], $9::uuid[], $10::uuid[], $11::text[], $12::timestamptz[], $13::bytea[], $14::bytea[],
            $15::bool[], $16::timestamptz[])
        as i (id, tenant_id, connector_id, system, received_at, trace, body, guarded, due_at)
    where not i.guarded or i.id in (select id from won)
    on conflict (id) do nothing
)
select array(select id from won)";

/// A call that this transaction has locked and may decide about.
#[derive(Debug)]
pub struct Received {
    /// Its id.
    pub id: InboundId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The connector that was called.
    pub connector: ConnectorId,
    /// The body, byte for byte.
    pub body: Bytes,
    /// When it was received.
    pub received_at: Timestamp,
    /// How often its processing has failed.
    pub failures: i16,
    /// Where in which trace it was received.
    pub trace: TraceContext,
}

type ReceivedRow = (Uuid, Uuid, Uuid, Vec<u8>, Timestamp, i16, Vec<u8>);

/// Locks those of `ids` that are still to be processed, in key order, skipping what another holds.
pub async fn lock_received(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Received>, Error> {
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    let rows: Vec<ReceivedRow> = sqlx::query_as(
        "select id, tenant_id, connector_id, body, received_at, failures, trace from inbound
         where id between $1 and $2 and id = any($3) and state = any($4)
         order by id for update skip locked",
    )
    .bind(first)
    .bind(last)
    .bind(ids)
    .bind(&["received", "failed"][..])
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, tenant, connector, body, received_at, failures, trace)| Received {
            id: id.into(),
            tenant: tenant.into(),
            connector: connector.into(),
            body: body.into(),
            received_at,
            failures,
            trace: TraceContext::from_bytes(&trace).unwrap_or_else(TraceContext::root),
        })
        .collect())
}

/// How the processing of a locked call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its effects are written in this transaction.
    Processed,
    /// Tried again when due.
    Failed {
        /// Why.
        reason: String,
        /// When it is due again.
        due_at: Timestamp,
    },
    /// Given up.
    Dead {
        /// Why.
        reason: String,
    },
}

/// Writes how calls that this transaction has locked ended.
pub async fn mark_ended(conn: &mut PgConnection, ended: &[(InboundId, Ended)], now: Timestamp) -> Result<(), Error> {
    let (mut ids, mut states, mut reasons, mut dues) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (id, end) in ended {
        let (state, reason, due_at) = match end {
            Ended::Processed => ("processed", None, now),
            Ended::Failed { reason, due_at } => ("failed", Some(reason.as_str()), *due_at),
            Ended::Dead { reason } => ("dead", Some(reason.as_str()), now),
        };
        ids.push(id.uuid());
        states.push(state);
        reasons.push(reason);
        dues.push(due_at);
    }
    sqlx::query(
        "update inbound i set state = r.state, reason = r.reason, due_at = r.due_at,
             failures = i.failures + (r.state = 'failed')::int::smallint,
             finished_at = case when r.state = 'failed' then null else $5 end
         from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) as r (id, state, reason, due_at)
         where i.id = r.id",
    )
    .bind(ids)
    .bind(states)
    .bind(reasons)
    .bind(dues)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}
