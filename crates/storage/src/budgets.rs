//! A pace that several processes share: each call uses up its interval of one row's time, so calls are spread evenly
//! whoever makes them (the generic cell rate algorithm of ITU-T I.371, appendix I).

use std::collections::HashMap;
use std::time::Duration;

use busbar_domain::Timestamp;
use busbar_domain::id::WebhookId;
use chrono::TimeDelta;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::Error;

/// What one process wants of a webhook's pace.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// The webhook.
    pub webhook: WebhookId,
    /// Its calls per second, over all processes.
    pub rate: u32,
    /// How many this process could make now.
    pub count: u32,
}

/// Takes from each pace what may be called within the next `ahead`; answers how much was granted, in the order of
/// `wants`, which are sorted by webhook, so that two processes never wait for each other.
pub async fn take(conn: &mut PgConnection, wants: &[Want], ahead: Duration, now: Timestamp) -> Result<Vec<u32>, Error> {
    let keys: Vec<Uuid> = wants.iter().map(|want| want.webhook.uuid()).collect();
    let mut tx = conn.begin().await?;
    let used: Vec<(Uuid, Timestamp)> = sqlx::query_as(
        "insert into budgets as b (key, used_until) select key, $2 from unnest($1::uuid[]) as w (key) order by key
         on conflict (key) do update set used_until = greatest(b.used_until, $2) returning b.key, b.used_until",
    )
    .bind(&keys)
    .bind(now)
    .fetch_all(&mut *tx)
    .await?;
    let used: HashMap<Uuid, Timestamp> = used.into_iter().collect();
    let mut granted = Vec::with_capacity(wants.len());
    let mut until = Vec::with_capacity(wants.len());
    for want in wants {
        let used_until = used.get(&want.webhook.uuid()).copied().unwrap_or(now);
        let (count, next) = grant(*want, used_until, ahead, now);
        granted.push(count);
        until.push(next);
    }
    sqlx::query(
        "update budgets b set used_until = u.used_until from unnest($1::uuid[], $2::timestamptz[]) as u (key, used_until)
         where b.key = u.key",
    )
    .bind(&keys)
    .bind(until)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(granted)
}

/// How many calls may begin until `now + ahead`, and up to when they use the pace.
fn grant(want: Want, used_until: Timestamp, ahead: Duration, now: Timestamp) -> (u32, Timestamp) {
    let interval = TimeDelta::nanoseconds(1_000_000_000 / i64::from(want.rate.max(1)));
    let end = now + ahead;
    let mut until = used_until.max(now);
    let mut count = 0;
    while count < want.count && until < end {
        until += interval;
        count += 1;
    }
    (count, until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_spread_evenly_however_many_are_wanted() {
        let start = busbar_domain::Clock::system().now();
        let webhook = WebhookId::new(start);
        for rate in [1, 5, 100, 1000] {
            let (mut used, mut made) = (start, 0);
            for round in 0..100 {
                let now = start + TimeDelta::milliseconds(100 * round);
                let want = Want { webhook, rate, count: 1_000_000 };
                let (count, until) = grant(want, used, Duration::from_millis(100), now);
                used = until;
                made += count;
                let allowed = f64::from(rate) * 0.1 * f64::from(u32::try_from(round).unwrap() + 1) + 1.0;
                assert!(f64::from(made) <= allowed, "{made} in {} ms at {rate}/s", 100 * (round + 1));
            }
            assert!(made >= rate * 10 - 1, "{made} in 10 s at {rate}/s");
        }
    }

    #[test]
    fn what_was_not_used_does_not_pile_up() {
        let start = busbar_domain::Clock::system().now();
        let want = Want { webhook: WebhookId::new(start), rate: 10, count: 100 };
        let later = start + TimeDelta::seconds(60);
        assert_eq!(grant(want, start, Duration::from_millis(100), later).0, 1);
        assert_eq!(grant(Want { count: 0, ..want }, start, Duration::from_millis(100), later).0, 0);
    }
}
