//! Custom headers of a webhook: how requests give them and answers show them. A value never comes back; a mask stands
//! in its place, and the mask sent back keeps what is stored.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use busbar_domain::custom_header::{CustomHeader, InvalidHeader, MAX_HEADERS};
use busbar_domain::id::WebhookId;
use busbar_egress::Target;
use busbar_storage::access::open_headers;
use busbar_storage::webhooks::WebhookFields;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::desk::Desk;
use crate::fields::{Faults, Given};

/// What is shown in place of a value.
const MASK: &str = "********";

/// Headers as a request gives them, in its order. They hold secrets, so they do not print.
pub(crate) struct GivenHeaders(Vec<(String, String)>);

/// What becomes of a webhook's headers.
pub(super) enum Settled {
    /// They stay as they are stored.
    Kept,
    /// These, and no others.
    Set(Vec<CustomHeader>),
}

impl<'de> Deserialize<'de> for GivenHeaders {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Pairs)
    }
}

/// Reads an object and keeps every member, so that a name that comes twice is seen.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = GivenHeaders;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of header names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<GivenHeaders, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(GivenHeaders(pairs))
    }
}

/// What is shown of headers with these names.
pub(super) fn masked(names: Vec<String>) -> BTreeMap<String, &'static str> {
    names.into_iter().map(|name| (name, MASK)).collect()
}

/// What becomes of the headers of `base`, the webhook `id`, when its URL is to be `url`.
pub(super) fn headers(
    given: Given<GivenHeaders>,
    (id, base): (WebhookId, &WebhookFields),
    url: Option<&str>,
    desk: &Desk,
    faults: &mut Faults,
) -> Option<Settled> {
    let given = match given {
        Given::Null => return Some(Settled::Set(Vec::new())),
        Given::Absent => None,
        Given::Value(given) => Some(given),
    };
    let keeps = given.as_ref().map_or(base.headers.is_some(), GivenHeaders::keeps);
    if keeps && base.headers.is_some() && url.is_some_and(|url| leads_elsewhere(&base.url, url, desk)) {
        let detail = "The URL leads elsewhere, so every custom header must be given again with its value, or none.";
        faults.add("/headers", "SECRET_REQUIRED", detail);
        return None;
    }
    let Some(given) = given else { return Some(Settled::Kept) };
    let stored = if keeps { stored(id, base, desk) } else { Vec::new() };
    given.read(&stored, faults).map(Settled::Set)
}

/// Whether scheme, host or port of a webhook change: stored secrets are never sent to another place.
fn leads_elsewhere(old: &str, new: &str, desk: &Desk) -> bool {
    // What may not be called any more has no origin, and is another place than any.
    let origin = |url| Target::parse(url, desk.policy()).ok().map(|target| target.origin());
    old != new && (origin(old).is_none() || origin(old) != origin(new))
}

/// The headers that are stored; none if they do not open, so that they must be given again.
fn stored(id: WebhookId, base: &WebhookFields, desk: &Desk) -> Vec<CustomHeader> {
    let Some(sealed) = &base.headers else { return Vec::new() };
    open_headers(desk.database().keyring(), id.uuid(), sealed).unwrap_or_else(|error| {
        tracing::error!(webhook = %id, %error, "custom headers cannot be read");
        Vec::new()
    })
}

impl GivenHeaders {
    /// Whether a value is to stay as it is stored.
    fn keeps(&self) -> bool {
        self.0.iter().any(|(_, value)| value == MASK)
    }

    /// The headers that are meant, values that are masked taken from `stored`.
    fn read(self, stored: &[CustomHeader], faults: &mut Faults) -> Option<Vec<CustomHeader>> {
        if self.0.len() > MAX_HEADERS {
            faults.add("/headers", "TOO_MANY", format!("A webhook has at most {MAX_HEADERS} headers."));
            return None;
        }
        let mut names = HashSet::new();
        let mut headers = Vec::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            let pointer = pointer(name);
            if !names.insert(name.to_ascii_lowercase()) {
                faults.add(pointer, "DUPLICATE_HEADER", "A header is given once, whatever the case of its name.");
                continue;
            }
            match CustomHeader::parse(name, value) {
                Ok(header) if value == MASK => match stored.iter().find(|known| known.name() == header.name()) {
                    Some(known) => headers.push(known.clone()),
                    None => faults.add(pointer, "SECRET_REQUIRED", "No value is stored for this header; give it."),
                },
                Ok(header) => headers.push(header),
                Err(error) => faults.add(pointer, code(error), error.to_string()),
            }
        }
        Some(headers)
    }
}

const fn code(error: InvalidHeader) -> &'static str {
    match error {
        InvalidHeader::Name => "INVALID_HEADER_NAME",
        InvalidHeader::Reserved => "RESERVED_HEADER",
        InvalidHeader::Value => "INVALID_HEADER_VALUE",
    }
}

/// The JSON pointer of a header (RFC 6901, 3).
fn pointer(name: &str) -> String {
    format!("/headers/{}", name.replace('~', "~0").replace('/', "~1"))
}
