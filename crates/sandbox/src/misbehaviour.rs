//! What a receiver should not do, done on purpose.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::reply;
use crate::script::{Answer, Part};

const GARBAGE: &[u8] = b"\x00\xff\x16\x03 this is not HTTP\r\n\r\n\x1b[31m";
const CHUNK_SIZE: usize = 4_096;

/// Acts out an answer; the connection is closed afterwards.
pub(crate) async fn perform(stream: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    match answer {
        Answer::Status { status, headers, body, .. } => stream.write_all(&reply::render(*status, headers, body)).await,
        Answer::BlackHole => swallow(stream).await,
        Answer::RefuseBody { status } => {
            let headers = [("Connection".to_owned(), "close".to_owned())];
            stream.write_all(&reply::render(*status, &headers, &[])).await
        }
        Answer::Trickle { status, body, bytes_per_second, part } => {
            let mut head = reply::head(*status, &[], Some(body.len()));
            match part {
                Part::Head => head.extend_from_slice(body),
                Part::Body => stream.write_all(&head).await?,
            }
            let slow = match part {
                Part::Head => &head[..],
                Part::Body => body,
            };
            trickle(stream, slow, *bytes_per_second).await
        }
        Answer::EndlessChunked => endless(stream).await,
        Answer::Reset => stream.set_zero_linger(),
        Answer::Garbage => stream.write_all(GARBAGE).await,
    }
}

/// Reads and forgets until the client leaves.
async fn swallow(stream: &mut TcpStream) -> io::Result<()> {
    let mut scrap = [0; 1_024];
    while stream.read(&mut scrap).await? > 0 {}
    Ok(())
}

async fn trickle(stream: &mut TcpStream, bytes: &[u8], per_second: u32) -> io::Result<()> {
    let pause = Duration::from_secs(1) / per_second.max(1);
    for byte in bytes {
        stream.write_all(std::slice::from_ref(byte)).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

async fn endless(stream: &mut TcpStream) -> io::Result<()> {
    let headers = [("Transfer-Encoding".to_owned(), "chunked".to_owned())];
    stream.write_all(&reply::head(200, &headers, None)).await?;
    let mut chunk = format!("{CHUNK_SIZE:x}\r\n").into_bytes();
    chunk.resize(chunk.len() + CHUNK_SIZE, b'.');
    chunk.extend_from_slice(b"\r\n");
    loop {
        stream.write_all(&chunk).await?;
    }
}
