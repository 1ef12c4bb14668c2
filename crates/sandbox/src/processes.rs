//! Services as child processes, for benchmarks and crash tests: started, awaited, killed and restarted by name.
//! Whatever still runs when this is dropped is killed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::load::Exchange;

/// How much of a log an error shows.
const TAIL: usize = 4_096;
const PAUSE: Duration = Duration::from_millis(20);
const PROBE: Duration = Duration::from_secs(2);

/// How to start a service.
#[derive(Clone, Debug)]
pub struct Service {
    /// What it is called here.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Added to the environment of this process.
    pub environment: Vec<(String, String)>,
    /// Where its `/readyz` is.
    pub ops: SocketAddr,
}

/// What went wrong with a service.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Nothing of this name was started.
    #[error("no service is called {0}")]
    Unknown(String),
    /// It could not be started or signalled.
    #[error("{name}: {source}")]
    System {
        /// The service.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("{name} ended with {status} before it was ready; its log ends:\n{log}")]
    Ended {
        /// The service.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// It was not ready in time, or did not end in time.
    #[error("{name} is not {expected} after {waited:?}: {last}; its log ends:\n{log}")]
    Late {
        /// The service.
        name: String,
        /// What it was to be: ready, or gone.
        expected: &'static str,
        /// How long that was waited for.
        waited: Duration,
        /// What it said last.
        last: String,
        /// The end of its log.
        log: String,
    },
}

/// Services of one run, each with its log in one folder.
#[derive(Debug)]
pub struct Processes {
    folder: PathBuf,
    all: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    service: Service,
    child: Option<Child>,
}

impl Processes {
    /// None yet; logs will be `folder/<name>.log`.
    pub fn new(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, all: BTreeMap::new() })
    }

    /// Starts a service; must be called inside a tokio runtime.
    pub fn start(&mut self, service: Service) -> Result<(), ProcessError> {
        let name = service.name.clone();
        let child = self.spawn(&service).map_err(system(&name))?;
        self.all.insert(name, Entry { service, child: Some(child) });
        Ok(())
    }

    /// Starts a service again as it was started first; it must have ended.
    pub fn restart(&mut self, name: &str) -> Result<(), ProcessError> {
        let service = self.entry(name)?.service.clone();
        self.start(service)
    }

    /// The process of a service, while it runs.
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.all.get(name)?.child.as_ref()?.id()
    }

    /// Kills a service as a crash would, and waits until it is gone.
    pub async fn kill(&mut self, name: &str) -> Result<(), ProcessError> {
        let Some(mut child) = self.entry(name)?.child.take() else { return Ok(()) };
        child.kill().await.map_err(system(name))
    }

    /// Sends a signal, such as `TERM`, `STOP` or `CONT`.
    pub async fn signal(&self, name: &str, signal: &str) -> Result<(), ProcessError> {
        let pid = self.pid(name).ok_or_else(|| ProcessError::Unknown(name.to_owned()))?.to_string();
        let script = "kill -s \"$1\" \"$2\"";
        let sent = Command::new("sh").args(["-c", script, "sh", signal, &pid]).status().await.map_err(system(name))?;
        if sent.success() { Ok(()) } else { Err(system(name)(io::Error::other("the signal was refused"))) }
    }

    /// Asks a service to end and waits for it.
    pub async fn terminate(&mut self, name: &str, deadline: Duration) -> Result<Option<ExitStatus>, ProcessError> {
        if self.pid(name).is_none() {
            return Ok(None);
        }
        self.signal(name, "TERM").await?;
        self.ended(name, deadline).await
    }

    /// Waits until a service that was told to end has ended; `None` if it had before.
    pub async fn ended(&mut self, name: &str, deadline: Duration) -> Result<Option<ExitStatus>, ProcessError> {
        let Some(child) = self.entry(name)?.child.as_mut() else { return Ok(None) };
        let Ok(ended) = tokio::time::timeout(deadline, child.wait()).await else {
            return Err(self.late(name, "gone", deadline, "it still runs".to_owned()));
        };
        self.entry(name)?.child = None;
        ended.map(Some).map_err(system(name))
    }

    /// Waits until `/readyz` of a service answers 200.
    pub async fn wait_ready(&mut self, name: &str, deadline: Duration) -> Result<(), ProcessError> {
        let started = Instant::now();
        loop {
            let log = self.log_tail(name);
            let entry = self.entry(name)?;
            let child = entry.child.as_mut().ok_or_else(|| ProcessError::Unknown(name.to_owned()))?;
            if let Some(status) = child.try_wait().map_err(system(name))? {
                return Err(ProcessError::Ended { name: name.to_owned(), status, log });
            }
            let last = match tokio::time::timeout(PROBE, probe(entry.service.ops)).await {
                Ok(Ok((200, _))) => return Ok(()),
                Ok(Ok((status, body))) => format!("/readyz answers {status} {body}"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "/readyz does not answer".to_owned(),
            };
            if started.elapsed() > deadline {
                return Err(self.late(name, "ready", deadline, last));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks all services to end, and kills what does not within `deadline`.
    pub async fn stop(&mut self, deadline: Duration) {
        let started = Instant::now();
        let names: Vec<_> = self.all.keys().cloned().collect();
        for name in &names {
            // One that has ended by itself cannot be signalled, and need not be.
            let _ = self.signal(name, "TERM").await;
        }
        for entry in self.all.values_mut() {
            let Some(mut child) = entry.child.take() else { continue };
            let rest = deadline.saturating_sub(started.elapsed());
            if tokio::time::timeout(rest, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }

    /// The end of a service's log.
    pub fn log_tail(&self, name: &str) -> String {
        let bytes = fs::read(self.log(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL)..]).into_owned()
    }

    /// Where the logs are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn spawn(&self, service: &Service) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(self.log(&service.name))?;
        Command::new(&service.program)
            .args(&service.arguments)
            .envs(service.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
    }

    fn entry(&mut self, name: &str) -> Result<&mut Entry, ProcessError> {
        self.all.get_mut(name).ok_or_else(|| ProcessError::Unknown(name.to_owned()))
    }

    fn late(&self, name: &str, expected: &'static str, waited: Duration, last: String) -> ProcessError {
        ProcessError::Late { name: name.to_owned(), expected, waited, last, log: self.log_tail(name) }
    }
}

/// So many loopback addresses that were free a moment ago, all of them different.
pub fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    // All are held until the last is known, so that none is given twice.
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<_>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}

async fn probe(ops: SocketAddr) -> io::Result<(u16, String)> {
    let mut exchange = Exchange::open(ops).await?;
    let reply = exchange.send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    Ok((reply.status, String::from_utf8_lossy(reply.body).into_owned()))
}

fn system(name: &str) -> impl Fn(io::Error) -> ProcessError {
    let name = name.to_owned();
    move |source| ProcessError::System { name: name.clone(), source }
}
