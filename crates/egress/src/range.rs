//! What kind of place an address is: the ranges that are closed unless an operator opens them.
//! Sources: the IANA special-purpose registries for IPv4 and IPv6, RFC 6052 and RFC 3056 for
//! addresses that carry another one inside.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Why an address may not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// On the operator's deny list.
    Denied,
    /// `0.0.0.0/8` and `::`.
    Unspecified,
    /// `127.0.0.0/8` and `::1`.
    Loopback,
    /// RFC 1918, `fc00::/7` and the old site-local `fec0::/10`.
    Private,
    /// `169.254.0.0/16` and `fe80::/10`, where clouds keep their metadata.
    LinkLocal,
    /// `100.64.0.0/10`.
    CarrierGradeNat,
    /// A public address that a cloud uses for its own machinery.
    CloudInternal,
    /// Ranges for documentation.
    Documentation,
    /// `198.18.0.0/15`.
    Benchmarking,
    /// `224.0.0.0/4` and `ff00::/8`.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// An IPv6 address that carries an IPv4 address inside.
    Translated,
    /// Everything else that is not globally reachable.
    Reserved,
}

impl AddressClass {
    /// The class with its article, fit for a sentence.
    pub fn as_phrase(self) -> &'static str {
        match self {
            Self::Denied => "an address that this hub has blocked",
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::CarrierGradeNat => "a carrier-grade NAT address",
            Self::CloudInternal => "an internal address of a cloud",
            Self::Documentation => "a documentation address",
            Self::Benchmarking => "a benchmarking address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "a broadcast address",
            Self::Translated => "an IPv6 address that wraps an IPv4 address",
            Self::Reserved => "a reserved address",
        }
    }
}

/// The class that closes an IPv4 address, or `None` for one that is globally reachable.
pub(crate) fn forbidden_v4(ip: Ipv4Addr) -> Option<AddressClass> {
    let class = match ip.octets() {
        [0, ..] => AddressClass::Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressClass::Private,
        [100, 64..=127, ..] => AddressClass::CarrierGradeNat,
        [127, ..] => AddressClass::Loopback,
        [168, 63, 129, 16] => AddressClass::CloudInternal,
        [169, 254, ..] => AddressClass::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => AddressClass::Documentation,
        [198, 18..=19, ..] => AddressClass::Benchmarking,
        [224..=239, ..] => AddressClass::Multicast,
        [255, 255, 255, 255] => AddressClass::Broadcast,
        [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => AddressClass::Reserved,
        _ => return None,
    };
    Some(class)
}

/// The class that closes an IPv6 address, or `None` for one that is globally reachable.
///
/// Forms that wrap an IPv4 address are closed as such, whatever they wrap.
pub(crate) fn forbidden_v6(ip: Ipv6Addr) -> Option<AddressClass> {
    if ip.is_unspecified() {
        return Some(AddressClass::Unspecified);
    }
    if ip.is_loopback() {
        return Some(AddressClass::Loopback);
    }
    if wrapped(ip).is_some() {
        return Some(AddressClass::Translated);
    }
    let class = match ip.segments() {
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => AddressClass::Private,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        [0x2001, 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => AddressClass::Documentation,
        // The registry's protocol block 2001::/23, ORCHID and benchmarking among it.
        [0x2001, 0x0000..=0x01ff, ..] => AddressClass::Reserved,
        [0x2000..=0x3fff, ..] => return None,
        // Only 2000::/3 is global unicast, so 100::/64, 5f00::/16 and the unassigned rest end here.
        _ => AddressClass::Reserved,
    };
    Some(class)
}

/// An IPv4 address inside an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrapped {
    /// Every reading of the inner address; a form with one reading repeats it.
    pub(crate) inner: [Ipv4Addr; 2],
    /// How long the form's own prefix is; a longer one speaks about the inner address too.
    pub(crate) prefix_length: u8,
    /// Whether the socket layer treats the form as plain IPv4.
    pub(crate) is_mapped: bool,
}

impl Wrapped {
    fn once(inner: Ipv4Addr, prefix_length: u8) -> Self {
        Self { inner: [inner; 2], prefix_length, is_mapped: false }
    }
}

/// Unwraps the forms that carry an IPv4 address: mapped, compatible, NAT64, 6to4, Teredo.
pub(crate) fn wrapped(ip: Ipv6Addr) -> Option<Wrapped> {
    let segments = ip.segments();
    let last = joined(segments[6], segments[7]);
    match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] => Some(Wrapped { is_mapped: true, ..Wrapped::once(last, 96) }),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(Wrapped::once(last, 96)),
        // SIIT writes the mapped marker one group earlier.
        [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(Wrapped::once(last, 96)),
        // Under this /48 an operator picks the length, so both usual places are read.
        [0x64, 0xff9b, 1, high, low, ..] => {
            let [_, first] = low.to_be_bytes();
            let [second, _] = segments[5].to_be_bytes();
            let split = joined(high, u16::from_be_bytes([first, second]));
            Some(Wrapped { inner: [last, split], prefix_length: 48, is_mapped: false })
        }
        [0x2002, high, low, ..] => Some(Wrapped::once(joined(high, low), 16)),
        // Teredo keeps the client's address with every bit turned.
        [0x2001, 0, ..] => Some(Wrapped::once(joined(!segments[6], !segments[7]), 32)),
        _ => None,
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}
