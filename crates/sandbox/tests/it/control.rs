//! The control API, as a driver in another process uses it.

use busbar_sandbox::{Recording, Script};
use serde_json::{Value, json};

use crate::client::{Client, start};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_driver_scripts_reads_and_forgets() {
    let receiver = start(Script::default().recording(Recording::Last(10)).controlled());
    let mut client = Client::connect(&receiver).await;
    assert_eq!(client.request("GET", "/_sandbox/healthz", "").await.status, 200);

    let script = r#"[{"status":500,"times":2},{"status":200,"delay_ms":10,"body":"done"}]"#;
    let reply = client.request("PUT", "/_sandbox/script?path=%2Fhooks%2Fa", script).await;
    assert_eq!(reply.status, 204);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(client.post("/hooks/a?x=1", "{\"id\":1}").await.status);
    }
    assert_eq!(statuses, [500, 500, 200]);
    client.post("/hooks/b", "other").await;

    let shown = parsed(&client.request("GET", "/_sandbox/requests?path=/hooks/a", "").await.body);
    assert_eq!(shown.as_array().unwrap().len(), 3);
    assert_eq!(shown[0]["path"], "/hooks/a?x=1");
    assert_eq!(shown[0]["body"], "{\"id\":1}");
    assert_eq!(shown[0]["headers"], json!({ "host": "sandbox", "content-length": "8" }));
    assert!(shown[0]["received_at_ms"].as_u64().unwrap() > 1_700_000_000_000);
    let all = parsed(&client.request("GET", "/_sandbox/requests", "").await.body);
    assert_eq!(all.as_array().unwrap().len(), 4);

    assert_eq!(client.request("DELETE", "/_sandbox/requests", "").await.status, 204);
    let none = parsed(&client.request("GET", "/_sandbox/requests", "").await.body);
    assert_eq!((none, receiver.count()), (json!([]), 0));
}

#[tokio::test]
async fn every_kind_of_answer_has_a_name() {
    let receiver = start(Script::default().controlled());
    let mut client = Client::connect(&receiver).await;
    let script = r#"[{"kind":"black_hole"},{"kind":"refuse_body","status":413},
        {"kind":"trickle","bytes_per_second":1,"part":"head"},{"kind":"endless_chunked"},
        {"kind":"reset"},{"kind":"garbage"},{"kind":"status","headers":{"Retry-After":"1"}}]"#;
    assert_eq!(client.request("PUT", "/_sandbox/script", script).await.status, 204);
}

#[tokio::test]
async fn a_script_that_cannot_be_read_is_refused() {
    let receiver = start(Script::default().controlled());
    let mut client = Client::connect(&receiver).await;
    for body in ["", "{}", r#"[{"kind":"explode"}]"#, r#"[{"stauts":500}]"#] {
        assert_eq!(client.request("PUT", "/_sandbox/script", body).await.status, 400, "{body}");
    }
    assert_eq!(client.request("POST", "/_sandbox/healthz", "").await.status, 405);
    assert_eq!(client.request("GET", "/_sandbox/elsewhere", "").await.status, 404);
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn without_control_the_paths_are_like_any_other() {
    let receiver = start(Script::answering(202));
    let mut client = Client::connect(&receiver).await;
    assert_eq!(client.request("GET", "/_sandbox/healthz", "").await.status, 202);
    assert_eq!(receiver.count(), 1);
}
