//! What follows when calls die: a dead letter each, and a report of the connector whose calls die one after the other.
//! All of it belongs to the transaction that gives the calls up.

use std::collections::BTreeMap;

use busbar_domain::Timestamp;
use busbar_domain::event::{NewEvent, Once};
use busbar_domain::id::{ConnectorId, TenantId};
use busbar_domain::inbound::System;
use busbar_domain::operational::connector_unhealthy;
use busbar_storage::accept::Owed;
use busbar_storage::access::Plans;
use busbar_storage::dead_letters::{Kind, Letter, insert, streak};
use busbar_storage::inbound::Received;
use busbar_storage::settle::publish;
use busbar_storage::{Error, PgConnection};
use chrono::TimeDelta;

/// How long a connector that was reported is not reported again.
const HOUR: TimeDelta = TimeDelta::hours(1);

/// A call that is given up, and why: a stable word, and what there is to say beyond it after a colon.
pub(crate) type Dead<'c> = (&'c Received, &'c str);

/// Writes the dead letters of calls and reports connectors whose calls keep dying; answers what that owes.
pub(crate) async fn record(
    conn: &mut PgConnection,
    plans: &Plans,
    system: System,
    dead: &[Dead<'_>],
    now: Timestamp,
) -> Result<Owed, Error> {
    if dead.is_empty() {
        return Ok(Owed::default());
    }
    let letters: Vec<Letter> = dead.iter().map(|dead| letter(system, dead)).collect();
    insert(conn, &letters, now).await?;
    let mut events = Vec::new();
    for ((tenant, connector), reason) in last_reasons(dead) {
        if let Some(streak) = streak(conn, tenant, connector, now).await? {
            let count = (streak.deaths, streak.since);
            let event = connector_unhealthy(tenant, connector, reason, count, now);
            events.push(NewEvent { once: Some(once_an_hour(connector, now)), ..event });
        }
    }
    publish(conn, plans, events, now).await
}

fn letter(system: System, (call, reason): &Dead<'_>) -> Letter {
    let (word, sentence) = split(reason);
    Letter {
        id: call.id.uuid(),
        tenant: call.tenant,
        source: call.connector.uuid(),
        kind: Kind::Inbound,
        label: system.as_str().to_owned(),
        reason: word.to_owned(),
        error_class: None,
        status: None,
        error: sentence.map(str::to_owned),
    }
}

/// The reason's stable word, and what follows it.
fn split(reason: &str) -> (&str, Option<&str>) {
    reason.split_once(": ").map_or((reason, None), |(word, sentence)| (word, Some(sentence)))
}

/// Each connector with the last reason for which a call of it died, in key order.
fn last_reasons<'c>(dead: &[Dead<'c>]) -> BTreeMap<(TenantId, ConnectorId), &'c str> {
    dead.iter().map(|(call, reason)| ((call.tenant, call.connector), split(reason).0)).collect()
}

/// What makes the reports of one connector within one clock hour the same.
fn once_an_hour(connector: ConnectorId, now: Timestamp) -> Once {
    Once {
        scope: "connector.unhealthy",
        key: format!("{connector}/{}", now.timestamp() / HOUR.num_seconds()),
        digest: None,
        until: now + HOUR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use busbar_domain::Clock;

    #[test]
    fn a_reason_is_a_word_and_perhaps_a_sentence() {
        assert_eq!(split("internal"), ("internal", None));
        assert_eq!(split("invalid_body: /a: wrong"), ("invalid_body", Some("/a: wrong")));
    }

    #[test]
    fn reports_of_one_connector_are_the_same_within_the_hour() {
        let now = Clock::system().now();
        let start = now - TimeDelta::seconds(now.timestamp() % 3600);
        let connector = ConnectorId::new(now);
        let key = |at| once_an_hour(connector, at).key;
        assert_eq!(key(start), key(start + TimeDelta::minutes(59)));
        assert_ne!(key(start), key(start + HOUR));
        assert_ne!(key(start), once_an_hour(ConnectorId::new(now), start).key);
    }
}
