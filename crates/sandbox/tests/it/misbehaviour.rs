//! What a receiver does when it is told to misbehave.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use busbar_sandbox::{Answer, Part, Receiver, Script, Step};
use bytes::Bytes;

use crate::client::{Client, NEVER, SOON, start};

fn misbehaving(answer: Answer) -> Receiver {
    start(Script::default().on("/", vec![Step::new(answer)]))
}

#[tokio::test]
async fn a_black_hole_reads_and_never_answers() {
    let receiver = misbehaving(Answer::BlackHole);
    let mut client = Client::connect(&receiver).await;
    client.send("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\none").await;

    assert!(receiver.wait_for(1, SOON).await);
    assert_eq!(&receiver.requests()[0].body[..], b"one");
    assert_eq!(client.read_for(NEVER).await.unwrap(), b"");
    assert!(!client.is_closed_within(NEVER).await);
}

#[tokio::test]
async fn a_refused_body_is_answered_before_it_is_sent() {
    let receiver = misbehaving(Answer::RefuseBody { status: 413 });
    let mut client = Client::connect(&receiver).await;
    client.send("POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n").await;

    assert_eq!(client.reply().await.status, 413);
    assert!(client.is_closed_within(SOON).await);
    assert!(receiver.requests()[0].body.is_empty());
}

#[tokio::test]
async fn a_trickle_comes_byte_by_byte() {
    for part in [Part::Head, Part::Body] {
        let body = Bytes::from_static(b"0123456789");
        let receiver = misbehaving(Answer::Trickle { status: 200, body, bytes_per_second: 20, part });
        let mut client = Client::connect(&receiver).await;
        client.send("GET / HTTP/1.1\r\n\r\n").await;

        let some = client.read_for(Duration::from_millis(250)).await.unwrap();
        let head_is_whole = some.windows(4).any(|bytes| bytes == b"\r\n\r\n");
        assert!(!some.is_empty() && !some.ends_with(b"9"), "{part:?}: {some:?}");
        assert_eq!(head_is_whole, part == Part::Body);
    }
}

#[tokio::test]
async fn an_endless_body_goes_on() {
    let receiver = misbehaving(Answer::EndlessChunked);
    let mut client = Client::connect(&receiver).await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;

    let started = Instant::now();
    let some = client.read_for(NEVER).await.unwrap();
    assert!(some.len() > 100_000 && started.elapsed() >= NEVER);
    assert!(some.starts_with(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n."));
}

#[tokio::test]
async fn a_reset_leaves_no_answer() {
    let receiver = misbehaving(Answer::Reset);
    let mut client = Client::connect(&receiver).await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;

    let error = client.read_for(SOON).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn garbage_is_no_http() {
    let receiver = misbehaving(Answer::Garbage);
    let mut client = Client::connect(&receiver).await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;

    let bytes = client.read_for(SOON).await.unwrap();
    assert!(!bytes.is_empty() && !bytes.starts_with(b"HTTP"));
    assert!(client.is_closed_within(SOON).await);
}
