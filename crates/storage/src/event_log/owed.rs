//! What events owe: the deliveries that were written with them, and those that repeat these.
//!
//! Deliveries have no index by event. They are made at the moment at which their event is accepted, or until the last
//! chunk of a wide fan-out, so the time that an id holds bounds the search.

use busbar_domain::Timestamp;
use busbar_domain::id::{DeliveryId, EventId, TenantId, WebhookId, first_at};
use chrono::TimeDelta;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// How far the clocks of an event and of its deliveries may differ.
const SLACK: TimeDelta = TimeDelta::milliseconds(10);

/// When the deliveries of an event were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The event.
    pub id: EventId,
    /// When the hub took it.
    pub accepted_at: Timestamp,
    /// When the last chunk of its fan-out was written, if that was wider than one transaction.
    pub spread_at: Option<Timestamp>,
}

impl Made {
    /// The ids between which its deliveries are.
    fn span(&self) -> (Uuid, Uuid) {
        let last = self.spread_at.map_or(self.accepted_at, |at| at.max(self.accepted_at));
        (first_at(self.accepted_at - SLACK), first_at(last + SLACK))
    }
}

/// One delivery that an event owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The delivery.
    pub id: DeliveryId,
    /// The event.
    pub event: EventId,
    /// To whom.
    pub webhook: WebhookId,
    /// Its state.
    pub state: String,
    /// The delivery that it repeats.
    pub replay_of: Option<DeliveryId>,
}

type Row = (Uuid, Uuid, Uuid, String, Uuid, Option<Uuid>);

/// What `events` owe, those that repeat others last, at most `each` of one event and `limit` in all.
pub async fn owed(
    conn: &mut PgConnection,
    tenant: TenantId,
    events: &[Made],
    each: i64,
    limit: i64,
) -> Result<Vec<Owed>, Error> {
    let (froms, befores): (Vec<Uuid>, Vec<Uuid>) = events.iter().map(Made::span).unzip();
    let mut rows: Vec<Row> = sqlx::query_as(
        "select d.* from unnest($2::uuid[], $3::uuid[], $4::uuid[]) as e (id, from_id, before_id)
         cross join lateral (
             select d.id, d.event_id, d.webhook_id, d.state, d.message_id, d.replay_of from deliveries d
             where d.tenant_id = $1 and d.id >= e.from_id and d.id < e.before_id and d.event_id = e.id
                 and d.replay_of is null
             limit $5) d
         limit $6",
    )
    .bind(tenant.uuid())
    .bind(events.iter().map(|made| made.id.uuid()).collect::<Vec<_>>())
    .bind(froms)
    .bind(befores)
    .bind(each)
    .bind(limit)
    .persistent(false)
    .fetch_all(&mut *conn)
    .await?;
    let messages: Vec<Uuid> = rows.iter().map(|(.., message, _)| *message).collect();
    let repeating: Vec<Row> = sqlx::query_as(
        "select d.* from unnest($2::uuid[]) as m (id)
         cross join lateral (
             select d.id, d.event_id, d.webhook_id, d.state, d.message_id, d.replay_of from deliveries d
             where d.message_id = m.id and d.replay_of is not null and d.tenant_id = $1
             limit $3) d
         limit $4",
    )
    .bind(tenant.uuid())
    .bind(messages)
    .bind(each)
    .bind(limit)
    .persistent(false)
    .fetch_all(conn)
    .await?;
    rows.extend(repeating);
    rows.sort_unstable_by_key(|(id, .., replay_of)| (replay_of.is_some(), *id));
    Ok(rows
        .into_iter()
        .map(|(id, event, webhook, state, _, replay_of)| Owed {
            id: id.into(),
            event: event.into(),
            webhook: webhook.into(),
            state,
            replay_of: replay_of.map(DeliveryId::from),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use busbar_domain::Clock;

    #[test]
    fn deliveries_are_sought_where_they_were_made() {
        let now = Clock::system().now();
        let at = |seconds: i64| DeliveryId::new(now + TimeDelta::seconds(seconds)).uuid();
        let made = Made { id: EventId::new(now - TimeDelta::seconds(3)), accepted_at: now, spread_at: None };
        let (from, before) = made.span();
        assert!(from <= at(0) && at(0) < before);
        assert!(at(-1) < from && before < at(1), "no longer than it takes");
        let (_, before) = Made { spread_at: Some(now + TimeDelta::seconds(9)), ..made }.span();
        assert!(at(9) < before && before < at(10));
    }
}
