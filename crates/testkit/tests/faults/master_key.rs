//! The master key changes while traffic flows: the command that seals everything anew is killed in the middle and run
//! again, then the old key is taken away from one service after the other. No delivery is lost or badly signed.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use busbar_sandbox::Step;
use busbar_storage::seal::Keyring;
use busbar_testkit::eventually;
use secrecy::ExposeSecret as _;
use tokio::process::Command;

use crate::client::OpenTransaction;
use crate::more::furnish_more;
use crate::stage::{PATIENCE, SERVICES, Stage};

const RATE: u64 = 100;
/// More than the longest run sends.
const EVENTS: u64 = RATE * 600;
/// Webhooks beside the one of the books: the command needs several batches.
const FURTHER: usize = 450;
const MASTER_KEY: &str = "BUSBAR_SECRETS__MASTER_KEY";

/// The command, to be started with these keys.
fn rotate_master(stage: &Stage, keys: &str, arguments: &[&str]) -> Command {
    let own = std::env::current_exe().unwrap();
    let program: PathBuf = own.parent().and_then(|folder| folder.parent()).unwrap().join("busbar");
    assert!(program.is_file(), "{} is missing; build it with `cargo build --workspace --bins`", program.display());
    let mut command = Command::new(program);
    command.args(["keys", "rotate-master"]).args(arguments).env(MASTER_KEY, keys);
    command.env("BUSBAR_DATABASE__URL", stage.database().expose_secret());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// What the command came to: whether nothing is left, and what it printed.
fn told(output: &Output) -> (bool, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// How many secrets of webhooks the key with this number has sealed.
async fn sealed_by(stage: &Stage, number: u8) -> usize {
    let statement =
        format!("select count(*) from webhooks where substring(secret from 1 for 5) = '\\x010000000{number}'");
    stage.ask(&statement).await.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_key_changes_under_traffic_and_through_a_crash_of_the_command() {
    let mut stage = Stage::prepare(EVENTS).await;
    let (old, new) = (stage.master_key().to_owned(), Keyring::generate(2));
    let both = format!("{new},{old}");
    let elsewhere = stage.books.elsewhere("/further", vec![Step::status(200)]);
    furnish_more(&stage, FURTHER, "further", &elsewhere).await;
    for service in SERVICES {
        stage.tell(service, MASTER_KEY, &both);
    }
    stage.start(&SERVICES).await;
    let door = stage.door();
    let load = stage.books.send(door, 0..EVENTS, RATE, true);
    stage.progress(PATIENCE).await;

    // A row of the second batch is held, so the command is killed in the middle of its work.
    let middle = stage.ask("select id from webhooks order by id offset 300 limit 1").await;
    let update = format!("update webhooks set name = name where id = '{middle}'");
    let holding = OpenTransaction::begin(stage.database(), &update).await;
    let mut rotating = rotate_master(&stage, &both, &[]).spawn().unwrap();
    eventually("the command waiting for the row", PATIENCE, || async {
        let waiting = "select count(*) from pg_locks l join pg_stat_activity a on a.pid = l.pid
                       where not l.granted and a.application_name = 'busbar-keys'";
        (stage.ask(waiting).await != "0").then_some(())
    })
    .await;
    rotating.kill().await.unwrap();
    holding.roll_back().await;
    let done = sealed_by(&stage, 2).await;
    assert!((200..FURTHER).contains(&done), "{done} were sealed anew before the crash");
    let (clean, text) = told(&rotate_master(&stage, &both, &["--check"]).output().await.unwrap());
    assert!(!clean && text.contains("webhooks.secret: "), "{text}");

    let (clean, text) = told(&rotate_master(&stage, &both, &[]).output().await.unwrap());
    assert!(clean && text.contains("everything is sealed by key 2"), "{text}");
    assert_eq!((sealed_by(&stage, 1).await, sealed_by(&stage, 2).await), (0, FURTHER + 2));
    let (clean, text) = told(&rotate_master(&stage, &new, &["--check"]).output().await.unwrap());
    assert!(clean, "{text}");

    for service in SERVICES {
        stage.tell(service, MASTER_KEY, &new);
        stage.kill(service).await;
        stage.launch(service);
        stage.ready(&[service]).await;
    }
    stage.progress(PATIENCE).await;
    drop(load);
    let verdict = stage.books.judge(PATIENCE).await;
    eprintln!("{verdict:?}");
    assert!(verdict.delivered > 0);

    let body = br#"{"type":"further","data":1}"#.to_vec();
    let url = format!("http://{door}/api/v1/events");
    let reply = stage.client.call(&url, None, body, Duration::from_secs(5)).await.unwrap();
    assert_eq!(reply.status, 202, "{:?}", reply.body);
    let further = "select count(*) from deliveries d join events e on e.id = d.event_id
                   where e.type = 'further' and d.state = 'succeeded'";
    eventually("everything opening by the new key alone", PATIENCE, || async {
        (stage.ask(further).await == FURTHER.to_string()).then_some(())
    })
    .await;
}
