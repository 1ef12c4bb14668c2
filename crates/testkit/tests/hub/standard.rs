//! The published libraries of Standard Webhooks, and plain receivers of the other dialects, check what the hub sends.
//!
//! The libraries are those that `scripts/lib/verifiers` installs; another version of them is not accepted.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use busbar_domain::dialect::{InvalidSignature, verify_standard};
use busbar_domain::secret::Secret;
use busbar_egress::Method;
use busbar_sandbox::Received;
use busbar_testkit::hub::{PATIENCE, now};
use busbar_testkit::{Hub, eventually};
use serde_json::{Value, json};

const LIBRARY_PY: &str = include_str!("standard/library.py");
const LIBRARY_JS: &str = include_str!("standard/library.js");
const SINGLE_PY: &str = include_str!("standard/single.py");
const SINGLE_JS: &str = include_str!("standard/single.js");
const FOR_PYTHON: &str = include_str!("standard/requirements.txt");
const FOR_NODE: &str = include_str!("standard/package-lock.json");
const STANDARD: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
/// Long enough for the hub to notice a rotation and to sign with both secrets.
const OVERLAP_SECONDS: u32 = 8;

/// A language in which receivers are written.
#[derive(Clone, Copy, Debug)]
enum Language {
    Python,
    Node,
}

const LANGUAGES: [Language; 2] = [Language::Python, Language::Node];

impl Language {
    /// Where the published library lies, installed as `list` says.
    fn library(self) -> PathBuf {
        let (folder, list, inside) = match self {
            Self::Python => ("python", FOR_PYTHON, ""),
            Self::Node => ("node", FOR_NODE, "node_modules"),
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let folder = root.join("target/verifiers").join(folder);
        let installed = std::fs::read_to_string(folder.join("installed")).unwrap_or_default();
        assert!(installed == list, "the library for {self:?} is not installed; run scripts/lib/verifiers");
        folder.join(inside)
    }

    /// What a script says that is run with `arguments` and gets `input`.
    fn run(self, scripts: [&str; 2], arguments: &[&str], input: &[u8]) -> String {
        let (mut command, script) = match self {
            Self::Python => (Command::new("python3"), ["-c", scripts[0]]),
            Self::Node => (Command::new("node"), ["-e", scripts[1]]),
        };
        let mut child = command
            .args(script)
            .args(arguments)
            .env("PYTHONPATH", Self::Python.library())
            .env("NODE_PATH", Self::Node.library())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{self:?} is needed for this test: {error}"));
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{self:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// Whether a script said yes.
fn accepted(said: &str) -> bool {
    match said.split(':').next() {
        Some("accepted") => true,
        Some("refused") => false,
        _ => panic!("the verifier said {said}"),
    }
}

/// Whether both libraries accept `body` under the headers of `call`; they must agree.
fn libraries_accept(call: &Received, body: &[u8], secret: &str) -> bool {
    let headers: Value = STANDARD.into_iter().map(|name| (name.to_owned(), json!(call.header(name)))).collect();
    let [python, node] = LANGUAGES.map(|language| {
        accepted(&language.run([LIBRARY_PY, LIBRARY_JS], &["verify", secret, &headers.to_string()], body))
    });
    assert_eq!(python, node, "the libraries do not agree about {call:?}");
    python
}

/// Whether plain receivers in both languages accept the `header` of `call`, which has room for one signature.
fn receivers_accept(dialect: &str, call: &Received, header: &str, body: &[u8], secret: &str) -> bool {
    let signature = call.header(header).unwrap_or_default();
    let timestamp = call.header("x-webhook-timestamp").unwrap_or_default();
    let [python, node] = LANGUAGES.map(|language| {
        accepted(&language.run([SINGLE_PY, SINGLE_JS], &[dialect, secret, signature, timestamp], body))
    });
    assert_eq!(python, node, "the receivers do not agree about {call:?}");
    python
}

/// The body with one byte changed, still JSON.
fn changed(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    let at = body.iter().rposition(u8::is_ascii_lowercase).unwrap();
    body[at] ^= 0x20;
    body
}

async fn publish(hub: &Hub, kind: &str) {
    let data = json!({ "place": "Gebäude Ä – 3. Stock 🔥", "note": "tab\there, slash/, quote\"", "price": 1.50 });
    let reply = hub.ingest("/api/v1/events", &json!({ "type": kind, "data": data })).await;
    assert_eq!(reply.status, 202, "{:?}", reply.body);
}

/// Rotates the secret of a webhook and answers the new one.
async fn rotate(hub: &Hub, webhook: &str) -> String {
    let path = format!("/api/v1/webhooks/{webhook}/rotate-secret");
    let reply = hub.admin(Method::POST, &path, Some(&json!({ "overlap_seconds": OVERLAP_SECONDS }))).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    reply.json()["secret"].as_str().unwrap().to_owned()
}

/// Publishes until a delivery to `path` has so many signatures in `webhook-signature`, and answers that one.
async fn signed_by(hub: &Hub, path: &str, secrets: usize) -> Received {
    eventually(&format!("a delivery to {path} signed by {secrets}"), PATIENCE, || async {
        let before = hub.receiver().requests().iter().filter(|call| call.path == path).count();
        publish(hub, "rotated").await;
        let call = hub.arrived(path, before + 1).await.pop()?;
        (call.header("webhook-signature")?.split(' ').count() == secrets).then_some(call)
    })
    .await
}

#[tokio::test]
async fn the_libraries_accept_a_delivery_with_letters_beyond_ascii_and_no_changed_one() {
    let hub = Hub::start().await;
    let (_, secret) = hub.webhook("/standard", "standard", &["noted"], json!({})).await;
    publish(&hub, "noted").await;
    let call = hub.arrived("/standard", 1).await.remove(0);
    assert!(std::str::from_utf8(&call.body).unwrap().contains("Gebäude Ä – 3. Stock 🔥"));
    assert!(libraries_accept(&call, &call.body, &secret));
    assert!(!libraries_accept(&call, &changed(&call.body), &secret));
    assert!(!libraries_accept(&call, &call.body, Secret::generate().expose()));
    hub.stop().await;
}

#[tokio::test]
async fn the_libraries_accept_the_old_secret_until_the_overlap_ends() {
    let hub = Hub::start().await;
    let (webhook, old) = hub.webhook("/standard", "standard", &["rotated"], json!({})).await;
    let new = rotate(&hub, &webhook).await;
    let both = signed_by(&hub, "/standard", 2).await;
    let after = signed_by(&hub, "/standard", 1).await;
    assert!(libraries_accept(&both, &both.body, &old));
    assert!(libraries_accept(&both, &both.body, &new));
    assert!(!libraries_accept(&both, &changed(&both.body), &old));
    assert!(libraries_accept(&after, &after.body, &new));
    assert!(!libraries_accept(&after, &after.body, &old));
    hub.stop().await;
}

#[tokio::test]
async fn what_the_libraries_sign_is_accepted_here() {
    let (secret, now) = (Secret::generate(), now());
    let (id, sent, body) = ("msg_2b7d8e4c", now.timestamp().to_string(), "{\"name\":\"Zoë 🔥\"}");
    for language in LANGUAGES {
        let arguments = ["sign", secret.expose(), id, &sent];
        let signature = language.run([LIBRARY_PY, LIBRARY_JS], &arguments, body.as_bytes());
        let check = |body: &[u8]| verify_standard(&secret, id, &sent, &signature, body, now);
        assert_eq!(check(body.as_bytes()), Ok(()), "{language:?}: {signature}");
        assert_eq!(check(&changed(body.as_bytes())), Err(InvalidSignature::Mismatch), "{language:?}");
    }
}

#[test]
fn the_plain_receivers_accept_the_vectors_of_the_pages() {
    let permit = r#"{"event":"permit_approved","timestamp":"2024-01-15T10:30:00Z","permit_id":123,"permit_number":"PTW-2024-001","project_id":5,"data":{"status":"approved","permit_type":"Hot Work","location":"Building A - Level 3","risk_level":"high","approved_by":"John Doe","comments":"Approved with conditions"}}"#;
    let work_order = r#"{"event":"WO.created","data":{"id":1}}"#;
    for (dialect, secret, signature, body) in [
        (
            "ptw",
            "your_secret_key_here",
            "sha256=ee0820d3fbe299b1cb66a03ffa237fe0ee7ff5a74d87ba06efca77727912f5cf",
            permit,
        ),
        ("workpro", "shhh", "bbcf4eee4692284680aa2d1b9fd5c827a7d00e167bedfd53679acb154ecb5b38", work_order),
    ] {
        for language in LANGUAGES {
            let arguments = [dialect, secret, signature, "2026-01-01T00:00:00.000Z"];
            let said = |body: &[u8]| language.run([SINGLE_PY, SINGLE_JS], &arguments, body);
            assert!(accepted(&said(body.as_bytes())), "{dialect} {language:?}");
            assert!(!accepted(&said(&changed(body.as_bytes()))), "{dialect} {language:?}");
        }
    }
}

/// The dialects beside `standard`, each with its header for one signature.
const SINGLES: [(&str, &str); 3] =
    [("ptw", "x-athens-signature"), ("workpro", "x-webhook-signature"), ("exact", "x-webhook-signature")];

#[tokio::test]
async fn the_other_dialects_are_accepted_by_receivers_of_theirs_and_by_the_libraries() {
    let hub = Hub::start().await;
    for (dialect, header) in SINGLES {
        let path = format!("/{dialect}");
        let kind = if dialect == "ptw" { "permit_approved" } else { "shopOrder.create.requested" };
        let (_, secret) = hub.webhook(&path, dialect, &[kind], json!({})).await;
        publish(&hub, kind).await;
        let call = hub.arrived(&path, 1).await.remove(0);
        assert!(receivers_accept(dialect, &call, header, &call.body, &secret), "{dialect}");
        assert!(!receivers_accept(dialect, &call, header, &changed(&call.body), &secret), "{dialect}");
        assert!(!receivers_accept(dialect, &call, header, &call.body, "another"), "{dialect}");
        assert!(libraries_accept(&call, &call.body, &secret), "{dialect}");
        assert!(call.header(&format!("{header}-next")).is_none(), "{dialect}");
        if dialect == "exact" {
            let body: Value = serde_json::from_slice(&call.body).unwrap();
            assert_eq!(call.header("x-webhook-timestamp"), body["timestamp"].as_str());
            assert_eq!(call.header("x-webhook-event"), Some(kind));
        }
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_test_of_a_webhook_sends_an_event_of_its_own_dialect() {
    let hub = Hub::start().await;
    for ((dialect, header), kind) in
        SINGLES.into_iter().zip(["webhook_test", "workorder.created", "shopOrder.create.requested"])
    {
        let path = format!("/{dialect}");
        let (webhook, secret) = hub.webhook(&path, dialect, &[], json!({})).await;
        let reply = hub.admin(Method::POST, &format!("/api/v1/webhooks/{webhook}/test"), None).await;
        assert_eq!(reply.json()["status"], "succeeded", "{:?}", reply.body);
        let call = hub.arrived(&path, 1).await.remove(0);
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(body["event"], kind);
        assert!(receivers_accept(dialect, &call, header, &call.body, &secret), "{dialect}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_header_with_room_for_one_signature_has_a_twin_until_the_overlap_ends() {
    let hub = Hub::start().await;
    let mut rotated = Vec::new();
    for (dialect, header) in SINGLES {
        let path = format!("/{dialect}");
        // A permit webhook may name events of the permit system only, and `*` is all of them and more.
        let (webhook, old) = hub.webhook(&path, dialect, &["*"], json!({})).await;
        let new = rotate(&hub, &webhook).await;
        rotated.push((dialect, header, old, new, signed_by(&hub, &path, 2).await));
    }
    for (dialect, header, old, new, both) in rotated {
        let after = signed_by(&hub, &format!("/{dialect}"), 1).await;
        let twin = format!("{header}-next");
        let accept =
            |call: &Received, header: &str, secret: &str| receivers_accept(dialect, call, header, &call.body, secret);
        assert!(accept(&both, header, &old) && accept(&both, &twin, &new), "{dialect}");
        assert!(!accept(&both, header, &new) && !accept(&both, &twin, &old), "{dialect}");
        assert!(accept(&after, header, &new) && after.header(&twin).is_none(), "{dialect}");
    }
    hub.stop().await;
}
