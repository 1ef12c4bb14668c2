//! What an attempt sends and what is kept of it: custom headers masked, the hop count, an edited body, the start of the
//! answer, how long each phase took.

use busbar_domain::dialect::verify_standard;
use busbar_domain::secret::Secret;
use busbar_sandbox::{Answer, Step};
use busbar_testkit::Hub;
use busbar_testkit::hub::now;
use serde_json::json;

use super::{ask, publish, soon, until};

fn lines(hub: &Hub, column: &str) -> Vec<String> {
    let text = ask(hub, &format!("select convert_from({column}, 'utf8') from attempts order by number limit 1"));
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn custom_headers_arrive_and_their_values_are_nowhere_in_the_log() {
    let hub = Hub::start().await;
    let answer = Answer::status(200).with_header("set-cookie", "session=of-the-receiver").with_header("x-node", "7");
    hub.receiver().script("/headers", vec![Step::new(answer)]);
    let headers = json!({ "headers": { "X-Api-Key": "hunter2", "Authorization": "Bearer hunter3" } });
    hub.webhook("/headers", "standard", &["a"], headers).await;
    publish(&hub, "a", json!({})).await;
    let call = hub.arrived("/headers", 1).await.remove(0);
    assert_eq!((call.header("x-api-key"), call.header("authorization")), (Some("hunter2"), Some("Bearer hunter3")));
    assert_eq!(call.header("busbar-hops"), Some("1"));
    until(&hub, "select count(*) from attempts", "1").await;

    let sent = lines(&hub, "request_headers");
    for line in ["x-api-key: ***", "authorization: ***", "busbar-hops: 1", "content-type: application/json"] {
        assert!(sent.iter().any(|sent| sent == line), "{line} in {sent:?}");
    }
    let signature = format!("webhook-signature: {}", call.header("webhook-signature").unwrap());
    assert!(sent.contains(&signature), "{sent:?}");
    let received = lines(&hub, "response_headers");
    for line in ["x-node: 7", "set-cookie: ***"] {
        assert!(received.iter().any(|received| received == line), "{line} in {received:?}");
    }
    let kept = ask(&hub, "select request_headers::text || response_headers::text from attempts");
    let text = String::from_utf8(hex::decode(kept.replace("\\x", "")).unwrap()).unwrap();
    assert!(!text.contains("hunter") && !text.contains("of-the-receiver"), "{text}");

    let phases = "select connect_us > 0, tls_us is null, first_byte_us between connect_us and duration_us, address
        from attempts";
    assert_eq!(ask(&hub, phases), format!("t|t|t|{}", hub.receiver().addr()));
    hub.stop().await;
}

#[tokio::test]
async fn only_the_start_of_an_answer_is_kept() {
    let hub = Hub::start().await;
    let long = Answer::status(500).with_body(vec![b'x'; 100_000]).with_header("x-long", "y".repeat(10_000));
    hub.receiver().script("/long", vec![Step::new(long)]);
    hub.webhook("/long", "standard", &["a"], soon(1)).await;
    let odd = Answer::status(500).with_body(&b"\xff\xfe\x00odd"[..]);
    hub.receiver().script("/odd", vec![Step::new(odd)]);
    hub.webhook("/odd", "standard", &["b"], soon(1)).await;
    publish(&hub, "a", json!({})).await;
    let sizes = "select octet_length(response_body) || ' ' || octet_length(response_headers) from attempts";
    until(&hub, sizes, "4096 4096").await;
    publish(&hub, "b", json!({})).await;
    until(&hub, "select response_body from attempts order by octet_length(response_body) limit 1", "\\xfffe006f6464")
        .await;
    hub.stop().await;
}

#[tokio::test]
async fn an_edited_body_is_sent_in_the_place_of_the_events_own() {
    let hub = Hub::start().await;
    hub.receiver().script("/edited", vec![Step::status(500).times(1), Step::status(200)]);
    let retry = json!({ "retry": { "max_attempts": 5, "first_ms": 3000, "factor": 1, "max_ms": 3000 } });
    let (_, secret) = hub.webhook("/edited", "standard", &["a"], retry).await;
    publish(&hub, "a", json!({ "n": 1 })).await;
    until(&hub, "select state from deliveries", "retrying").await;
    ask(&hub, "update deliveries set body = '{\"mended\":true}'");
    let call = hub.arrived("/edited", 2).await.remove(1);
    assert_eq!(&call.body[..], br#"{"mended":true}"#);
    let secret = Secret::parse(&secret).unwrap();
    let header = |name| call.header(name).unwrap();
    let [id, at, signature] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header);
    verify_standard(&secret, id, at, signature, &call.body, now()).unwrap();
    hub.stop().await;
}
