//! What processes take of this machine, read from `/proc`: CPU time and the most memory.
//! A server elsewhere, or one that cannot be found here, is shown as not known.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The length of a tick of `/proc/<pid>/stat`; `USER_HZ` is 100 on every Linux that this runs on.
const TICK: Duration = Duration::from_millis(10);
const KIB: u64 = 1_024;

/// Processes whose use is measured as one.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    name: &'static str,
    who: Who,
}

#[derive(Clone, Copy, Debug)]
enum Who {
    /// One process.
    One(u32),
    /// A process and its children, which share memory.
    Family(u32),
    /// Not on this machine, or not found.
    Unknown,
}

/// CPU time so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    ticks: BTreeMap<u32, u64>,
    /// What children that have ended took.
    ended: u64,
}

/// What was taken between two looks.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    /// Whose.
    pub(super) name: &'static str,
    /// CPU time; `None` if it is not known.
    pub(super) cpu: Option<Duration>,
    /// The most memory, in bytes: a process's since its start, a family's at the end.
    pub(super) memory: Option<u64>,
}

impl Watched {
    /// One process.
    pub(super) const fn process(name: &'static str, pid: u32) -> Self {
        Self { name, who: Who::One(pid) }
    }

    /// This process.
    pub(super) fn this() -> Self {
        Self::process("generator and receiver", std::process::id())
    }

    /// The CPU time so far.
    pub(super) fn look(&self) -> Look {
        match self.who {
            Who::One(pid) => {
                let ticks = stat(pid).map(|stat| (pid, stat.ticks)).into_iter().collect();
                Look { ticks, ended: 0 }
            }
            Who::Family(head) => {
                let members = stat(head).into_iter().map(|stat| (head, stat)).chain(children(head));
                let ended = stat(head).map_or(0, |stat| stat.ended);
                Look { ticks: members.map(|(pid, stat)| (pid, stat.ticks)).collect(), ended }
            }
            Who::Unknown => Look::default(),
        }
    }

    /// What was taken since `before`.
    pub(super) fn cost(&self, before: &Look) -> Cost {
        let (cpu, memory) = match self.who {
            Who::One(pid) => (Some(self.look().since(before)), peak(pid)),
            Who::Family(head) => {
                let shares: Vec<_> = children(head).map(|(pid, _)| pid).chain([head]).map(share).collect();
                (Some(self.look().since(before)), shares.into_iter().sum())
            }
            Who::Unknown => (None, None),
        };
        Cost { name: self.name, cpu, memory }
    }
}

impl Look {
    fn since(&self, before: &Self) -> Duration {
        let running: u64 =
            self.ticks.iter().map(|(pid, ticks)| ticks.saturating_sub(*before.ticks.get(pid).unwrap_or(&0))).sum();
        let gone: u64 =
            before.ticks.iter().filter(|(pid, _)| !self.ticks.contains_key(pid)).map(|(_, ticks)| ticks).sum();
        let ended = (self.ended - before.ended.min(self.ended)).saturating_sub(gone);
        TICK * u32::try_from(running + ended).unwrap_or(u32::MAX)
    }
}

/// The PostgreSQL server that a URL names.
pub(super) fn postgres(url: &str) -> Watched {
    let who = local_port(url, 5_432)
        .and_then(|port| listener(port).or_else(only_postmaster))
        .map_or(Who::Unknown, Who::Family);
    Watched { name: "PostgreSQL", who }
}

/// The RabbitMQ server that a URL names.
pub(super) fn rabbitmq(url: &str) -> Watched {
    let default = if url.starts_with("amqps") { 5_671 } else { 5_672 };
    let found = local_port(url, default).and_then(|port| listener(port).or_else(|| only("beam.smp", |_| true)));
    Watched { name: "RabbitMQ", who: found.map_or(Who::Unknown, Who::One) }
}

/// The port of a URL, if its host is this machine.
fn local_port(url: &str, default: u16) -> Option<u16> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        Some(_) | None => (host, default),
    };
    matches!(host, "" | "localhost" | "127.0.0.1" | "[::1]").then_some(port)
}

struct Stat {
    name: String,
    parent: u32,
    ticks: u64,
    ended: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `<pid> (<name>) <state> <parent> ...`; names may hold blanks and parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let (start, rest) = text.rsplit_once(')')?;
    let name = start.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        name,
        parent: u32::try_from(number(1)?).ok()?,
        ticks: number(11)? + number(12)?,
        ended: number(13)? + number(14)?,
    })
}

fn processes() -> impl Iterator<Item = (u32, Stat)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, stat(pid)?))
    })
}

fn children(head: u32) -> impl Iterator<Item = (u32, Stat)> {
    processes().filter(move |(_, stat)| stat.parent == head)
}

/// The process that listens on a port of this machine, if its files may be looked at.
fn listener(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let socket = tables.iter().flat_map(|table| table.lines()).find_map(|line| listening(line, port))?;
    let link = format!("socket:[{socket}]");
    let owners = processes().filter(|(pid, _)| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|target| target.as_os_str() == link.as_str())
    });
    // Backends hold the listening socket for a moment after their fork; the oldest is their parent.
    owners.map(|(pid, _)| pid).min()
}

/// The socket of a line of `/proc/net/tcp`, if it listens on a port.
fn listening(line: &str, port: u16) -> Option<&str> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let local = fields.get(1)?.rsplit_once(':')?.1;
    let fits = u16::from_str_radix(local, 16) == Ok(port) && fields.get(3) == Some(&LISTEN);
    if fits { fields.get(9).copied() } else { None }
}

fn only_postmaster() -> Option<u32> {
    only("postgres", |stat| self::stat(stat.parent).is_none_or(|parent| parent.name != "postgres"))
}

/// The one process with this name that fits; `None` if there are several.
fn only(name: &str, fits: impl Fn(&Stat) -> bool) -> Option<u32> {
    let mut found = processes().filter(|(_, stat)| stat.name == name && fits(stat));
    let first = found.next()?.0;
    found.next().is_none().then_some(first)
}

/// The most memory that a process had resident, in bytes.
fn peak(pid: u32) -> Option<u64> {
    kib(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmHWM:")
}

/// A process's share of the memory that it uses with others, in bytes.
fn share(pid: u32) -> Option<u64> {
    kib(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:")
}

fn kib(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * KIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let text = "42 (a (b) c) S 7 42 42 0 -1 4194560 10 20 0 0 150 50 3 4 20 0 9 0 100 1 2";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.name.as_str(), stat.parent, stat.ticks, stat.ended), ("a (b) c", 7, 200, 7));
    }

    #[test]
    fn a_listening_socket_is_found_by_its_port() {
        let line = "0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000 101 0 4756 1 0 100";
        assert_eq!(listening(line, 5_432), Some("4756"));
        assert_eq!(listening(line, 5_433), None);
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), 5_432), None);
    }

    #[test]
    fn only_servers_of_this_machine_are_looked_for() {
        assert_eq!(local_port("postgres://u:p@127.0.0.1:5433/db", 5_432), Some(5_433));
        assert_eq!(local_port("postgres://localhost/db", 5_432), Some(5_432));
        assert_eq!(local_port("amqp://g:g@[::1]/%2f", 5_672), Some(5_672));
        assert_eq!(local_port("postgres:///db?host=/run", 5_432), Some(5_432));
        assert_eq!(local_port("postgres://db.example.com/db", 5_432), None);
    }

    #[test]
    fn this_process_can_be_measured() {
        let this = Watched::this();
        let cost = this.cost(&this.look());
        assert!(cost.cpu.is_some() && cost.memory.unwrap() > KIB);
    }

    #[test]
    fn what_ended_children_took_counts() {
        let before = Look { ticks: [(1, 10), (2, 50)].into(), ended: 100 };
        let after = Look { ticks: [(1, 15), (3, 4)].into(), ended: 160 };
        assert_eq!(after.since(&before), TICK * (5 + 4 + 10));
    }
}
