//! Looks names up: the hosts file first, then A and AAAA at the same time. A look-up holds no
//! thread, takes two seconds at most, and an answer is kept no longer than its owner says.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};

use crate::limits::Limits;
use crate::slots::Slots;

const FAMILIES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];
const LONGEST_LOOKUP: Duration = Duration::from_secs(2);
const LONGEST_TTL: Duration = Duration::from_mins(5);
const LONGEST_NEGATIVE_TTL: Duration = Duration::from_secs(30);
/// How long one family is waited for when the other has an answer; some name servers ignore AAAA.
const OTHER_FAMILY: Duration = Duration::from_millis(250);
const CACHED_ANSWERS: u64 = 4_096;
/// Longer answers are not cached, or a hostile zone could fill the memory with them.
const LONGEST_CACHED_ANSWER: usize = 32;

/// Why a name gave no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("the name could not be resolved")]
    NotFound,
    #[error("the name was not resolved in time")]
    TimedOut,
}

/// Finds the addresses behind names; it judges none of them.
pub(crate) struct NameResolver {
    resolver: TokioResolver,
    hosts: Hosts,
    search: Vec<Name>,
    /// A name with fewer dots is looked for in the search domains first (resolv.conf(5), `ndots`).
    dots: usize,
    timeout: Duration,
    slots: Slots,
}

impl NameResolver {
    /// Asks `name_servers`, or those of the operating system where the list is empty.
    pub(crate) fn new(name_servers: &[SocketAddr], limits: &Limits) -> Result<Self, NetError> {
        let (config, mut options) = match name_servers {
            [] => system()?,
            fixed => (ResolverConfig::from_name_servers(fixed.iter().map(server).collect()), ResolverOpts::default()),
        };
        let timeout = limits.lookup_timeout.min(LONGEST_LOOKUP);
        options.timeout = timeout;
        options.attempts = 1;
        options.cache_size = CACHED_ANSWERS;
        options.positive_max_ttl = Some(LONGEST_TTL);
        options.negative_max_ttl = Some(limits.negative_ttl.min(LONGEST_NEGATIVE_TTL));
        options.preserve_intermediates = false;
        options.use_hosts_file = ResolveHosts::Never; // It is read below, where one family of it is a whole answer.
        let (search, dots) = (config.search().to_vec(), options.ndots);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        Ok(Self {
            resolver: builder.build()?,
            hosts: Hosts::from_system().unwrap_or_default(),
            search,
            dots,
            timeout,
            slots: Slots::new(limits.lookups),
        })
    }

    /// The addresses of a name, at least one.
    ///
    /// Where one family answers long after the other, the answer does without it.
    pub(crate) async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let name = Name::from_ascii(host).map_err(|_| LookupError::NotFound)?;
        let known = self.in_hosts_file(&absolute(name.clone()));
        if !known.is_empty() {
            return Ok(known);
        }
        tokio::time::timeout(self.timeout, self.ask(host, name)).await.unwrap_or(Err(LookupError::TimedOut))
    }

    fn in_hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        let lookups = FAMILIES.map(|family| self.hosts.lookup_static_host(&Query::query(name.clone(), family)));
        let records = lookups.iter().flatten().flat_map(Lookup::answers);
        records.filter_map(|record| record.data.ip_addr()).collect()
    }

    async fn ask(&self, host: &str, name: Name) -> Result<Vec<IpAddr>, LookupError> {
        let _slot = self.slots.take(host).await.map_err(|_| LookupError::NotFound)?;
        let mut outcome = Err(LookupError::NotFound);
        for name in self.candidates(name) {
            outcome = self.both_families(&name).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// The absolute names that a written one may mean, in the order of resolv.conf(5).
    fn candidates(&self, name: Name) -> Vec<Name> {
        let searched = self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut names: Vec<Name> = searched.map(absolute).collect();
        let first = usize::from(name.num_labels()) > self.dots;
        names.insert(if first { 0 } else { names.len() }, absolute(name));
        names
    }

    async fn both_families(&self, name: &Name) -> Result<Vec<IpAddr>, LookupError> {
        let mut asked: FuturesUnordered<_> = FAMILIES.into_iter().map(|family| self.family(name, family)).collect();
        let first = asked.next().await.unwrap_or(Err(LookupError::NotFound));
        let second = if first.is_ok() {
            tokio::time::timeout(OTHER_FAMILY, asked.next()).await.ok().flatten()
        } else {
            asked.next().await
        };
        match (first, second) {
            (Ok(first), Some(Ok(second))) => Ok([first, second].concat()),
            (Ok(found), _) | (Err(_), Some(Ok(found))) => Ok(found),
            (Err(LookupError::TimedOut), _) | (_, Some(Err(LookupError::TimedOut))) => Err(LookupError::TimedOut),
            (Err(LookupError::NotFound), _) => Err(LookupError::NotFound),
        }
    }

    async fn family(&self, name: &Name, family: RecordType) -> Result<Vec<IpAddr>, LookupError> {
        let answer = self.resolver.lookup(name.clone(), family).await.map_err(|error| match error {
            NetError::Timeout => LookupError::TimedOut,
            _ => LookupError::NotFound,
        })?;
        let records = answer.answers();
        if records.len() > LONGEST_CACHED_ANSWER {
            self.resolver.clear_lookup_cache(name.clone(), family);
        }
        let found: Vec<IpAddr> = records.iter().filter_map(|record| record.data.ip_addr()).collect();
        if found.is_empty() { Err(LookupError::NotFound) } else { Ok(found) }
    }
}

/// The system's name servers; without any, the one on this machine, as resolv.conf(5) says.
fn system() -> Result<(ResolverConfig, ResolverOpts), NetError> {
    match system_conf::read_system_conf() {
        Err(NetError::Io(error)) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Other) => {
            let local = server(&SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
            Ok((ResolverConfig::from_name_servers(vec![local]), ResolverOpts::default()))
        }
        read => read,
    }
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn absolute(mut name: Name) -> Name {
    name.set_fqdn(true);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_goes_beyond_the_longest_times() {
        let hour = Duration::from_hours(1);
        let limits = Limits { lookup_timeout: hour, negative_ttl: hour, ..Limits::default() };
        let resolver = NameResolver::new(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 53))], &limits).unwrap();
        let options = resolver.resolver.options();
        assert_eq!((resolver.timeout, options.timeout), (LONGEST_LOOKUP, LONGEST_LOOKUP));
        assert_eq!(options.positive_max_ttl, Some(Duration::from_mins(5)));
        assert_eq!(options.negative_max_ttl, Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_short_name_is_looked_for_in_the_search_domains_first() {
        let mut resolver =
            NameResolver::new(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 53))], &Limits::default()).unwrap();
        resolver.search = ["a.test", "b.test"].map(|domain| Name::from_ascii(domain).unwrap()).to_vec();
        let candidates = |host: &str| {
            let names = resolver.candidates(Name::from_ascii(host).unwrap());
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(candidates("erp"), ["erp.a.test.", "erp.b.test.", "erp."]);
        assert_eq!(candidates("erp.example"), ["erp.example.", "erp.example.a.test.", "erp.example.b.test."]);
    }
}
