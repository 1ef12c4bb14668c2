//! The log of deliveries: each way in reads its own index and only the weeks it needs, and a page is bounded.

use std::collections::HashSet;

use busbar_domain::id::{TenantId, first_at};
use busbar_storage::delivery_log::{self, Filled, Filter, Sample};
use busbar_storage::event_log::{self, Made};
use chrono::{Datelike as _, TimeDelta};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use crate::place::{Place, now};

const SCANS: &str = include_str!("../../src/delivery_log/scan.rs");

pub(crate) fn everything<'f>() -> Filter<'f> {
    let (from, until, before) = (Uuid::nil(), Uuid::max(), Uuid::max());
    Filter { state: None, webhook: None, kind: None, text: None, from, until, before, limit: 50 }
}

/// The statement that the constant `name` holds.
fn statement(name: &str) -> &'static str {
    let start = format!("const {name}: &str = \"");
    SCANS.split(&start).nth(1).and_then(|rest| rest.split("\";").next()).unwrap()
}

/// The plan of a way in for these very values, in a transaction that may not sort.
async fn plan(place: &Place, name: &str, kinds: &str, values: &str) -> String {
    let mut conn = place.connection().await;
    let script = format!(
        "begin; set local enable_sort = off; prepare page ({kinds}) as {}; explain (costs off) execute page ({values})",
        statement(name)
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(script)).fetch_all(&mut *conn).await.unwrap();
    sqlx::raw_sql("rollback; deallocate page").execute(&mut *conn).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect()
}

/// A log of about so many attempts over five weeks.
async fn filled(place: &Place, attempts: i64) -> Filled {
    let sample = Sample { attempts, weeks: 5, tenants: 4, webhooks: 20 };
    delivery_log::fill(&mut *place.connection().await, sample, now()).await.unwrap()
}

/// The ids of all pages, and how many pages there were.
async fn pages(place: &Place, tenant: TenantId, filter: &Filter<'_>) -> (Vec<Uuid>, usize) {
    let (mut ids, mut pages, mut filter) = (Vec::new(), 0, filter.clone());
    loop {
        let listed = delivery_log::list(&mut *place.connection().await, tenant, &filter).await.unwrap();
        assert!(listed.rows.len() <= filter.limit);
        ids.extend(listed.rows.iter().map(|row| row.id));
        pages += 1;
        let Some(next) = listed.next else { return (ids, pages) };
        assert!(next < filter.before, "every page gets on");
        filter.before = next;
    }
}

#[tokio::test]
async fn every_way_in_reads_its_own_index_and_only_the_weeks_of_the_filter() {
    let place = Place::make().await;
    let filled = filled(&place, 250_000).await;
    let (tenant, hook) = (filled.tenants[0].uuid(), filled.webhooks[0].uuid());
    // Two days in the middle of a past week.
    let monday = now().date_naive().week(chrono::Weekday::Mon).first_day() - TimeDelta::weeks(2);
    let since = monday.and_hms_opt(0, 0, 0).unwrap().and_utc() + TimeDelta::days(2);
    let week = monday.iso_week();
    let partition = format!("deliveries_{}w{:02}", week.year(), week.week());
    let span = format!("'{}', '{}'", first_at(since), first_at(since + TimeDelta::days(2)));
    let all = format!("'{}', '{}'", Uuid::nil(), Uuid::max());
    let three = "uuid, uuid, uuid, int8";
    for (name, kinds, owner, last, index) in [
        ("TENANT", three, tenant, "51", "tenant_id_id_idx"),
        ("TENANT", three, filled.tenants[3].uuid(), "5000", "tenant_id_id_idx"),
        ("TENANT", three, Uuid::max(), "5000", "tenant_id_id_idx"),
        ("WEBHOOK", "uuid, uuid, uuid, int8, uuid", hook, &format!("5000, '{tenant}'"), "webhook_id_id_idx"),
        ("RETRYING", three, tenant, "5000", "tenant_id_state_id_idx"),
        ("HELD", three, tenant, "5000", "tenant_id_state_id_idx"),
        ("DEAD", three, tenant, "51", "tenant_id_state_id_idx"),
        ("CANCELLED", three, tenant, "5000", "tenant_id_state_id_idx"),
        ("PENDING", three, tenant, "5001", "tenant_id_rank_due_at_idx"),
    ] {
        for (bounds, parts) in [(&all, 8), (&span, 1)] {
            let plan = plan(&place, name, kinds, &format!("'{owner}', {bounds}, {last}")).await;
            let scans: Vec<&str> = plan.lines().filter(|line| line.contains(" on deliveries_")).collect();
            assert_eq!(scans.len(), parts, "{name}\n{plan}");
            assert!(scans.iter().all(|scan| scan.contains("Index") && scan.contains(index)), "{name}\n{plan}");
            assert!(!plan.contains("Sort\n") && !plan.contains("Seq Scan on deliveries"), "{name}\n{plan}");
            assert_eq!(plan.contains("deliveries_rest"), parts > 1, "{name}\n{plan}");
            assert!(scans.iter().any(|scan| scan.contains(&partition)), "{name}\n{plan}");
        }
    }
    place.end().await;
}

#[tokio::test]
async fn what_is_rare_is_found_over_pages_that_look_at_a_bounded_number_of_rows() {
    let place = Place::make().await;
    let filled = filled(&place, 125_000).await;
    let rare = Filter { kind: Some("order.rare"), ..everything() };
    let (ids, count) = pages(&place, filled.tenants[0], &rare).await;
    assert_eq!(ids.len(), 6, "three events, owed to two webhooks each");
    assert!(count >= 25, "a page looked at more than 2,000 rows: {count} pages");
    let mut sorted = ids.clone();
    sorted.sort_unstable_by(|one, other| other.cmp(one));
    sorted.dedup();
    assert_eq!(ids, sorted);
    assert!(pages(&place, filled.tenants[1], &rare).await.0.is_empty());

    let place_of = async |statement: &str| place.ask(statement).await.parse::<usize>().unwrap();
    let (dead, _) = pages(&place, filled.tenants[0], &Filter { state: Some("dead"), limit: 200, ..everything() }).await;
    let tenant = filled.tenants[0];
    let counted = format!("select count(*) from deliveries where state = 'dead' and tenant_id = '{tenant}'");
    assert_eq!(dead.len(), place_of(&counted).await);
    let hook = Some(filled.webhooks[3]);
    let of_hook = Filter { webhook: hook, state: Some("succeeded"), limit: 200, ..everything() };
    let counted =
        format!("select count(*) from deliveries where state = 'succeeded' and webhook_id = '{}'", filled.webhooks[3]);
    assert_eq!(pages(&place, tenant, &of_hook).await.0.len(), place_of(&counted).await);
    let stranger = pages(&place, filled.tenants[1], &Filter { webhook: hook, ..everything() }).await;
    assert_eq!(stranger, (Vec::new(), 1), "another tenant's webhook has no log here");
    let three_days = first_at(now() - TimeDelta::days(3));
    let recent = pages(&place, tenant, &Filter { from: three_days, limit: 200, ..everything() }).await;
    let counted = format!("select count(*) from deliveries where tenant_id = '{tenant}' and id >= '{three_days}'");
    assert_eq!(recent.0.len(), place_of(&counted).await);
    let (pending, _) = pages(&place, tenant, &Filter { state: Some("pending"), ..everything() }).await;
    assert_eq!(pending.len(), 250);
    let older = Filter { state: Some("pending"), until: three_days, ..everything() };
    assert!(pages(&place, tenant, &older).await.0.is_empty());
    place.end().await;
}

#[tokio::test]
async fn a_long_backlog_is_listed_to_its_end() {
    let place = Place::make().await;
    let webhook = place.webhook("a").await;
    for _ in 0..6 {
        place.accept((0..900).map(|_| place.event("a", None, None)).collect()).await;
    }
    let pending = Filter { state: Some("pending"), limit: 200, ..everything() };
    let (ids, _) = pages(&place, place.tenant, &pending).await;
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 5400);
    let of_webhook = Filter { webhook: Some(webhook), ..pending.clone() };
    assert_eq!(pages(&place, place.tenant, &of_webhook).await.0, ids);
    place.run("update deliveries set state = 'succeeded' where id in (select id from deliveries limit 400)").await;
    assert_eq!(pages(&place, place.tenant, &pending).await.0.len(), 5000);
    place.end().await;
}

#[tokio::test]
async fn an_event_shows_what_it_owes_and_what_repeats_that() {
    let place = Place::make().await;
    place.webhook("a").await;
    place.webhook("a").await;
    let events: Vec<_> = (0..30).map(|_| place.event("a", None, None)).collect();
    let id = events[7].id;
    place.accept(events).await;
    let mut conn = place.connection().await;
    let found = event_log::find(&mut conn, place.tenant, id).await.unwrap().unwrap();
    let owed = event_log::owed(&mut conn, place.tenant, &[found.made()], 10, 10).await.unwrap();
    assert_eq!((owed.len(), owed[0].event, owed[0].replay_of), (2, id, None));
    let first = owed[0].id;
    place
        .run(&format!(
            "insert into deliveries (id, tenant_id, event_id, webhook_id, message_id, replay_of, state, due_at)
             select gen_random_uuid(), tenant_id, event_id, webhook_id, message_id, id, 'pending', now()
             from deliveries where id = '{first}'"
        ))
        .await;
    let made: Made = found.made();
    let owed = event_log::owed(&mut conn, place.tenant, &[made], 10, 10).await.unwrap();
    assert_eq!((owed.len(), owed[2].replay_of, owed[2].webhook), (3, Some(first), owed[0].webhook));
    let one = event_log::owed(&mut conn, place.tenant, &[made], 1, 10).await.unwrap();
    assert!(one.len() <= 2, "one, and what repeats it");
    let stranger = TenantId::new(now());
    assert!(event_log::owed(&mut conn, stranger, &[made], 10, 10).await.unwrap().is_empty());
    drop(conn);
    place.end().await;
}
