//! Addresses that may be dialled. Nothing else can be: the dialler takes only these, and there is
//! no way to make them but to ask the policy about each address of an answer.

use std::net::{IpAddr, SocketAddr};

use crate::policy::Policy;
use crate::refusal::Refusal;

/// More addresses than this are not dialled; a hostile zone could list thousands.
const MAX_ADDRESSES: usize = 8;

/// At least one address to dial, each of them permitted, the two families in turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Permitted(Vec<SocketAddr>);

impl Permitted {
    /// Passes an answer on if all of it may be reached.
    ///
    /// One forbidden address spoils the whole answer, or a mixed one would be a way in.
    pub(crate) fn all_of(answer: &[IpAddr], port: u16, policy: &Policy) -> Result<Self, Refusal> {
        answer.iter().try_for_each(|&ip| policy.permits(ip))?;
        let (mut sixes, mut fours) = (of_family(answer, IpAddr::is_ipv6), of_family(answer, IpAddr::is_ipv4));
        let mut addresses = Vec::with_capacity(MAX_ADDRESSES);
        while addresses.len() < MAX_ADDRESSES {
            let before = addresses.len();
            addresses.extend(sixes.next().into_iter().chain(fours.next()).map(|ip| SocketAddr::new(ip, port)));
            if addresses.len() == before {
                break;
            }
        }
        Ok(Self(addresses))
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, SocketAddr> {
        self.0.iter()
    }
}

fn of_family(answer: &[IpAddr], is_member: fn(&IpAddr) -> bool) -> impl Iterator<Item = IpAddr> {
    answer.iter().copied().filter(is_member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::AddressClass;

    fn answer(addresses: &[&str]) -> Vec<IpAddr> {
        addresses.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn dialled(addresses: &[&str]) -> Result<Vec<String>, Refusal> {
        let permitted = Permitted::all_of(&answer(addresses), 443, &Policy::default())?;
        Ok(permitted.iter().map(|address| address.ip().to_string()).collect())
    }

    #[test]
    fn one_forbidden_address_spoils_the_answer_wherever_it_stands() {
        let forbidden = Refusal::AddressForbidden(AddressClass::LinkLocal);
        for mixed in [
            ["169.254.169.254", "8.8.8.8", "2606:4700::1"],
            ["8.8.8.8", "169.254.169.254", "2606:4700::1"],
            ["8.8.8.8", "2606:4700::1", "fe80::1"],
        ] {
            assert_eq!(dialled(&mixed), Err(forbidden));
        }
        let beyond_the_cut = [["8.8.8.8"; 8].as_slice(), &["169.254.169.254"]].concat();
        assert_eq!(dialled(&beyond_the_cut), Err(forbidden));
    }

    #[test]
    fn the_dialled_addresses_are_few_and_their_families_take_turns() {
        let both = dialled(&["8.8.8.1", "8.8.8.2", "8.8.8.3", "2606:4700::1"]).unwrap();
        assert_eq!(both, ["2606:4700::1", "8.8.8.1", "8.8.8.2", "8.8.8.3"]);
        assert_eq!(dialled(&["8.8.8.1", "8.8.8.2"]).unwrap(), ["8.8.8.1", "8.8.8.2"]);
        assert_eq!(dialled(&["8.8.8.8"; 1_000]).unwrap().len(), MAX_ADDRESSES);
        let many = [["8.8.8.8"; 500].as_slice(), &["2606:4700::1"; 500]].concat();
        let families: Vec<bool> = dialled(&many).unwrap().iter().map(|ip| ip.contains(':')).collect();
        assert_eq!(families, [true, false, true, false, true, false, true, false]);
    }
}
