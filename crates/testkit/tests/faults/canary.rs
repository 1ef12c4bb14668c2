//! Secrets that are planted everywhere and looked for everywhere: in the database, on the wire to the broker, in every
//! log, metric, trace and answer of a hub that works, fails and rotates. None may be found.

mod finds;
mod sights;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use busbar_egress::{Egress, Limits, Method, Policy};
use busbar_runtime::{Settings, settings};
use busbar_sandbox::{Receiver, Script, Step};
use busbar_testkit::eventually;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use self::finds::{Canaries, Sources};
use self::sights::{Api, knock, look_around, scrape};
use crate::relay::Relay;
use crate::stage::{PATIENCE, SERVICES, Stage, address_of, by_way_of};

/// A webhook at `url` with secrets of its own.
fn webhook(canaries: &mut Canaries, url: &str) -> Value {
    json!({
        "name": "canary-name", "url": url, "events": ["permit_approved"], "dialect": "ptw",
        "secret": canaries.fresh("a webhook's secret"),
        "headers": { "x-canary": canaries.fresh("a header"), "authorization": canaries.fresh("a header") },
        "retry": { "max_attempts": 2, "first_ms": 100, "factor": 1, "max_ms": 100 }
    })
}

/// Dumps every table as text.
fn dump(stage: &Stage) -> Vec<u8> {
    let url = stage.database().expose_secret();
    let dumped = std::process::Command::new("pg_dump").args(["--data-only", "--inserts", url]).output().unwrap();
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    dumped.stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_found_where_none_belongs() {
    let mut canaries = Canaries::default();
    let broker = Settings::load(None, settings::environment()).unwrap().broker.url;
    let relay = Relay::start(address_of(&broker, 5672)).await;
    let mut stage = Stage::prepare_on(None, Some(by_way_of(&broker, relay.address).into()), 1).await;
    let collector = Receiver::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Script::default()).unwrap();
    let operator = canaries.fresh("the operator's key");
    let (_, master_key) = stage.master_key().split_once(':').unwrap();
    canaries.plant("the master key", master_key);
    canaries.plant("the publisher's key", stage.books.key.expose());
    canaries.plant("the first webhook's secret", stage.books.secret.expose());
    for service in SERVICES {
        stage.tell(service, "BUSBAR_LOG__FILTER", "debug");
        stage.tell(service, "BUSBAR_TELEMETRY__OTLP_ENDPOINT", collector.url());
        stage.tell(service, "BUSBAR_TELEMETRY__SAMPLE_RATIO", "1.0");
    }
    stage.tell("admin", "BUSBAR_ADMIN__OPERATOR_KEY", &operator);
    stage.start(&SERVICES).await;

    let policy = Policy::parse(&["0.0.0.0/0".to_owned()], &[], false).unwrap();
    let limits = Limits { response_cap: 4 << 20, ..Limits::default() };
    let tenant = stage.ask("select id from tenants").await;
    let base = format!("http://{}", stage.address("admin", "listen"));
    let mut api = Api { egress: Egress::new(policy, limits).unwrap(), base, operator, tenant, answers: Vec::new() };
    let ids = plant(&stage, &api, &mut canaries).await;
    traffic(&mut stage, &mut api, &mut canaries, &ids).await;
    look_around(&mut api, &ids).await;

    eventually("spans being exported", PATIENCE, || async { (collector.count() > 0).then_some(()) }).await;
    let mut metrics = Vec::new();
    for service in SERVICES {
        metrics.extend(scrape(&api, stage.address(service, "ops")).await);
    }
    stage.processes().stop(Duration::from_secs(10)).await;
    let mut logs = Vec::new();
    for entry in fs::read_dir(stage.processes().folder()).unwrap() {
        logs.extend(fs::read(entry.unwrap().path()).unwrap());
    }
    let spans: Vec<u8> = collector.requests().iter().flat_map(|call| call.body.to_vec()).collect();
    let sources = Sources(vec![
        ("the database", dump(&stage), "canary-name"),
        ("the wire to the broker", relay.heard(), "busbar_faults_"),
        ("the logs", logs, "a webhook cannot be read"),
        ("the metrics", metrics, "busbar_delivery_attempts_total"),
        ("the traces", spans, "deliver"),
        ("the answers", api.answers, "canary-name"),
    ]);
    sources.judge(&canaries);
}

/// Webhooks whose receivers take what they get, fail, are gone, and are not there at all; a connector; a key. Answers
/// the ids of the webhooks and of the connector.
async fn plant(stage: &Stage, api: &Api, canaries: &mut Canaries) -> Vec<String> {
    let receivers = [
        stage.books.elsewhere("/good", vec![Step::status(200)]),
        stage.books.elsewhere("/failing", vec![Step::status(500)]),
        stage.books.elsewhere("/gone", vec![Step::status(410)]),
        "http://127.0.0.1:59999/nobody".to_owned(),
    ];
    let mut ids = Vec::new();
    for url in &receivers {
        let made = api.make("/api/v1/webhooks", webhook(canaries, url)).await;
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    let secret = canaries.fresh("a connector's secret");
    let connector = json!({ "system": "erpops", "name": "canary-name", "secret": secret });
    let made = api.make("/api/v1/connectors", connector).await;
    ids.push(made["id"].as_str().unwrap().to_owned());
    let made = api.make("/api/v1/api-keys", json!({ "name": "canary-name", "scopes": ["publish"] })).await;
    let key = made["key"].as_str().unwrap();
    canaries.plant("an API key", key);
    canaries.plant("an API key's secret", key.rsplit('_').nth(1).unwrap());
    ids
}

/// Successes, failures, rotations, refusals, and a row that cannot be read.
async fn traffic(stage: &mut Stage, api: &mut Api, canaries: &mut Canaries, ids: &[String]) {
    let door = stage.door();
    publish(stage, door).await;
    let ended = "select count(*) from deliveries d join events e on e.id = d.event_id
                 where e.type = 'permit_approved' and d.state in ('dead', 'succeeded')";
    eventually("every receiver having been tried", PATIENCE, || async {
        (stage.ask(ended).await == "4").then_some(())
    })
    .await;
    for path in
        [format!("/api/v1/webhooks/{}/rotate-secret", ids[0]), format!("/api/v1/connectors/{}/rotate-secret", ids[4])]
    {
        let made = api.make(&path, json!({ "overlap_seconds": 60 })).await;
        canaries.plant("a rotated secret", made["secret"].as_str().unwrap());
    }
    let first = format!("/api/v1/webhooks/{}", ids[0]);
    api.see(Method::POST, &format!("{first}/test"), None).await;
    let change = json!({ "headers": { "x-canary": "********", "x-new": canaries.fresh("a header") } });
    api.see(Method::PATCH, &first, Some(change)).await;
    let value = format!("{}\r\n", canaries.fresh("a refused header"));
    api.see(Method::PATCH, &first, Some(json!({ "headers": { "x-a": value }, "filter": "1 +" }))).await;
    let signature = canaries.fresh("a signature that is none");
    let signed = [("x-erpops-connector-id", ids[4].as_str()), ("x-erpops-signature", signature.as_str())];
    knock(api, door, "functions/v1/receive-event", &signed).await;
    let key = canaries.fresh("a key that is none");
    knock(api, door, "api/v1/events", &[("x-api-key", key.as_str())]).await;

    for change in [
        "update webhooks set secret = substring(secret from 1 for 40) where url like '%/failing' returning 1",
        "update tenants set config_version = config_version + 1, config_changed_at = now() returning 1",
    ] {
        stage.ask(&format!("with changed as ({change}) select count(*) from changed")).await;
    }
    let before: u64 = stage.ask("select count(*) from attempts").await.parse().unwrap();
    publish(stage, door).await;
    eventually("deliveries going on", PATIENCE, || async {
        let now: u64 = stage.ask("select count(*) from attempts").await.parse().unwrap();
        (now > before + 1).then_some(())
    })
    .await;
}

async fn publish(stage: &Stage, door: SocketAddr) {
    let body = br#"{"type":"permit_approved","data":{"permit_id":1}}"#.to_vec();
    let reply = stage.client.post(door, Some(&fastrand::u64(..).to_string()), body).await;
    assert_eq!(reply.status, 202, "{:?}", reply.body);
}
