//! Making events durable together with the deliveries they owe: one statement for a whole batch.
//!
//! A batch is planned with subscriptions in memory; it is written only if every tenant's configuration is still
//! the one planned with. Ids are made before the write, so a write of unknown outcome is sent again as it was.

mod columns;

use std::collections::{HashMap, HashSet};

use busbar_domain::Timestamp;
use busbar_domain::event::{NewEvent, Once};
use busbar_domain::id::{DeliveryId, EventId, TenantId};
use busbar_domain::subscription::{Planned, Subscriptions};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

pub(crate) use columns::Keys;

use crate::Error;
use crate::accept::columns::Columns;
use crate::order::{self, Counts, Standings};

/// A batch of events with the deliveries they owe, ready to be written.
#[derive(Debug)]
pub struct Publication {
    planned: Vec<Planned>,
    /// Events whose key another event of the batch already has; they are repeats from the start.
    followers: Vec<NewEvent>,
    versions: HashMap<TenantId, i64>,
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Durable, with the deliveries that it owes.
    Accepted {
        /// The deliveries to wake.
        deliveries: Vec<DeliveryId>,
        /// Whether its fan-out is left to the processor.
        spreading: bool,
    },
    /// A repeat of an event that was accepted before.
    Repeat {
        /// The first event's id.
        first: EventId,
    },
    /// The same key with other content.
    Conflict {
        /// The first event's id.
        first: EventId,
    },
}

/// What events that were just accepted want to be woken.
#[derive(Debug, Default)]
pub struct Owed {
    /// Deliveries, in key order.
    pub deliveries: Vec<Uuid>,
    /// Events whose fan-out is left to the processor.
    pub spreading: Vec<Uuid>,
}

impl Owed {
    /// What `receipts` owe; repeats owe nothing.
    pub fn by(receipts: &HashMap<EventId, Receipt>) -> Self {
        let mut owed = Self::default();
        for (event, receipt) in receipts {
            if let Receipt::Accepted { deliveries, spreading } = receipt {
                owed.deliveries.extend(deliveries.iter().map(|id| id.uuid()));
                owed.spreading.extend(spreading.then_some(event.uuid()));
            }
        }
        owed.deliveries.sort_unstable();
        owed
    }
}

/// What the write said.
#[derive(Debug)]
pub enum Written {
    /// A configuration changed since the plan was made; nothing was written.
    Stale,
    /// Durable.
    Done(HashMap<EventId, Receipt>),
}

impl Publication {
    /// Plans `events` with the subscriptions that `of` gives for each one's tenant.
    pub fn plan<'s>(events: Vec<NewEvent>, now: Timestamp, mut of: impl FnMut(TenantId) -> &'s Subscriptions) -> Self {
        let mut keys = HashSet::new();
        let mut versions = HashMap::new();
        let (mut planned, mut followers) = (Vec::with_capacity(events.len()), Vec::new());
        for event in events {
            if let Some(once) = &event.once
                && !keys.insert((event.tenant, once.scope, once.key.clone()))
            {
                followers.push(event);
                continue;
            }
            let subscriptions = of(event.tenant);
            versions.insert(event.tenant, subscriptions.version());
            planned.push(subscriptions.plan(event, now));
        }
        Self { planned, followers, versions }
    }

    /// Takes the events back, to plan them again.
    pub fn into_events(self) -> Vec<NewEvent> {
        self.planned.into_iter().map(|planned| planned.event).chain(self.followers).collect()
    }

    /// The deliveries that it owes.
    pub fn width(&self) -> usize {
        self.planned.iter().map(|planned| planned.owed.len()).sum()
    }

    /// Writes the batch. Deliveries may be woken by the scheduler from `due_at` on.
    ///
    /// `again` is for a batch whose first write has an unknown outcome: it is written as it was planned, whatever
    /// has changed since, for it may be there already.
    pub async fn write(
        &self,
        conn: &mut PgConnection,
        now: Timestamp,
        due_at: Timestamp,
        again: bool,
    ) -> Result<Written, Error> {
        let wanted = self.ordered();
        if wanted.is_empty() {
            return self.write_rows(conn, now, due_at, again, Standings::default()).await;
        }
        let mut tx = conn.begin().await?;
        let standings = order::take(&mut tx, &wanted, now).await?;
        // Whoever wrote these rows before held the same keys, so by now that write has ended, one way or the other.
        if again && self.is_there(&mut tx).await? {
            tx.rollback().await?;
            return self.write_rows(conn, now, due_at, again, Standings::default()).await;
        }
        let written = self.write_rows(&mut tx, now, due_at, again, standings).await?;
        let Written::Done(receipts) = &written else {
            tx.rollback().await?;
            return Ok(written);
        };
        order::release(&mut tx, &self.not_written(receipts), now).await?;
        tx.commit().await?;
        Ok(written)
    }

    /// How many deliveries of each ordering key it owes.
    fn ordered(&self) -> Counts<'_> {
        Self::count(self.planned.iter())
    }

    /// How many of those were repeats, which nobody is owed.
    fn not_written(&self, receipts: &HashMap<EventId, Receipt>) -> Counts<'_> {
        let repeat = |planned: &&Planned| !matches!(receipts.get(&planned.event.id), Some(Receipt::Accepted { .. }));
        Self::count(self.planned.iter().filter(repeat))
    }

    fn count<'p>(planned: impl Iterator<Item = &'p Planned>) -> Counts<'p> {
        let mut counts = Counts::new();
        for Planned { event, owed, .. } in planned {
            let Some(key) = &event.ordering_key else { continue };
            for (_, webhook) in owed {
                *counts.entry((webhook.uuid(), key.as_str())).or_default() += 1;
            }
        }
        counts
    }

    /// Whether a former write of these very rows has come to be.
    async fn is_there(&self, conn: &mut PgConnection) -> Result<bool, Error> {
        let ids: Vec<Uuid> =
            self.planned.iter().flat_map(|planned| &planned.owed).map(|(delivery, _)| delivery.uuid()).collect();
        let found = sqlx::query_scalar("select exists (select from deliveries where id = any($1))");
        Ok(found.bind(ids).fetch_one(conn).await?)
    }

    async fn write_rows(
        &self,
        conn: &mut PgConnection,
        now: Timestamp,
        due_at: Timestamp,
        again: bool,
        standings: Standings,
    ) -> Result<Written, Error> {
        let rows = Columns::of(&self.planned, standings);
        let (tenants, versions): (Vec<Uuid>, Vec<i64>) =
            self.versions.iter().map(|(tenant, version)| (tenant.uuid(), *version)).unzip();
        let (fresh, won): (bool, Vec<Uuid>) = sqlx::query_as(WRITE)
            .bind(again)
            .bind(tenants)
            .bind(versions)
            .bind(rows.keys.tenant)
            .bind(rows.keys.scope)
            .bind(rows.keys.key)
            .bind(rows.keys.id)
            .bind(rows.keys.digest)
            .bind(rows.keys.until)
            .bind(now)
            .bind(rows.id)
            .bind(rows.tenant)
            .bind(rows.kind)
            .bind(rows.subject)
            .bind(rows.project)
            .bind(rows.ordering_key)
            .bind(rows.occurred_at)
            .bind(rows.state)
            .bind(rows.inbound)
            .bind(rows.trace)
            .bind(rows.payload)
            .bind(rows.guarded)
            .bind(due_at)
            .bind(rows.owed.id)
            .bind(rows.owed.tenant)
            .bind(rows.owed.event)
            .bind(rows.owed.webhook)
            .bind(rows.owed.guarded)
            .bind(rows.hops)
            .bind(rows.owed.ordering_key)
            .bind(rows.owed.seq)
            .bind(rows.owed.waits)
            .fetch_one(&mut *conn)
            .await?;
        if !fresh {
            return Ok(Written::Stale);
        }
        let won: HashSet<Uuid> = won.into_iter().collect();
        let mut receipts = HashMap::with_capacity(self.planned.len() + self.followers.len());
        let mut repeats: Vec<&NewEvent> = self.followers.iter().collect();
        for Planned { event, owed, spreading } in &self.planned {
            if event.once.is_some() && !won.contains(&event.id.uuid()) {
                repeats.push(event);
            } else {
                let ready =
                    |(delivery, _): &(DeliveryId, _)| (!rows.waiting.contains(&delivery.uuid())).then_some(*delivery);
                let deliveries = owed.iter().filter_map(ready).collect();
                receipts.insert(event.id, Receipt::Accepted { deliveries, spreading: *spreading });
            }
        }
        for event in &repeats {
            let Some(once) = &event.once else { continue };
            // A first that is gone by now had expired between two statements; the sender tries again.
            let (first, digest) = find_first(conn, event.tenant, once).await?.ok_or(Error::Inconsistent {
                table: "first_seen",
                row: once.key.clone(),
                what: "it expired while a repeat was answered",
            })?;
            let first = EventId::from(first);
            let receipt = if digest == once.digest.map(Vec::from) {
                Receipt::Repeat { first }
            } else {
                Receipt::Conflict { first }
            };
            receipts.insert(event.id, receipt);
        }
        Ok(Written::Done(receipts))
    }
}

/// The id and digest that a key stands for at present.
pub(crate) async fn find_first(
    conn: &mut PgConnection,
    tenant: TenantId,
    once: &Once,
) -> Result<Option<(Uuid, Option<Vec<u8>>)>, Error> {
    let first = sqlx::query_as("select id, digest from first_seen where tenant_id = $1 and scope = $2 and key = $3")
        .bind(tenant.uuid())
        .bind(once.scope)
        .bind(&once.key)
        .fetch_optional(conn);
    Ok(first.await?)
}

// `won` lists the guarded events that are the first of their key; the others are repeats. Keys are taken in
// order, so that two writers never wait for each other.
const WRITE: &str = "
with ok as materialized (
    select $1 or not exists (
        select from unnest($2::uuid[], $3::int8[]) as p (tenant_id, version)
        left join tenants t on t.id = p.tenant_id
        where t.config_version is distinct from p.version) as fresh
), won as (
    insert into first_seen as f (tenant_id, scope, key, id, digest, expires_at)
    select k.* from unnest($4::uuid[], $5::text[], $6::text[], $7::uuid[], $8::bytea[], $9::timestamptz[])
        as k (tenant_id, scope, key, id, digest, expires_at)
    where (select fresh from ok)
    order by k.tenant_id, k.scope, k.key
    on conflict (tenant_id, scope, key) do update
        set id = excluded.id, digest = excluded.digest, expires_at = excluded.expires_at
        where f.expires_at <= $10 or f.id = excluded.id
    returning f.id
), made as (
    insert into events (id, tenant_id, type, subject, project, ordering_key, occurred_at, accepted_at, state,
        due_at, inbound_id, trace, payload, hops)
    select e.id, e.tenant_id, e.type, e.subject, e.project, e.ordering_key, e.occurred_at, $10, e.state,
        case when e.state = 'spreading' then $23 end, e.inbound_id, e.trace, e.payload, e.hops
    from unnest($11::uuid[], $12::uuid[], $13::text[], $14::text[], $15::text[], $16::text[], $17::timestamptz[],
            $18::text[], $19::uuid[], $20::bytea[], $21::bytea[], $22::bool[], $29::int2[])
        as e (id, tenant_id, type, subject, project, ordering_key, occurred_at, state, inbound_id, trace, payload,
            guarded, hops)
    where (select fresh from ok) and (not e.guarded or e.id in (select id from won))
    on conflict (id) do nothing
), owed as (
    insert into deliveries (id, tenant_id, event_id, webhook_id, message_id, state, reason, due_at, ordering_key, seq)
    select d.id, d.tenant_id, d.event_id, d.webhook_id, d.id, case when d.waits then 'held' else 'pending' end,
        case when d.waits then 'order' end, $23, d.ordering_key, d.seq
    from unnest($24::uuid[], $25::uuid[], $26::uuid[], $27::uuid[], $28::bool[], $30::text[], $31::int8[],
            $32::bool[])
        as d (id, tenant_id, event_id, webhook_id, guarded, ordering_key, seq, waits)
    where (select fresh from ok) and (not d.guarded or d.event_id in (select id from won))
    on conflict (id) do nothing
)
select fresh, array(select id from won) from ok";
