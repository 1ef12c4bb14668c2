//! Ends that concern more than one row: a dead delivery becomes a dead letter and an event, the end of an ordered one
//! releases the next, a receiver that is gone breaks its webhook. One transaction for the whole of it.

use std::collections::HashSet;

use busbar_domain::Timestamp;
use busbar_domain::delivery::{DeadReason, DeliveryState};
use busbar_domain::event::NewEvent;
use busbar_domain::id::{TenantId, WebhookId};
use busbar_domain::operational::{self, Dead};
use busbar_domain::subscription::Subscriptions;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::accept::{Owed, Publication, Written};
use crate::access::Plans;
use crate::claims::{Finished, finish};
use crate::dead_letters::{self, Letter};
use crate::due::WAKE_GRACE;
use crate::{Database, Error, order, snapshot, webhooks};

/// What was written, and what it leads to.
#[derive(Debug, Default)]
pub struct Settled {
    /// How many of the results were still ours.
    pub written: usize,
    /// What wants to be woken.
    pub owed: Owed,
}

/// Writes how claims ended with everything that follows from it.
pub async fn settle(
    database: &Database,
    plans: &Plans,
    finished: &[Finished],
    now: Timestamp,
) -> Result<Settled, Error> {
    let ids: Vec<Uuid> = finished.iter().map(|done| done.claim.delivery.uuid()).collect();
    let mut tx = database.begin().await?;
    order::lock(&mut tx, &ids).await?;
    // The same results may come again after an unknown outcome; what had ended before leads to nothing more.
    let open = lock_open(&mut tx, &ids).await?;
    let written = finish(&mut tx, finished, now).await?;
    let fresh: HashSet<Uuid> = written.iter().copied().filter(|id| open.contains(id)).collect();
    let ours = |done: &&Finished| fresh.contains(&done.claim.delivery.uuid());
    let ended: Vec<&Finished> =
        finished.iter().filter(ours).filter(|done| !matches!(done.state, DeliveryState::Retrying { .. })).collect();
    let ended_ids: Vec<Uuid> = ended.iter().map(|done| done.claim.delivery.uuid()).collect();
    let released = order::release_after(&mut tx, &ended_ids, now).await?;

    let letters: Vec<Letter> = ended.iter().filter_map(|done| letter(done)).collect();
    dead_letters::insert(&mut tx, &letters, now).await?;
    let mut events: Vec<NewEvent> = ended.iter().filter_map(|done| death(done, now)).collect();
    for (tenant, webhook) in gone(&ended) {
        if webhooks::break_active(&mut tx, webhook, "gone", now).await? {
            tracing::warn!(%webhook, "a receiver is gone; its webhook is disabled");
            events.push(operational::webhook_disabled(tenant, webhook, "gone", now));
            snapshot::bump(&mut tx, tenant, now).await?;
        }
    }
    let mut owed = publish(&mut tx, plans, events, now).await?;
    tx.commit().await?;
    owed.deliveries.extend(released);
    owed.deliveries.sort_unstable();
    Ok(Settled { written: written.len(), owed })
}

/// Publishes what the hub reports, within the transaction that makes it true.
pub async fn publish(
    conn: &mut PgConnection,
    plans: &Plans,
    mut events: Vec<NewEvent>,
    now: Timestamp,
) -> Result<Owed, Error> {
    if events.is_empty() {
        return Ok(Owed::default());
    }
    loop {
        // A change of this very transaction cannot be seen from outside, so what is cached does not help.
        let known = plans.read(conn, events.iter().map(|event| event.tenant)).await?;
        let none = Subscriptions::default();
        let of = |tenant: TenantId| known.get(&tenant).unwrap_or(&none);
        let publication = Publication::plan(events, now, of);
        match publication.write(conn, now, now + WAKE_GRACE, false).await? {
            Written::Done(receipts) => return Ok(Owed::by(&receipts)),
            Written::Stale => events = publication.into_events(),
        }
    }
}

/// Locks those of `ids` that have not ended, in key order.
async fn lock_open(conn: &mut PgConnection, ids: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
    let open: Vec<Uuid> =
        sqlx::query_scalar("select id from deliveries where id = any($1) and state = any($2) order by id for update")
            .bind(ids)
            .bind(&["pending", "retrying", "held"][..])
            .fetch_all(conn)
            .await?;
    Ok(open.into_iter().collect())
}

/// The dead letter of a result; a test that failed has told who asked.
fn letter(done: &Finished) -> Option<Letter> {
    let (DeliveryState::Dead { reason }, Some(about)) = (&done.state, &done.about) else { return None };
    let attempt = done.attempt.as_ref();
    (!about.test).then(|| Letter {
        id: done.claim.delivery.uuid(),
        tenant: about.tenant,
        source: about.webhook.uuid(),
        kind: dead_letters::Kind::Delivery,
        label: about.kind.clone(),
        reason: reason.as_str().to_owned(),
        error_class: attempt.and_then(|attempt| attempt.error_class).map(str::to_owned),
        status: attempt.and_then(|attempt| attempt.status).and_then(|status| i16::try_from(status).ok()),
        error: attempt.and_then(|attempt| attempt.error.clone()),
    })
}

fn death(done: &Finished, now: Timestamp) -> Option<NewEvent> {
    let (DeliveryState::Dead { reason }, Some(about)) = (&done.state, &done.about) else { return None };
    let attempt = done.attempt.as_ref();
    let dead = Dead {
        delivery: done.claim.delivery.uuid(),
        webhook: about.webhook,
        event: about.event,
        kind: &about.kind,
        reason: reason.as_str(),
        attempts: about.attempts,
        status: attempt.and_then(|attempt| attempt.status),
        error: attempt.and_then(|attempt| attempt.error.as_deref()),
    };
    if about.test { None } else { operational::delivery_dead(about.tenant, &dead, now) }
}

/// The webhooks whose receivers said 410, each once, in key order.
fn gone(ended: &[&Finished]) -> Vec<(TenantId, WebhookId)> {
    let mut gone: Vec<_> = ended
        .iter()
        .filter(|done| matches!(done.state, DeliveryState::Dead { reason: DeadReason::Gone }))
        .filter_map(|done| done.about.as_ref().filter(|about| !about.test))
        .map(|about| (about.tenant, about.webhook))
        .collect();
    gone.sort_unstable_by_key(|(_, webhook)| *webhook);
    gone.dedup();
    gone
}
