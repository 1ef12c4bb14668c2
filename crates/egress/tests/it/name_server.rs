//! A name server of packets written by hand: what it answers, a script decides for each question.
//! It speaks UDP and, for answers that are too long for that, TCP.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

const A: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const AAAA: u16 = 28;
const HEADER: usize = 12;
/// What a client that says no other size takes in one datagram, with room to spare.
const LONGEST_DATAGRAM: usize = 1_200;
const TRUNCATED: u8 = 0b10;

/// One question, as a script sees it.
pub(crate) struct Question {
    pub(crate) name: String,
    pub(crate) is_v6: bool,
    /// How often the same was asked before.
    pub(crate) turn: usize,
}

/// What a name server answers.
pub(crate) enum Reply {
    Records(Vec<Record>),
    /// The name does not exist, which may be kept for so many seconds.
    NoSuchName(u32),
    ServerFailure,
    Silence,
}

/// An address or an alias of a name, which may be kept for `ttl` seconds.
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) ttl: u32,
    pub(crate) data: Data,
}

pub(crate) enum Data {
    Address(IpAddr),
    Alias(&'static str),
}

impl Reply {
    /// The addresses of the question's family, which may not be kept at all.
    pub(crate) fn of(question: &Question, addresses: &[&str]) -> Self {
        Self::kept(question, 0, addresses)
    }

    /// The addresses of the question's family, which may be kept for `ttl` seconds.
    pub(crate) fn kept(question: &Question, ttl: u32, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|ip| ip.parse::<IpAddr>().unwrap());
        let of_family = addresses.filter(|ip| ip.is_ipv6() == question.is_v6);
        let record = |ip| Record { name: question.name.clone(), ttl, data: Data::Address(ip) };
        Self::Records(of_family.map(record).collect())
    }
}

type Script = dyn Fn(&Question) -> Reply + Send + Sync;

/// A running name server; dropping it stops it.
pub(crate) struct NameServer {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    asked: Mutex<Vec<(String, bool)>>,
    script: Box<Script>,
}

impl NameServer {
    pub(crate) async fn start(script: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> Self {
        let (datagrams, streams) = loop {
            let datagrams = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(streams) = TcpListener::bind(datagrams.local_addr().unwrap()).await {
                break (datagrams, streams);
            }
        };
        let shared = Arc::new(Shared { asked: Mutex::default(), script: Box::new(script) });
        let addr = datagrams.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(answer_datagrams(datagrams, Arc::clone(&shared)));
        serving.spawn(answer_streams(streams, Arc::clone(&shared)));
        Self { addr, shared, _serving: serving }
    }

    /// How often the addresses of a name were asked for, IPv4 only; an empty name stands for any.
    pub(crate) fn asked(&self, name: &str) -> usize {
        let asked = self.shared.asked.lock().unwrap();
        asked.iter().filter(|(asked, is_v6)| !is_v6 && (name.is_empty() || asked == name)).count()
    }
}

async fn answer_datagrams(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = vec![0; 4_096];
    while let Ok((count, peer)) = socket.recv_from(&mut buffer).await {
        let Some(mut packet) = shared.answer(&buffer[..count]) else { continue };
        if packet.len() > LONGEST_DATAGRAM {
            packet.truncate(HEADER + question_length(&packet[HEADER..]));
            packet[2] |= TRUNCATED;
            packet[6..10].fill(0);
        }
        let _ = socket.send_to(&packet, peer).await;
    }
}

async fn answer_streams(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer_stream(stream, Arc::clone(&shared)));
    }
}

async fn answer_stream(mut stream: TcpStream, shared: Arc<Shared>) {
    while let Ok(length) = stream.read_u16().await {
        let mut packet = vec![0; usize::from(length)];
        if stream.read_exact(&mut packet).await.is_err() {
            return;
        }
        let Some(packet) = shared.answer(&packet) else { continue };
        let length = u16::try_from(packet.len()).unwrap();
        let framed = [&length.to_be_bytes()[..], &packet].concat();
        if stream.write_all(&framed).await.is_err() {
            return;
        }
    }
}

impl Shared {
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let length = question_length(&query[HEADER..]);
        let written = &query[HEADER..HEADER + length];
        let (name, is_v6) = (name_of(written), written[length - 3] == 28);
        let turn = {
            let mut asked = self.asked.lock().unwrap();
            let turn = asked.iter().filter(|(earlier, family)| *earlier == name && *family == is_v6).count();
            asked.push((name.clone(), is_v6));
            turn
        };
        let (code, answers, authorities) = match (self.script)(&Question { name, is_v6, turn }) {
            Reply::Records(records) => (0, records.iter().map(Record::packed).collect(), vec![]),
            Reply::NoSuchName(ttl) => (3, vec![], vec![authority(ttl)]),
            Reply::ServerFailure => (2, vec![], vec![]),
            Reply::Silence => return None,
        };
        let count = |records: &[Vec<u8>]| u16::try_from(records.len()).unwrap().to_be_bytes();
        let mut packet = [&query[..2], &[0x81, 0x80 | code, 0, 1]].concat();
        packet.extend([count(&answers), count(&authorities), [0, 0]].concat());
        packet.extend_from_slice(written);
        packet.extend([answers, authorities].concat().concat());
        Some(packet)
    }
}

impl Record {
    fn packed(&self) -> Vec<u8> {
        match self.data {
            Data::Address(IpAddr::V4(ip)) => packed(&self.name, A, self.ttl, &ip.octets()),
            Data::Address(IpAddr::V6(ip)) => packed(&self.name, AAAA, self.ttl, &ip.octets()),
            Data::Alias(of) => packed(&self.name, CNAME, self.ttl, &labels(of)),
        }
    }
}

/// The record that says how long it may be remembered that a name does not exist.
fn authority(ttl: u32) -> Vec<u8> {
    let numbers = [1, 3_600, 600, 86_400, ttl].map(u32::to_be_bytes).concat();
    packed("test", SOA, ttl, &[labels("ns.test"), labels("post.test"), numbers].concat())
}

fn packed(name: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    let class = 1_u16;
    let mut record = labels(name);
    record.extend([kind.to_be_bytes(), class.to_be_bytes()].concat());
    record.extend(ttl.to_be_bytes());
    record.extend(length.to_be_bytes());
    record.extend_from_slice(data);
    record
}

fn labels(name: &str) -> Vec<u8> {
    let mut packed = Vec::new();
    for label in name.split('.') {
        packed.push(u8::try_from(label.len()).unwrap());
        packed.extend_from_slice(label.as_bytes());
    }
    packed.push(0);
    packed
}

/// The length of a question: labels to the empty one, a type and a class.
fn question_length(question: &[u8]) -> usize {
    let mut at = 0;
    while question[at] != 0 {
        at += 1 + usize::from(question[at]);
    }
    at + 5
}

fn name_of(question: &[u8]) -> String {
    let (mut at, mut name) = (0, Vec::new());
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        name.push(String::from_utf8(question[at + 1..end].to_ascii_lowercase()).unwrap());
        at = end;
    }
    name.join(".")
}
