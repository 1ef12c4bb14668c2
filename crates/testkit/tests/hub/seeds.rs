//! The verifiers and senders of the systems' own pages, as they stand there, against the running hub.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use busbar_domain::api_key::Scope;
use busbar_egress::Method;
use busbar_testkit::{Hub, eventually, hub::PATIENCE};
use serde_json::json;

const VERIFY_PY: &str = include_str!("seeds/verify.py");
const VERIFY_JS: &str = include_str!("seeds/verify.js");
const SEND_SH: &str = include_str!("seeds/send.sh");
const SEND_MJS: &str = include_str!("seeds/send.mjs");
const SEND_PY: &str = include_str!("seeds/send.py");
const PAGE_URL: &str = "https://api.erpops.ai";

/// Runs a program with `script` as an argument and `input` on its standard input.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What the page's Python verifier says.
fn python_accepts(body: &[u8], signature: &str, secret: &str) -> bool {
    let script = format!(
        "{VERIFY_PY}\nimport sys\npayload = sys.stdin.buffer.read().decode('utf-8')\n\
         print(verify_signature(payload, sys.argv[1], sys.argv[2]))"
    );
    let output = run("python3", &["-c", &script, signature, secret], body);
    match said(&output).as_str() {
        "True" => true,
        "False" => false,
        other => panic!("the verifier said {other}"),
    }
}

/// What the page's Node verifier says of the body as its framework parses it.
fn node_accepts(body: &[u8], signature: &str, secret: &str) -> bool {
    let script = format!(
        "{VERIFY_JS}\nconst body = JSON.parse(require('fs').readFileSync(0, 'utf8'));\n\
         console.log(verifySignature(JSON.stringify(body), process.argv[1], process.argv[2]));"
    );
    let output = run("node", &["-e", &script, signature, secret], body);
    match said(&output).as_str() {
        "true" => true,
        "false" => false,
        other => panic!("the verifier said {other}"),
    }
}

#[tokio::test]
async fn the_permit_pages_verifiers_accept_a_delivery_with_letters_beyond_ascii() {
    let hub = Hub::start().await;
    let secret = "your_secret_key_here";
    hub.webhook("/ptw", "ptw", &["permit_approved"], json!({ "secret": secret })).await;
    let body = br#"{ "event": "permit_approved", "permit_id": 123, "permit_number": "PTW-2024-001", "project_id": 5,
        "timestamp": "2024-01-15T10:30:00Z",
        "data": { "status": "approved", "permit_type": "Hot Work", "location": "Geb\u00e4ude \u00c4 - Level 3 \ud83d\udd25",
                  "risk_level": "high", "approved_by": "Zo\u00eb", "comments": "tab\there, slash\/, quote\"" } }"#;
    let headers = [("x-api-key", hub.admin_key.as_str()), ("content-type", "application/json")];
    let reply = hub.post("/api/v1/ptw/events", &headers, body.to_vec()).await;
    assert_eq!(reply.status, 202, "{:?}", reply.body);

    let call = hub.arrived("/ptw", 1).await.remove(0);
    let text = std::str::from_utf8(&call.body).unwrap();
    assert!(text.starts_with(
        r#"{"event":"permit_approved","timestamp":"2024-01-15T10:30:00Z","permit_id":123,"permit_number":"PTW-2024-001","project_id":5,"data":{"status":"approved","#
    ));
    assert!(text.contains("Gebäude Ä - Level 3 🔥"), "{text}");
    let signature = call.header("x-athens-signature").unwrap();
    assert_eq!(call.header("x-athens-event"), Some("permit_approved"));
    assert!(python_accepts(&call.body, signature, secret));
    assert!(node_accepts(&call.body, signature, secret));
    let mut changed = call.body.to_vec();
    let at = text.find("approved\"").unwrap();
    changed[at] = b'A';
    assert!(!python_accepts(&changed, signature, secret));
    assert!(!node_accepts(&changed, signature, secret));
    hub.stop().await;
}

/// Fills in what a user fills in: the address, the id, the secret.
fn filled(sample: &str, hub: &Hub, id: &str, secret: &str) -> String {
    let url = format!("http://{}", hub.settings().ingress.listen);
    assert!(sample.contains(PAGE_URL) && sample.contains("YOUR_ID") && sample.contains("YOUR_SECRET"));
    sample.replace(PAGE_URL, &url).replace("YOUR_ID", id).replace("YOUR_SECRET", secret)
}

#[tokio::test]
async fn the_erpops_pages_senders_are_accepted_and_one_changed_byte_is_not() {
    let hub = Hub::start().await;
    let secret = "a-secret-from-the-admin-app";
    let body = json!({ "system": "erpops", "name": "ERP", "config": {}, "secret": secret });
    let made = hub.admin(Method::POST, "/api/v1/connectors", Some(&body)).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    hub.webhook("/ops", "standard", &["erpops.integration.failed"], json!({})).await;

    let curl = said(&run("bash", &["-c", &filled(SEND_SH, &hub, &id, secret)], b""));
    assert!(curl.contains(r#"{"status":"accepted","event_id":""#) && curl.contains(r#""incident_id":null}"#), "{curl}");
    // The samples throw the answer away, so each is asked to print the status.
    let node = filled(SEND_MJS, &hub, &id, secret).replace("await fetch(", "const answer = await fetch(")
        + "\nconsole.log(answer.status);";
    assert_eq!(said(&run("node", &["--input-type=module", "-e", &node], b"")), "202");
    let python = filled(SEND_PY, &hub, &id, secret).replace("requests.post(", "answer = requests.post(")
        + "\nprint(answer.status_code)";
    assert_eq!(said(&run("python3", &["-c", &python], b"")), "202");
    assert_eq!(hub.arrived("/ops", 3).await.len(), 3);

    let forged =
        filled(SEND_SH, &hub, &id, secret).replace("-d \"$BODY\"", "-d \"${BODY/18441/18442}\" -w '%{http_code}'");
    let forged = said(&run("bash", &["-c", &forged], b""));
    assert!(forged.contains("SIGNATURE_INVALID") && forged.contains("401"), "{forged}");
    assert_eq!(hub.key(&[Scope::Read]).await.len(), hub.admin_key.len());
    eventually("no fourth call", PATIENCE, || async { (hub.receiver().count() == 3).then_some(()) }).await;
    hub.stop().await;
}
