//! Each process in turn is killed under load and started again; nothing that was acknowledged may be lost.

use busbar_runtime::settings;
use busbar_testkit::eventually;
use busbar_testkit::instances::{Postgres, RabbitMq};

use crate::stage::{PATIENCE, READY_WITHIN, SERVICES, Stage};

/// Half of the events are sent until they are acknowledged, the others once.
const EACH_RATE: u64 = 150;
/// More than the longest run sends.
const EACH: u64 = EACH_RATE * 600;

/// Deliveries between two crashes.
const BETWEEN: u64 = EACH_RATE;

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Service(&'static str),
    RabbitMq,
    Postgres,
}

/// One round in the order of the house, or three in an order that the printed seed repeats.
fn victims() -> Vec<Victim> {
    let round: Vec<_> = SERVICES.map(Victim::Service).into_iter().chain([Victim::RabbitMq, Victim::Postgres]).collect();
    let told = |variable: &str| settings::environment().find(|(name, _)| name == variable).map(|(_, value)| value);
    if told("BUSBAR_FAULTS").as_deref() != Some("all") {
        return round;
    }
    let seed = told("BUSBAR_FAULTS_SEED").and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("the order of the crashes: BUSBAR_FAULTS_SEED={seed}");
    let mut order = fastrand::Rng::with_seed(seed);
    let mut victims = Vec::new();
    for _ in 0..3 {
        let mut next = round.clone();
        order.shuffle(&mut next);
        victims.extend(next);
    }
    victims
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_whoever_is_killed() {
    let (mut postgres, mut rabbitmq) = tokio::join!(Postgres::start(&[]), RabbitMq::start());
    let mut stage = Stage::prepare_on(Some(postgres.url()), Some(rabbitmq.url()), 2 * EACH).await;
    stage.start(&SERVICES).await;
    let door = stage.door();
    let insisting = stage.books.send(door, 0..EACH, EACH_RATE, true);
    let giving_up = stage.books.send(door, EACH..2 * EACH, EACH_RATE, false);
    stage.progress(PATIENCE).await;

    for victim in victims() {
        let began = std::time::Instant::now();
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
        stage.ready(&SERVICES).await;
        let acked = stage.books.verdict().acked;
        let accepts = || async { (stage.books.verdict().acked > acked).then_some(()) };
        eventually("the door accepting again", READY_WITHIN, accepts).await;
        let delivered = stage.books.ledger.arrivals();
        let calm = || async { (stage.books.ledger.arrivals() >= delivered + BETWEEN).then_some(()) };
        eventually("deliveries going on", PATIENCE, calm).await;
        eprintln!("{victim:?} was killed and is back after {:?}", began.elapsed());
    }

    drop((insisting, giving_up));
    let verdict = stage.books.judge(PATIENCE).await;
    eprintln!("{verdict:?}");
    assert!(verdict.acked * 100 >= verdict.attempted * 80, "too little was acknowledged: {verdict:?}");
    stage.quiet().await;
    let rows = stage.ask("select count(*) from events").await;
    let delivered = stage.ask("select count(*) from deliveries where state = 'succeeded'").await;
    assert_eq!(rows, delivered, "every event was delivered");
    let numbers =
        "select count(*) from deliveries where attempts <> (select count(*) from attempts where delivery_id = id)";
    assert_eq!(stage.ask(numbers).await, "0", "every attempt that counts is recorded");
}
