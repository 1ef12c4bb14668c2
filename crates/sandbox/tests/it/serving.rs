//! What a well-behaved receiver does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use busbar_sandbox::{Answer, Recording, Script, Step};

use crate::client::{Client, SOON, start};

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let receiver = start(Script::default());
    let mut client = Client::connect(&receiver).await;
    for number in 0..3 {
        assert_eq!(client.post("/hook?a=b", &format!("body {number}")).await.status, 200);
    }

    let requests = receiver.requests();
    let bodies: Vec<_> = requests.iter().map(|request| &request.body[..]).collect();
    assert_eq!(bodies, [&b"body 0"[..], b"body 1", b"body 2"]);
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("POST", "/hook?a=b"));
    assert_eq!(requests[0].header("HOST"), Some("sandbox"));
    assert!(requests[0].received_at <= requests[2].received_at);
    assert!(requests[0].unix_nanos > 1_700_000_000_000_000_000);
    assert_eq!((receiver.count(), receiver.connections()), (3, 1));
}

#[tokio::test]
async fn two_pipelined_requests_get_two_answers_in_order() {
    let script = Script::answering(200)
        .on("/slow", vec![Step::new(Answer::status(201).with_body("slow").after(Duration::from_millis(50)))]);
    let receiver = start(script);
    let mut client = Client::connect(&receiver).await;
    client
        .send(
            "POST /slow HTTP/1.1\r\nContent-Length: 3\r\n\r\nonePOST /quick HTTP/1.1\r\n\
             Content-Length: 3\r\n\r\ntwo",
        )
        .await;

    let first = client.reply().await;
    assert_eq!((first.status, first.body.as_str()), (201, "slow"));
    assert_eq!(client.reply().await.status, 200);
    let requests = receiver.requests();
    assert_eq!((&requests[0].body[..], &requests[1].body[..]), (&b"one"[..], &b"two"[..]));
}

#[tokio::test]
async fn a_chunked_body_is_joined() {
    let receiver = start(Script::default());
    let mut client = Client::connect(&receiver).await;
    client.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWi").await;
    tokio::task::yield_now().await;
    client.send("ki\r\n5\r\npedia\r\n0\r\n\r\nGET /next HTTP/1.1\r\n\r\n").await;

    assert_eq!(client.reply().await.status, 200);
    assert_eq!(client.reply().await.status, 200);
    let requests = receiver.requests();
    assert_eq!(&requests[0].body[..], b"Wikipedia");
    assert_eq!((requests[1].path.as_str(), requests[1].body.len()), ("/next", 0));
}

#[tokio::test]
async fn a_large_body_arrives_whole_after_it_was_asked_for() {
    let receiver = start(Script::default());
    let mut client = Client::connect(&receiver).await;
    let body = "0123456789".repeat(30_000);
    let length = body.len();
    client.send(&format!("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")).await;
    assert_eq!(client.reply().await.status, 100);
    client.send(&body).await;

    assert_eq!(client.reply().await.status, 200);
    assert_eq!(receiver.requests()[0].body, body);
}

#[tokio::test]
async fn steps_are_taken_in_order_and_the_last_repeats() {
    let steps = vec![
        Step::status(500).times(2),
        Step::new(Answer::status(429).with_header("Retry-After", "90")).times(1),
        Step::status(204),
    ];
    let receiver = start(Script::answering(200).on("/hooks/1", steps));
    let mut client = Client::connect(&receiver).await;

    let mut statuses = Vec::new();
    for _ in 0..5 {
        let reply = client.post("/hooks/1", "").await;
        assert_eq!(reply.head.contains("Retry-After: 90"), reply.status == 429);
        statuses.push(reply.status);
    }
    assert_eq!(statuses, [500, 500, 429, 204, 204]);
    assert_eq!(client.post("/hooks/10", "").await.status, 200, "a path is no prefix of a word");

    receiver.script("/hooks/1", vec![Step::status(503)]);
    assert_eq!(client.post("/hooks/1/below", "").await.status, 503);
    receiver.script("/hooks/1", Vec::new());
    assert_eq!(client.post("/hooks/1", "").await.status, 200);
}

#[tokio::test]
async fn a_sink_sees_every_request_and_nothing_is_kept() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let recording = Recording::Sink(Arc::new(move |request| {
        assert_eq!(request.headers.get("host"), Some(&b"sandbox"[..]));
        counter.fetch_add(request.body.len(), Ordering::Relaxed);
    }));
    let receiver = start(Script::default().recording(recording));
    let mut client = Client::connect(&receiver).await;
    for _ in 0..4 {
        client.post("/", "four").await;
    }

    assert_eq!(seen.load(Ordering::Relaxed), 16);
    assert_eq!((receiver.count(), receiver.requests().len()), (4, 0));
}

#[tokio::test]
async fn the_last_requests_are_kept() {
    let receiver = start(Script::default().recording(Recording::Last(2)));
    let mut client = Client::connect(&receiver).await;
    for path in ["/1", "/2", "/3"] {
        client.post(path, "").await;
    }
    let paths: Vec<_> = receiver.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/2", "/3"]);
    assert_eq!(receiver.count(), 3);
}

#[tokio::test]
async fn waiting_ends_with_the_count_or_the_deadline() {
    let receiver = start(Script::default());
    let started = Instant::now();
    assert!(!receiver.wait_for(1, Duration::from_millis(30)).await);
    assert!(started.elapsed() >= Duration::from_millis(30));

    let mut client = Client::connect(&receiver).await;
    let (reached, _) = tokio::join!(receiver.wait_for(1, SOON), client.post("/", ""));
    assert!(reached);
}

#[tokio::test]
async fn a_client_that_asks_for_it_is_disconnected() {
    let receiver = start(Script::default());
    for head in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"] {
        let mut client = Client::connect(&receiver).await;
        client.send(head).await;
        assert_eq!(client.reply().await.status, 200);
        assert!(client.is_closed_within(SOON).await);
    }
}

#[tokio::test]
async fn what_is_no_request_is_answered_with_400() {
    let receiver = start(Script::default());
    for text in [
        "nonsense\r\n\r\n",
        "GET / HTTP/2\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut client = Client::connect(&receiver).await;
        client.send(text).await;
        assert_eq!(client.reply().await.status, 400, "{text:?}");
        assert!(client.is_closed_within(SOON).await);
    }
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn stopping_closes_connections_and_frees_the_port() {
    let receiver = start(Script::answering(200));
    let mut client = Client::connect(&receiver).await;
    client.post("/", "").await;

    receiver.stop();
    receiver.stopped().await;
    assert!(client.is_closed_within(SOON).await);
    let again = busbar_sandbox::Receiver::start(receiver.addr(), Script::answering(503)).unwrap();
    assert_eq!(Client::connect(&again).await.post("/", "").await.status, 503);
}
