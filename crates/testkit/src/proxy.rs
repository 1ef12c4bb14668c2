//! A TCP proxy that a test can cut, hold back or close while it runs, and that knows just enough of AMQP and of
//! PostgreSQL's protocol to lose the very answer that says what became of something.

mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::wire::Talk;

const CHUNK: usize = 64 * 1024;

/// What is spoken through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Anything; no answer can be lost on purpose.
    Plain,
    /// AMQP 0-9-1: the confirms of publishes can be lost.
    Amqp,
    /// PostgreSQL without TLS: the answer to the statement that inserts events can be lost.
    Postgres,
}

/// Which way bytes are held back; what was held flows on when they are let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// Neither.
    #[default]
    Nothing,
    /// What the client says.
    ToServer,
    /// What the server says.
    ToClient,
    /// Both; the connections stay, as they do when a cable is pulled.
    Both,
}

impl Hold {
    const fn concerns(self, direction: Direction) -> bool {
        match (self, direction) {
            (Self::Both, _) | (Self::ToServer, Direction::ToServer) | (Self::ToClient, Direction::ToClient) => true,
            (Self::Nothing | Self::ToServer | Self::ToClient, _) => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// A running proxy; dropping it closes it and every connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    _listening: JoinSet<()>,
}

/// What all connections share.
#[derive(Debug)]
struct State {
    protocol: Protocol,
    upstream: Mutex<SocketAddr>,
    refusing: AtomicBool,
    hold: watch::Sender<Hold>,
    cuts: watch::Sender<u32>,
    /// How many connections are still to lose an answer.
    to_swallow: AtomicU32,
    swallowed: AtomicU32,
    /// How many connections were served so far.
    served: AtomicU32,
}

impl State {
    /// Takes one of the answers that are to be lost, if there is one left.
    fn may_swallow(&self) -> bool {
        let taken = self.to_swallow.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        self.swallowed.fetch_add(u32::from(taken.is_ok()), Ordering::SeqCst);
        taken.is_ok()
    }
}

impl Proxy {
    /// Listens on a free port and passes everything on to `upstream`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(protocol: Protocol, upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let state = Arc::new(State {
            protocol,
            upstream: Mutex::new(upstream),
            refusing: AtomicBool::default(),
            hold: watch::Sender::default(),
            cuts: watch::Sender::default(),
            to_swallow: AtomicU32::default(),
            swallowed: AtomicU32::default(),
            served: AtomicU32::default(),
        });
        let mut listening = JoinSet::new();
        listening.spawn(listen(listener, Arc::clone(&state)));
        Self { address, state, _listening: listening }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets every connection; new ones are served.
    pub fn cut(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Resets new connections at once, or serves them again.
    pub fn refuse(&self, refuse: bool) {
        self.state.refusing.store(refuse, Ordering::SeqCst);
    }

    /// Holds back what is said, on every connection, present and new.
    pub fn hold(&self, hold: Hold) {
        self.state.hold.send_replace(hold);
    }

    /// Leads new connections elsewhere, as a balancer does.
    pub fn redirect(&self, upstream: SocketAddr) {
        *self.state.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    /// Loses so many answers, each on a connection that is reset in its place.
    pub fn swallow(&self, answers: u32) {
        self.state.to_swallow.store(answers, Ordering::SeqCst);
    }

    /// How many connections were served so far.
    pub fn served(&self) -> u32 {
        self.state.served.load(Ordering::SeqCst)
    }

    /// How many answers were lost so far.
    pub fn swallowed(&self) -> u32 {
        self.state.swallowed.load(Ordering::SeqCst)
    }
}

async fn listen(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if state.refusing.load(Ordering::SeqCst) {
            let _reset = client.set_zero_linger();
            continue;
        }
        state.served.fetch_add(1, Ordering::SeqCst);
        connections.spawn(serve(client, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection until both sides have ended it, or until it is reset.
async fn serve(mut client: TcpStream, state: Arc<State>) {
    let mut cuts = state.cuts.subscribe();
    let upstream = *state.upstream.lock().unwrap_or_else(PoisonError::into_inner);
    #[expect(clippy::disallowed_methods, reason = "a proxy of a test connects to what it stands before")]
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        let _reset = client.set_zero_linger();
        return;
    };
    // Without it, small messages would wait for the acknowledgement of the one before.
    let _delayed = (client.set_nodelay(true), server.set_nodelay(true));
    let ended = {
        let talk = Mutex::new(Talk::new(state.protocol));
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = pass(from_client, to_server, Direction::ToServer, &state, &talk);
        let back = pass(from_server, to_client, Direction::ToClient, &state, &talk);
        tokio::select! {
            // A cut that comes together with the end of a hold comes first: what was held is lost.
            biased;
            _ = cuts.changed() => Err(io::ErrorKind::ConnectionReset.into()),
            ended = async { tokio::try_join!(there, back) } => ended.map(drop),
        }
    };
    if ended.is_err() {
        let _reset = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Passes on what one side says, until it has nothing more to say.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    state: &State,
    talk: &Mutex<Talk>,
) -> io::Result<()> {
    let mut holds = state.hold.subscribe();
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk).await?;
        // The sender is part of the state, so it is never gone.
        let _flows = holds.wait_for(|hold| !hold.concerns(direction)).await.map(drop);
        if length == 0 {
            return to.shutdown().await;
        }
        let may_swallow = || state.may_swallow();
        let passed = {
            let mut talk = talk.lock().unwrap_or_else(PoisonError::into_inner);
            match direction {
                Direction::ToServer => Some(talk.heard_client(&chunk[..length], may_swallow)),
                Direction::ToClient => talk.heard_server(&chunk[..length], may_swallow),
            }
        };
        // None: the answer that was to be lost is complete, and the connection goes with it.
        let passed = passed.ok_or(io::ErrorKind::ConnectionReset)?;
        to.write_all(&passed).await?;
    }
}
