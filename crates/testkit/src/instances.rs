//! PostgreSQL and RabbitMQ of a test's own, on ports and folders of their own, to be killed and started again.
//! Whatever is dropped takes its processes and its folder with it.

mod folder;
mod postgres;
mod rabbitmq;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

pub use folder::Folder;
pub use postgres::Postgres;
pub use rabbitmq::RabbitMq;

/// The longest that a server may take to start; machines that build at the same time are slow.
const START_WITHIN: Duration = Duration::from_mins(1);

/// A free port that no outgoing connection is given, so that it is still free after a restart.
///
/// # Panics
/// When none is found.
pub fn steady_port() -> u16 {
    // Linux gives outgoing connections ports from 32,768 on.
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..1_000).map(|_| fastrand::u16(12_000..32_000)).find(free).expect("a port is free")
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Sends SIGKILL to all of `pids`; those that are gone already are no error.
fn kill(pids: &[u32]) {
    if !pids.is_empty() {
        let pids = pids.iter().map(u32::to_string);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "kill -s KILL \"$@\"", "sh"]).args(pids).stderr(Stdio::null());
        command.status().expect("a shell can send signals");
    }
}

/// The processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so the fields are counted from its end.
    let (state, parent) = stat.rsplit_once(')')?.1.trim_start().split_once(' ')?;
    if state == "Z" { None } else { parent.split(' ').next()?.parse().ok() }
}

fn is_alive(pid: u32) -> bool {
    parent_of(pid).is_some()
}

/// Runs a program that has to succeed.
async fn run(mut command: Command) {
    let shown = command.as_std().get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().await.expect("the program can be started");
    assert!(output.status.success(), "{shown} failed: {}", String::from_utf8_lossy(&output.stderr));
}
