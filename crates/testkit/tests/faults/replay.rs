//! A replay goes on where it stopped, whoever is killed meanwhile: in the end each original has exactly one child.

use busbar_domain::Clock;
use busbar_domain::id::first_at;
use busbar_storage::replays::{self, Ended, Filter, Job, JobState};
use busbar_testkit::eventually;
use busbar_testkit::instances::{Postgres, RabbitMq};
use uuid::Uuid;

use crate::stage::{PATIENCE, READY_WITHIN, Stage};

const EVENTS: u64 = 4_000;
const RATE: u64 = 800;
const REPLAY_RATE: i32 = 300;
/// Deliveries of the replay between two crashes.
const BETWEEN: u64 = 200;
const SERVICES: [&str; 5] = ["ingress", "delivery", "processor", "scheduler", "scheduler-b"];

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Service(&'static str),
    RabbitMq,
    Postgres,
}

const VICTIMS: [Victim; 9] = [
    Victim::Service("scheduler"),
    Victim::Service("delivery"),
    Victim::Service("scheduler-b"),
    Victim::Postgres,
    Victim::Service("scheduler"),
    Victim::RabbitMq,
    Victim::Service("scheduler-b"),
    Victim::Service("delivery"),
    Victim::Service("scheduler"),
];

/// A job that repeats everything that has succeeded so far.
async fn replay(stage: &Stage) {
    let now = Clock::system().now();
    let before = first_at(now);
    let filter = Filter { ended: Ended::Succeeded, webhook: None, kind: None, from: Uuid::nil(), before };
    let job = Job {
        id: Uuid::now_v7(),
        tenant: stage.ask("select id from tenants").await.parse().unwrap(),
        state: JobState::Running,
        dry_run: false,
        rate_per_second: REPLAY_RATE,
        position: filter.from,
        filter,
        total: i64::try_from(EVENTS).ok(),
        made: 0,
        skipped: 0,
        paced_at: now,
        created_by: Uuid::nil(),
        created_at: now,
        updated_at: now,
        finished_at: None,
    };
    let database = stage.pool();
    replays::insert(&mut database.acquire().await.unwrap(), &job).await.unwrap();
    database.close().await;
}

async fn made(stage: &Stage) -> u64 {
    stage.ask("select made from replays").await.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_repeats_each_delivery_once_whoever_is_killed() {
    let (mut postgres, mut rabbitmq) = tokio::join!(Postgres::start(&[]), RabbitMq::start());
    let mut stage = Stage::prepare_on(Some(postgres.url()), Some(rabbitmq.url()), EVENTS).await;
    stage.start(&SERVICES).await;
    let door = stage.door();
    let outcome = stage.books.send(door, 0..EVENTS, RATE, true).ended().await;
    assert_eq!(outcome.answers.get(&202), Some(&EVENTS), "{outcome:?}");
    stage.books.judge(PATIENCE).await;
    stage.quiet().await;
    replay(&stage).await;

    for victim in VICTIMS {
        let goes_on = made(&stage).await + BETWEEN;
        let further = || async { (made(&stage).await >= goes_on).then_some(()) };
        eventually("the replay going on", READY_WITHIN, further).await;
        let running = stage.ask("select count(*) from replays where state = 'running'").await;
        assert_eq!(running, "1", "the replay was over before {victim:?} was killed");
        match victim {
            Victim::Service(name) => {
                stage.kill(name).await;
                stage.launch(name);
            }
            Victim::RabbitMq => {
                rabbitmq.kill().await;
                rabbitmq.launch();
                rabbitmq.wait_accepting().await;
            }
            Victim::Postgres => {
                postgres.kill().await;
                postgres.launch();
                postgres.wait_accepting().await;
            }
        }
    }

    let done = || async { (stage.ask("select state from replays").await == "done").then_some(()) };
    eventually("the replay being done", READY_WITHIN + PATIENCE, done).await;
    let children = "from deliveries where replay_id is not null";
    assert_eq!(stage.ask("select made || ' ' || skipped from replays").await, format!("{EVENTS} 0"));
    let originals = stage.ask(&format!("select count(*) || ' ' || count(distinct replay_of) {children}")).await;
    assert_eq!(originals, format!("{EVENTS} {EVENTS}"), "each original has one child");
    stage.quiet().await;
    let verdict = stage.books.judge(PATIENCE).await;
    assert!(verdict.duplicated >= EVENTS, "each came once more, under the same id: {verdict:?}");
    eprintln!("{verdict:?}");
}
