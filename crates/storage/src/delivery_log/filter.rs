//! One page of the log: the way in that fits the filter, and what is left of the filter over a bounded number of rows.

use std::collections::{HashMap, HashSet};

use busbar_domain::id::{TenantId, WebhookId};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::record::{self, DeliveryRecord};
use super::scan::{Scanned, Span, Trouble, Way, scan};
use super::search;
use crate::Error;
use crate::page::{Page, Steps, forbid_sorting};

/// The most rows that one page looks at.
pub const MOST_SCANNED: usize = 5000;
/// The most rows whose events are looked up for their type.
const MOST_BY_TYPE: usize = 2000;
/// How many rows are looked at first where not all of them may fit; then four times as many, and so on.
const FIRST: usize = 250;

/// Which deliveries of a tenant are listed.
#[derive(Clone, Debug)]
pub struct Filter<'f> {
    /// In this state only.
    pub state: Option<&'f str>,
    /// To this webhook only.
    pub webhook: Option<WebhookId>,
    /// Of events of this type only.
    pub kind: Option<&'f str>,
    /// With this id, event, message, trace, subject or ordering key only; holds no NUL.
    pub text: Option<&'f str>,
    /// With ids from this one on.
    pub from: Uuid,
    /// With ids below this one.
    pub until: Uuid,
    /// After the page that ended with this id.
    pub before: Uuid,
    /// At most this many.
    pub limit: usize,
}

/// One page of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The deliveries, newest first; fewer than asked for where the rows that were looked at hold no more.
    pub rows: Vec<DeliveryRecord>,
    /// What the next page goes before; none after the last one.
    pub next: Option<Uuid>,
}

/// Deliveries of `tenant`, newest first. What it costs is bounded, whatever the filter and however long the log.
pub async fn list(conn: &mut PgConnection, tenant: TenantId, filter: &Filter<'_>) -> Result<Listed, Error> {
    let mut tx = conn.begin().await?;
    forbid_sorting(&mut tx).await?;
    let page = match filter.text {
        Some(text) => found(&mut tx, tenant, text, filter).await?,
        None => scanned(&mut tx, tenant, filter).await?,
    };
    tx.commit().await?;
    let rows = record::read(conn, tenant, &page.rows).await?;
    Ok(Listed { rows, next: page.next })
}

/// The page of what a text names.
async fn found(
    conn: &mut PgConnection,
    tenant: TenantId,
    text: &str,
    filter: &Filter<'_>,
) -> Result<Page<Uuid>, Error> {
    let mut rows = search::search(conn, tenant, text, filter.until).await?;
    rows.retain(|row| row.id >= filter.from && row.id < filter.until.min(filter.before));
    whole(conn, rows, filter).await
}

/// The page out of all rows that there are.
async fn whole(conn: &mut PgConnection, rows: Vec<Scanned>, filter: &Filter<'_>) -> Result<Page<Uuid>, Error> {
    let mut page = Page::new(filter.limit);
    page.take(fitting(conn, rows, filter).await?, |id| *id);
    Ok(page)
}

/// The page out of the rows of a way, looked at step by step.
async fn scanned(conn: &mut PgConnection, tenant: TenantId, filter: &Filter<'_>) -> Result<Page<Uuid>, Error> {
    let mut span = Span { from: filter.from, before: filter.until.min(filter.before) };
    if filter.state == Some("pending") {
        let rows = scan(conn, tenant, Way::Pending, span, MOST_SCANNED + 1).await?;
        if rows.len() <= MOST_SCANNED {
            return whole(conn, rows, filter).await;
        }
    }
    let way = way(filter);
    let first = if all_fit(filter, way) { filter.limit + 1 } else { FIRST };
    let most = if filter.kind.is_some() { MOST_BY_TYPE } else { MOST_SCANNED };
    let mut page = Page::new(filter.limit);
    for step in Steps::new(first, most) {
        let rows = scan(conn, tenant, way, span, step).await?;
        let is_end = rows.len() < step;
        span.before = rows.last().map_or(span.before, |row| row.id);
        if page.take(fitting(conn, rows, filter).await?, |id| *id) || is_end {
            return Ok(page);
        }
    }
    page.next = Some(span.before);
    Ok(page)
}

/// The way in that leaves least to be looked at in vain.
fn way(filter: &Filter<'_>) -> Way {
    match (filter.state.and_then(Trouble::parse), filter.webhook) {
        (Some(trouble), _) => Way::Trouble(trouble),
        (None, Some(webhook)) => Way::Webhook(webhook),
        (None, None) => Way::Tenant,
    }
}

/// Whether every row of the way fits the filter.
fn all_fit(filter: &Filter<'_>, way: Way) -> bool {
    let by_state = filter.state.is_none() || matches!(way, Way::Trouble(_));
    let by_webhook = filter.webhook.is_none() || matches!(way, Way::Webhook(_));
    by_state && by_webhook && filter.kind.is_none()
}

/// The ids of those of `rows` that fit the filter, in their order.
async fn fitting(conn: &mut PgConnection, mut rows: Vec<Scanned>, filter: &Filter<'_>) -> Result<Vec<Uuid>, Error> {
    rows.retain(|row| {
        filter.state.is_none_or(|state| row.state == state)
            && filter.webhook.is_none_or(|webhook| row.webhook_id == webhook.uuid())
    });
    if let Some(kind) = filter.kind {
        let known = types(conn, &rows).await?;
        rows.retain(|row| known.get(&row.event_id).is_some_and(|known| known == kind));
    }
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// The types of the events of `rows`.
async fn types(conn: &mut PgConnection, rows: &[Scanned]) -> Result<HashMap<Uuid, String>, Error> {
    let events: HashSet<Uuid> = rows.iter().map(|row| row.event_id).collect();
    let known: Vec<(Uuid, Option<String>)> = sqlx::query_as(
        "select o.id, (select e.type from events e where e.id = o.id) as type from unnest($1::uuid[]) as o (id)",
    )
    .bind(events.into_iter().collect::<Vec<_>>())
    .persistent(false)
    .fetch_all(conn)
    .await?;
    Ok(known.into_iter().filter_map(|(id, kind)| Some((id, kind?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use busbar_domain::Clock;

    fn filter<'f>(state: Option<&'f str>, webhook: Option<WebhookId>, kind: Option<&'f str>) -> Filter<'f> {
        let (from, until, before) = (Uuid::nil(), Uuid::max(), Uuid::max());
        Filter { state, webhook, kind, text: None, from, until, before, limit: 50 }
    }

    #[test]
    fn a_filter_has_one_way_in() {
        let hook = WebhookId::new(Clock::system().now());
        let dead = Way::Trouble(Trouble::Dead);
        for (state, webhook, kind, expected, all) in [
            (None, None, None, Way::Tenant, true),
            (Some("succeeded"), None, None, Way::Tenant, false),
            (Some("pending"), None, None, Way::Tenant, false),
            (None, None, Some("a"), Way::Tenant, false),
            (Some("dead"), None, None, dead, true),
            (Some("dead"), None, Some("a"), dead, false),
            (Some("dead"), Some(hook), None, dead, false),
            (None, Some(hook), None, Way::Webhook(hook), true),
            (Some("succeeded"), Some(hook), None, Way::Webhook(hook), false),
        ] {
            let filter = filter(state, webhook, kind);
            assert_eq!((way(&filter), all_fit(&filter, expected)), (expected, all), "{filter:?}");
        }
    }
}
