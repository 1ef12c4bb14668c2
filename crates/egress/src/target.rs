//! [`Target::parse`] is the only door for an outgoing URL, whoever wrote it. One parser decides
//! what the URL means, and what is stored, shown and dialled is that parser's own writing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http::Uri;
use url::{Host, Url};

use crate::policy::Policy;
use crate::range::AddressClass;
use crate::refusal::Refusal;

/// The longest URL, in bytes, as given and as normalised.
pub const MAX_URL_LENGTH: usize = 2_048;

/// Ports of other protocols that a posted body could speak; the Fetch Standard's list, "bad port".
const FOREIGN_PORTS: [u16; 83] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
    110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531,
    532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060,
    5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// A vetted outgoing URL; a clone shares it.
///
/// `Debug` shows the origin only, since paths and queries of webhooks hold secrets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    inner: Arc<Vetted>,
}

#[derive(PartialEq, Eq, Hash)]
struct Vetted {
    url: Url,
    /// The same in the client's own type, made once.
    uri: Uri,
    /// The address where the host is one; such hosts never reach the resolver.
    literal: Option<IpAddr>,
}

impl Target {
    /// Parses and vets a URL; a fragment is dropped, a host's trailing dot too.
    ///
    /// Names are not resolved here: the addresses behind a name are vetted at each connection.
    pub fn parse(text: &str, policy: &Policy) -> Result<Self, Refusal> {
        if text.len() > MAX_URL_LENGTH {
            return Err(Refusal::UrlTooLong);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(Refusal::UrlInvalid);
        }
        vet_shape(text)?;

        let mut url = Url::parse(text).map_err(|error| match error {
            url::ParseError::EmptyHost => Refusal::HostMissing,
            _ => Refusal::UrlInvalid,
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::SchemeNotAllowed);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserinfoNotAllowed);
        }
        url.set_fragment(None);
        let literal = vet_host(&mut url, policy)?;
        if url.port().is_some_and(|port| FOREIGN_PORTS.contains(&port)) {
            return Err(Refusal::PortNotAllowed);
        }
        if url.as_str().len() > MAX_URL_LENGTH {
            return Err(Refusal::UrlTooLong);
        }

        let uri = Uri::try_from(url.as_str()).map_err(|_| Refusal::UrlInvalid)?;
        let target = Self { inner: Arc::new(Vetted { url, uri, literal }) };
        target.vet(policy)?;
        Ok(target)
    }

    /// The URL as it is dialled.
    pub fn as_str(&self) -> &str {
        self.inner.url.as_str()
    }

    /// Scheme, host and port, such as `https://example.com` or `http://127.0.0.1:8090`.
    ///
    /// Stored secrets are bound to it.
    pub fn origin(&self) -> String {
        self.inner.url.origin().ascii_serialization()
    }

    /// The host as it is dialled; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        self.inner.url.host_str().unwrap_or_default()
    }

    /// The port, written or implied by the scheme.
    pub fn port(&self) -> u16 {
        self.inner.url.port_or_known_default().unwrap_or_default()
    }

    /// Vets what no resolver will see: the scheme and an address written as the host.
    ///
    /// Runs before each request, so that rules which changed since parsing hold.
    pub(crate) fn vet(&self, policy: &Policy) -> Result<(), Refusal> {
        if policy.requires_https() && self.inner.url.scheme() != "https" {
            return Err(Refusal::HttpsRequired);
        }
        self.inner.literal.map_or(Ok(()), |ip| policy.permits(ip))
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.inner.uri
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.origin()).finish()
    }
}

/// Refuses what the parser would silently mend: missing or surplus slashes and an empty userinfo.
fn vet_shape(text: &str) -> Result<(), Refusal> {
    let (scheme, rest) = text.split_once(':').ok_or(Refusal::UrlInvalid)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        return Err(if is_scheme { Refusal::SchemeNotAllowed } else { Refusal::UrlInvalid });
    }
    let rest = rest.strip_prefix("//").ok_or(Refusal::UrlInvalid)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(Refusal::HostMissing);
    }
    if authority.contains('@') {
        return Err(Refusal::UserinfoNotAllowed);
    }
    Ok(())
}

/// Vets the host and gives its address if it is written as one.
fn vet_host(url: &mut Url, policy: &Policy) -> Result<Option<IpAddr>, Refusal> {
    let name = match url.host().ok_or(Refusal::HostMissing)? {
        Host::Ipv4(ip) => return Ok(Some(IpAddr::V4(ip))),
        Host::Ipv6(ip) => return Ok(Some(IpAddr::V6(ip))),
        Host::Domain(name) => name,
    };
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.len() > 253 || bare.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err(Refusal::UrlInvalid);
    }
    if (bare == "localhost" || bare.ends_with(".localhost")) && !permits_loopback(policy) {
        return Err(Refusal::AddressForbidden(AddressClass::Loopback));
    }
    if bare.len() != name.len() {
        let bare = bare.to_owned();
        url.set_host(Some(&bare)).map_err(|_| Refusal::UrlInvalid)?;
    }
    Ok(None)
}

fn permits_loopback(policy: &Policy) -> bool {
    policy.permits(IpAddr::V4(Ipv4Addr::LOCALHOST)).is_ok() || policy.permits(IpAddr::V6(Ipv6Addr::LOCALHOST)).is_ok()
}
