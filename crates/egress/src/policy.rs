//! Which addresses may be reached: the deny list first, then the allow list, then the ranges that
//! are closed by nature. An address that wraps another is judged by what it wraps as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::range::{self, AddressClass, Wrapped};
use crate::refusal::Refusal;

/// The operator's rules about where requests may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    require_https: bool,
}

/// An entry of a list that is neither an address nor a range.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {list} list holds {entry:?}, which is neither an address nor a range such as 10.0.0.0/8")]
pub struct PolicyError {
    /// Which list: `allow` or `deny`.
    pub list: &'static str,
    /// The entry as written.
    pub entry: String,
}

impl Policy {
    /// Builds the rules from addresses (`127.0.0.1`) and ranges (`127.0.0.0/8`, `::1/128`).
    ///
    /// Blank entries, which an empty setting leaves behind, are skipped.
    pub fn parse(allow: &[String], deny: &[String], require_https: bool) -> Result<Self, PolicyError> {
        let allow = parse_list("allow", allow)?;
        let deny = parse_list("deny", deny)?.into_iter().map(unmapped).collect();
        Ok(Self { allow, deny, require_https })
    }

    /// Whether plain `http` is refused.
    pub fn requires_https(&self) -> bool {
        self.require_https
    }

    /// Judges one address.
    ///
    /// An allow entry for a wrapping form (NAT64, say) opens only what wraps a permitted address,
    /// unless the entry is longer than the form's own prefix and so speaks of the inner address.
    pub fn permits(&self, ip: IpAddr) -> Result<(), Refusal> {
        match ip {
            IpAddr::V4(ip) => self.permits_v4(ip),
            IpAddr::V6(ip) => self.permits_v6(ip),
        }
    }

    fn permits_v4(&self, ip: Ipv4Addr) -> Result<(), Refusal> {
        if self.denies(IpAddr::V4(ip)) {
            return Err(Refusal::AddressForbidden(AddressClass::Denied));
        }
        if self.allow_entry(IpAddr::V4(ip)).is_some() {
            return Ok(());
        }
        range::forbidden_v4(ip).map_or(Ok(()), |class| Err(Refusal::AddressForbidden(class)))
    }

    fn permits_v6(&self, ip: Ipv6Addr) -> Result<(), Refusal> {
        let wrapped = range::wrapped(ip);
        let inner = wrapped.map(|form| form.inner);
        if self.denies(IpAddr::V6(ip)) || inner.is_some_and(|inner| inner.iter().any(|&ip| self.denies(IpAddr::V4(ip))))
        {
            return Err(Refusal::AddressForbidden(AddressClass::Denied));
        }
        match (self.allow_entry(IpAddr::V6(ip)), wrapped) {
            (Some(_), None) => Ok(()),
            (Some(entry), Some(form)) if entry.prefix_len() > form.prefix_length => Ok(()),
            (Some(_), Some(form)) => form.inner.iter().try_for_each(|&ip| self.permits_v4(ip)),
            (None, Some(Wrapped { is_mapped: true, inner: [ip, _], .. }))
                if self.allow_entry(IpAddr::V4(ip)).is_some() =>
            {
                Ok(())
            }
            (None, _) => range::forbidden_v6(ip).map_or(Ok(()), |class| Err(Refusal::AddressForbidden(class))),
        }
    }

    fn denies(&self, ip: IpAddr) -> bool {
        self.deny.iter().any(|net| net.contains(&ip))
    }

    /// The longest allow entry that holds the address.
    fn allow_entry(&self, ip: IpAddr) -> Option<&IpNet> {
        self.allow.iter().filter(|net| net.contains(&ip)).max_by_key(|net| net.prefix_len())
    }
}

fn parse_list(list: &'static str, entries: &[String]) -> Result<Vec<IpNet>, PolicyError> {
    entries
        .iter()
        .map(|entry| (entry, entry.trim()))
        .filter(|(_, text)| !text.is_empty())
        .map(|(entry, text)| {
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map(|net| net.trunc())
                .map_err(|_| PolicyError { list, entry: entry.clone() })
        })
        .collect()
}

/// Turns a denied IPv4-mapped range into the IPv4 range, which covers both ways of writing it.
fn unmapped(net: IpNet) -> IpNet {
    if let IpNet::V6(v6) = net
        && let Some(inner) = v6.network().to_ipv4_mapped()
        && let Some(length) = v6.prefix_len().checked_sub(96)
        && let Ok(v4) = Ipv4Net::new(inner, length)
    {
        return IpNet::V4(v4);
    }
    net
}
