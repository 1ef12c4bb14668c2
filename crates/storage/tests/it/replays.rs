//! Replay jobs: what they take, in which order, at which pace, and that each original is taken once.

use busbar_domain::Timestamp;
use busbar_domain::id::{TenantId, WebhookId, first_at};
use busbar_storage::replays::{self, Counted, Ended, Filter, Job, JobState, Step};
use busbar_storage::tenants::{self, Plan, Tenant};
use chrono::TimeDelta;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::place::{Place, now};

/// Later than anything that a test makes.
fn later() -> Timestamp {
    now() + TimeDelta::seconds(1)
}

fn filter(ended: Ended, webhook: Option<WebhookId>) -> Filter {
    Filter { ended, webhook, kind: None, from: Uuid::nil(), before: first_at(later()) }
}

/// A running job that may make everything at once.
async fn job(place: &Place, filter: Filter, rate_per_second: i32) -> Uuid {
    let now = now();
    let job = Job {
        id: Uuid::now_v7(),
        tenant: place.tenant,
        state: JobState::Running,
        dry_run: false,
        rate_per_second,
        position: filter.from,
        filter,
        total: None,
        made: 0,
        skipped: 0,
        paced_at: now - TimeDelta::seconds(1),
        created_by: Uuid::nil(),
        created_at: now,
        updated_at: now,
        finished_at: None,
    };
    replays::insert(&mut *place.connection().await, &job).await.unwrap();
    job.id
}

async fn step(place: &Place, job: Uuid, now: Timestamp) -> Option<Step> {
    replays::step(&mut *place.connection().await, job, now).await.unwrap()
}

/// Takes steps, a second apart and with nothing left pending between them, until the job is done.
async fn run_out(place: &Place, job: Uuid) -> usize {
    let mut made = 0;
    for second in 0..1_000 {
        let step = step(place, job, later() + TimeDelta::seconds(second)).await.unwrap();
        made += step.made.len();
        place.run("update deliveries set state = 'succeeded' where replay_id is not null").await;
        if step.done {
            return made;
        }
    }
    panic!("the job does not end");
}

async fn count(place: &Place, filter: &Filter) -> i64 {
    match replays::count(&place.database, place.tenant, filter).await.unwrap() {
        Counted::Total(total) => total,
        other => panic!("{other:?}"),
    }
}

/// Accepts events of a type and gives their deliveries a state.
async fn ended(place: &Place, kind: &str, count: usize, state: &str) {
    place.accept((0..count).map(|_| place.event(kind, None, None)).collect()).await;
    place.run(&format!("update deliveries set state = '{state}' where state = 'pending' and replay_id is null")).await;
}

#[tokio::test]
async fn a_replay_owes_each_original_once_more_in_order_and_under_its_id() {
    let place = Place::make().await;
    place.webhook("a").await;
    ended(&place, "a", 30, "dead").await;
    place.run("update deliveries set body = 'edited' where id = (select id from deliveries limit 1)").await;
    let id = job(&place, filter(Ended::Dead, None), 100).await;
    let first = step(&place, id, later()).await.unwrap();
    assert_eq!((first.made.len(), first.done), (10, false), "a tenth of a second's worth");
    assert_eq!(run_out(&place, id).await, 20);

    let pairs = "from deliveries c join deliveries o on o.id = c.replay_of where c.replay_id is not null";
    let same = "c.message_id = o.message_id and c.event_id = o.event_id and c.webhook_id = o.webhook_id
        and c.body is not distinct from o.body and c.rank = 2 and c.attempts = 0";
    assert_eq!(place.ask(&format!("select count(*) {pairs} and {same}")).await, "30");
    assert_eq!(place.ask(&format!("select count(distinct o.id) {pairs}")).await, "30");
    let order = "select string_agg(o.id::text, '' order by c.id) = string_agg(o.id::text, '' order by o.id)";
    assert_eq!(place.ask(&format!("{order} {pairs}")).await, "true");
    assert_eq!(place.ask("select state || ' ' || made || ' ' || skipped from replays").await, "done 30 0");
    assert!(step(&place, id, later()).await.is_none(), "what is done makes no step");
    place.end().await;
}

#[tokio::test]
async fn a_replay_takes_what_its_filter_names_and_counts_the_same() {
    let place = Place::make().await;
    let (one, _two) = (place.webhook("a.*").await, place.webhook("a.x").await);
    ended(&place, "a.x", 3, "dead").await;
    ended(&place, "a.y", 4, "dead").await;
    let middle = place.ask("select max(id::text) from deliveries").await.parse::<Uuid>().unwrap();
    ended(&place, "a.y", 5, "succeeded").await;
    ended(&place, "a.x", 6, "cancelled").await;
    ended(&place, "a.x", 2, "held").await;
    place.accept(vec![place.event("a.x", None, None)]).await;

    let base = |ended| filter(ended, None);
    let of_type = |ended, kind: &str| Filter { kind: Some(kind.to_owned()), ..filter(ended, None) };
    let cases = [
        (base(Ended::Dead), 10),
        (base(Ended::Succeeded), 5),
        (base(Ended::Cancelled), 12),
        (filter(Ended::Dead, Some(one)), 7),
        (filter(Ended::Succeeded, Some(one)), 5),
        (filter(Ended::Cancelled, Some(one)), 6),
        (of_type(Ended::Dead, "a.x"), 6),
        (of_type(Ended::Succeeded, "a.x"), 0),
        (Filter { webhook: Some(one), ..of_type(Ended::Dead, "a.y") }, 4),
        (Filter { before: middle, ..base(Ended::Dead) }, 9),
        (Filter { from: middle, ..base(Ended::Dead) }, 0),
        (Filter { from: middle, ..base(Ended::Succeeded) }, 5),
    ];
    for (filter, expected) in cases {
        assert_eq!(count(&place, &filter).await, expected, "{filter:?}");
        let id = job(&place, filter.clone(), 2_000).await;
        assert_eq!(i64::try_from(run_out(&place, id).await).unwrap(), expected, "{filter:?}");
    }
    place.end().await;
}

#[tokio::test]
async fn a_replay_takes_neither_tests_nor_children_nor_what_is_another_tenants() {
    let place = Place::make().await;
    let webhook = place.webhook("a").await;
    ended(&place, "a", 4, "dead").await;
    place.run("update deliveries set test = true where id = (select id from deliveries order by id limit 1)").await;
    let id = job(&place, filter(Ended::Dead, None), 100).await;
    assert_eq!(run_out(&place, id).await, 3);
    place.run("update deliveries set state = 'dead'").await;
    for webhook in [None, Some(webhook)] {
        let again = job(&place, filter(Ended::Dead, webhook), 100).await;
        assert_eq!(run_out(&place, again).await, 3, "the children of a job are nobody's originals");
        place.run("update deliveries set state = 'dead'").await;
    }
    let one = "(select id from deliveries where replay_id is not null order by id limit 1)";
    place.run(&format!("update deliveries set replay_id = null where id = {one}")).await;
    assert_eq!(count(&place, &filter(Ended::Dead, None)).await, 4, "a single replay is one");

    let tenant = Tenant { id: TenantId::new(now()), name: "b".into(), plan: Plan::Free, created_at: now() };
    tenants::insert(&mut *place.connection().await, &tenant).await.unwrap();
    place.run("update deliveries set state = 'succeeded'").await;
    for webhook in [None, Some(webhook)] {
        for ended in Ended::ALL {
            let wanted = filter(ended, webhook);
            let counted = replays::count(&place.database, tenant.id, &wanted).await.unwrap();
            assert_eq!(counted, Counted::Total(0));
            let id = job(&place, wanted, 100).await;
            place.run(&format!("update replays set tenant_id = '{}' where id = '{id}'", tenant.id)).await;
            assert_eq!(run_out(&place, id).await, 0);
        }
    }
    place.end().await;
}

#[tokio::test]
async fn what_is_owed_to_a_webhook_that_takes_nothing_is_passed_over() {
    let place = Place::make().await;
    for (kind, change) in [("a", "status = 'disabled'"), ("b", "deleted_at = now()"), ("c", "status = 'paused'")] {
        let webhook = place.webhook(kind).await;
        ended(&place, kind, 2, "dead").await;
        place.run(&format!("update webhooks set {change} where id = '{}'", webhook.uuid())).await;
    }
    let id = job(&place, filter(Ended::Dead, None), 100).await;
    assert_eq!(run_out(&place, id).await, 2, "a paused webhook is owed everything");
    assert_eq!(place.ask("select made || ' ' || skipped from replays").await, "2 4");
    place.end().await;
}

#[tokio::test]
async fn a_replay_waits_while_a_seconds_worth_is_pending() {
    let place = Place::make().await;
    place.webhook("a").await;
    ended(&place, "a", 300, "dead").await;
    let id = job(&place, filter(Ended::Dead, None), 100).await;
    let mut made = 0;
    for second in 0..30 {
        made += step(&place, id, later() + TimeDelta::seconds(second)).await.unwrap().made.len();
    }
    assert_eq!(made, 100);
    place.run("update deliveries set state = 'succeeded' where replay_id is not null").await;
    let at = later() + TimeDelta::seconds(30);
    assert_eq!(step(&place, id, at).await.unwrap().made.len(), 10, "what was waited for is not made up for");
    let soon = step(&place, id, at + TimeDelta::milliseconds(50)).await.unwrap();
    assert!(soon.made.len() <= 10, "{}", soon.made.len());
    place.end().await;
}

#[tokio::test]
async fn many_schedulers_at_once_make_each_delivery_once() {
    let place = Place::make().await;
    place.webhook("a").await;
    ended(&place, "a", 400, "dead").await;
    let id = job(&place, filter(Ended::Dead, None), 2_000).await;
    let mut rounds = 0;
    while place.ask("select state from replays").await != "done" {
        let at = later() + TimeDelta::seconds(rounds);
        futures_util::future::join_all((0..4).map(|_| step(&place, id, at))).await;
        rounds += 1;
        assert!(rounds < 100, "the job does not end");
    }
    let children = "from deliveries where replay_id is not null";
    assert_eq!(place.ask(&format!("select count(*) || ' ' || count(distinct replay_of) {children}")).await, "400 400");
    assert_eq!(place.ask("select made from replays").await, "400");
    place.end().await;
}

#[tokio::test]
async fn a_job_that_is_locked_is_left_to_whoever_holds_it() {
    let place = Place::make().await;
    place.webhook("a").await;
    ended(&place, "a", 3, "dead").await;
    let id = job(&place, filter(Ended::Dead, None), 100).await;
    let mut tx = place.database.begin().await.unwrap();
    let held = replays::lock(&mut tx, place.tenant, id).await.unwrap().unwrap();
    assert!(step(&place, id, later()).await.is_none());
    replays::mark(&mut tx, held, JobState::Paused, now()).await.unwrap();
    tx.commit().await.unwrap();
    assert!(step(&place, id, later()).await.is_none(), "a paused job makes no step");
    let running = replays::running(&mut *place.connection().await, later(), 10).await.unwrap();
    assert_eq!((running.ready.len(), running.count), (0, 0));
    place.end().await;
}

#[tokio::test]
async fn a_job_is_ready_when_its_pace_gives_a_delivery() {
    let place = Place::make().await;
    let slow = job(&place, filter(Ended::Dead, None), 2).await;
    let at = now();
    place.run(&format!("update replays set paced_at = '{at}' where id = '{slow}'")).await;
    let mut conn = place.connection().await;
    let early = replays::running(&mut conn, at + TimeDelta::milliseconds(499), 10).await.unwrap();
    assert_eq!((early.ready, early.count), (Vec::new(), 1));
    let late = replays::running(&mut conn, at + TimeDelta::milliseconds(500), 10).await.unwrap();
    assert_eq!(late.ready, [slow]);
    drop(conn);
    place.end().await;
}

#[tokio::test]
async fn one_request_of_a_tenant_counts_at_a_time() {
    let place = Place::make().await;
    let mut tx = place.database.begin().await.unwrap();
    let name = format!("busbar.replays.{}", place.tenant);
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))").bind(&name).execute(&mut *tx).await.unwrap();
    let wanted = filter(Ended::Dead, None);
    assert_eq!(replays::count(&place.database, place.tenant, &wanted).await.unwrap(), Counted::UnderWay);
    drop(tx);
    assert_eq!(count(&place, &wanted).await, 0);
    place.end().await;
}

/// The statement that looks for a job's next deliveries, as the crate holds it.
fn next_statement() -> &'static str {
    let source = include_str!("../../src/replays/step.rs");
    source.split("const NEXT: &str = \"").nth(1).and_then(|rest| rest.split("\";").next()).unwrap()
}

/// The plan of that statement for whatever values come, and what was run of it for these.
async fn plan(place: &Place, ended: &str, webhook: &str) -> String {
    let mut conn = place.connection().await;
    for setting in [
        "set plan_cache_mode = force_generic_plan",
        "set enable_seqscan = off",
        "set enable_bitmapscan = off",
        "set enable_mergejoin = off",
        "set enable_sort = off",
        "set enable_incremental_sort = off",
    ] {
        sqlx::query(setting).execute(&mut *conn).await.unwrap();
    }
    let prepared = format!("prepare next (uuid, uuid, uuid, text, uuid, text, int8, int8) as {}", next_statement());
    sqlx::query(AssertSqlSafe(prepared)).execute(&mut *conn).await.unwrap();
    let tenant = place.tenant;
    let explained = format!(
        "explain (analyze, costs off, timing off) execute next ('{tenant}', first_id_at(now() - interval '1 hour'),
             first_id_at(now()), '{ended}', {webhook}, 'a', 100, 50)"
    );
    let lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explained)).fetch_all(&mut *conn).await.unwrap();
    sqlx::query("deallocate next").execute(&mut *conn).await.unwrap();
    lines.join("\n")
}

/// 60,000 deliveries of half a year and a hundred tenants; every third was given up, and every third called off.
async fn fill(place: &Place, webhook: WebhookId) {
    place.run("select make_partitions(now() - interval '26 weeks', 26)").await;
    place
        .run(&format!(
            "insert into deliveries (id, tenant_id, event_id, webhook_id, message_id, state, due_at)
             select (left(replace(first_id_at(now() - g * interval '260 seconds')::text, '-', ''), 12)
                     || '70008000' || lpad(to_hex(g), 12, '0'))::uuid,
                 case when g % 100 = 0 then '{}'::uuid else md5((g % 100)::text)::uuid end, gen_random_uuid(),
                 case when g % 100 = 0 then '{}'::uuid else gen_random_uuid() end, gen_random_uuid(),
                 (array['succeeded', 'dead', 'cancelled'])[1 + g / 100 % 3], now()
             from generate_series(1, 60000) g",
            place.tenant,
            webhook.uuid()
        ))
        .await;
}

#[tokio::test]
async fn a_step_reads_its_own_index_and_its_own_span_whatever_the_planner_knows() {
    let place = Place::make().await;
    let webhook = place.webhook("a").await;
    fill(&place, webhook).await;
    let given = format!("'{}'", webhook.uuid());
    for statistics in ["select 1", "analyze deliveries"] {
        place.run(statistics).await;
        for (ended, webhook, index) in [
            ("dead", "null", "_tenant_id_state_id_idx"),
            ("cancelled", given.as_str(), "_tenant_id_state_id_idx"),
            ("succeeded", "null", "_tenant_id_id_idx"),
            ("succeeded", given.as_str(), "_webhook_id_id_idx"),
        ] {
            let plan = plan(&place, ended, webhook).await;
            let read = |line: &&str| line.contains("Scan using deliveries_") && !line.contains("never executed");
            let scans: Vec<&str> = plan.lines().filter(read).collect();
            assert!((1..=3).contains(&scans.len()), "more than the partitions of the span were read:\n{plan}");
            assert!(scans.iter().all(|scan| scan.contains(index)), "{ended} {webhook}: not by {index}:\n{plan}");
        }
    }
    place.end().await;
}
