//! Looks names up and vets every address of the answer, then hands those very addresses to the
//! connector: nothing is looked up twice, so an answer cannot change between check and use.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::limits::Limits;
use crate::policy::Policy;
use crate::refusal::Refusal;

const LONGEST_LOOKUP: Duration = Duration::from_secs(2);
/// More addresses than this are not dialled; a hostile zone could list thousands.
const MAX_ADDRESSES: usize = 8;

/// Why a name gave no address to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("the name leads to a forbidden address")]
    Refused(#[source] Refusal),
    #[error("the name could not be resolved")]
    NotFound,
    #[error("the name was not resolved in time")]
    TimedOut,
}

/// The resolver that the client asks for every host that is a name.
pub(crate) struct VettingResolver {
    policy: Arc<Policy>,
    timeout: Duration,
    slots: Arc<Semaphore>,
}

impl VettingResolver {
    pub(crate) fn new(policy: Arc<Policy>, limits: &Limits) -> Self {
        Self {
            policy,
            timeout: limits.lookup_timeout.min(LONGEST_LOOKUP),
            slots: Arc::new(Semaphore::new(limits.lookups.max(1))),
        }
    }
}

impl Resolve for VettingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        let looked_up = tokio::time::timeout(self.timeout, look_up(name, Arc::clone(&self.slots)));
        Box::pin(async move {
            let addresses = looked_up.await.map_err(|_| LookupError::TimedOut)??;
            Ok(Box::new(vetted(addresses, &policy)?.into_iter()) as Addrs)
        })
    }
}

/// Passes an answer on if all of it may be reached.
///
/// One forbidden address spoils the whole answer, or a mixed one would be a way in.
fn vetted(mut addresses: Vec<SocketAddr>, policy: &Policy) -> Result<Vec<SocketAddr>, LookupError> {
    for address in &addresses {
        policy.permits(address.ip()).map_err(LookupError::Refused)?;
    }
    addresses.truncate(MAX_ADDRESSES);
    Ok(addresses)
}

/// Asks the system's resolver.
///
/// The thread holds its slot to its own end, so that a slow name server which callers have given
/// up on cannot take every thread of the runtime.
async fn look_up(name: Name, slots: Arc<Semaphore>) -> Result<Vec<SocketAddr>, LookupError> {
    let slot = slots.acquire_owned().await.map_err(|_| LookupError::NotFound)?;
    let found = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        (name.as_str(), 0).to_socket_addrs().map(Vec::from_iter)
    })
    .await;
    match found {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        _ => Err(LookupError::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::AddressClass;

    fn answer(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect()
    }

    #[test]
    fn one_forbidden_address_spoils_the_answer_wherever_it_stands() {
        let forbidden = LookupError::Refused(Refusal::AddressForbidden(AddressClass::LinkLocal));
        for mixed in [
            ["169.254.169.254", "8.8.8.8", "2606:4700::1"],
            ["8.8.8.8", "169.254.169.254", "2606:4700::1"],
            ["8.8.8.8", "2606:4700::1", "fe80::1"],
        ] {
            assert_eq!(vetted(answer(&mixed), &Policy::default()), Err(forbidden));
        }
        let beyond_the_cut = [["8.8.8.8"; 8].as_slice(), &["169.254.169.254"]].concat();
        assert_eq!(vetted(answer(&beyond_the_cut), &Policy::default()), Err(forbidden));
    }

    #[test]
    fn the_dialled_addresses_are_the_vetted_ones_and_few() {
        let public = answer(&["8.8.8.8", "2606:4700::1"]);
        assert_eq!(vetted(public.clone(), &Policy::default()), Ok(public));
        let many = vetted(answer(&["8.8.8.8"; 100]), &Policy::default());
        assert_eq!(many.map(|addresses| addresses.len()), Ok(MAX_ADDRESSES));
    }
}
