//! Bounds how many name look-ups run at once, and how many of them one zone may hold: a zone that
//! never answers keeps its own share busy and no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// One zone may hold a quarter of all slots.
const SHARE: usize = 4;

/// The right to look one name up, given back when dropped.
pub(crate) struct Slot {
    _of_all: OwnedSemaphorePermit,
    _of_zone: OwnedSemaphorePermit,
}

pub(crate) struct Slots {
    all: Arc<Semaphore>,
    share: usize,
    /// The zones that something is looked up in, or waits to be.
    zones: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        let count = count.max(1);
        Self { all: Arc::new(Semaphore::new(count)), share: (count / SHARE).max(1), zones: Mutex::new(HashMap::new()) }
    }

    /// Waits for a slot of the host's zone, then for one of all.
    pub(crate) async fn take(&self, host: &str) -> Result<Slot, AcquireError> {
        let of_zone = self.zone(host).acquire_owned().await?;
        let of_all = Arc::clone(&self.all).acquire_owned().await?;
        Ok(Slot { _of_all: of_all, _of_zone: of_zone })
    }

    fn zone(&self, host: &str) -> Arc<Semaphore> {
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(zone) = zones.get(zone_of(host)).and_then(Weak::upgrade) {
            return zone;
        }
        zones.retain(|_, zone| zone.strong_count() > 0);
        let zone = Arc::new(Semaphore::new(self.share));
        zones.insert(zone_of(host).to_owned(), Arc::downgrade(&zone));
        zone
    }
}

/// The end of a name that one owner most likely holds: `example.com`, or `example.co.uk` where a
/// short label before a country's stands for the country's own division.
fn zone_of(host: &str) -> &str {
    let mut starts = host.rmatch_indices('.').map(|(dot, _)| dot + 1);
    let (Some(last), second) = (starts.next(), starts.next()) else { return host };
    let Some(second) = second else { return host };
    let is_division = host.len() - last == 2 && last - second <= 4;
    if is_division { &host[starts.next().unwrap_or(0)..] } else { &host[second..] }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_zone_is_what_one_owner_holds() {
        for (host, zone) in [
            ("localhost", "localhost"),
            ("example.com", "example.com"),
            ("a.b.example.com", "example.com"),
            ("example.co.uk", "example.co.uk"),
            ("a.b.example.co.uk", "example.co.uk"),
            ("co.uk", "co.uk"),
            ("a.example.de", "example.de"),
            ("a.example.info", "example.info"),
        ] {
            assert_eq!(zone_of(host), zone, "{host}");
        }
    }

    #[test]
    fn a_zone_takes_its_share_and_leaves_the_rest() {
        let slots = Slots::new(8);
        let take = |host| slots.take(host).now_or_never();
        let first = take("a.dead.test").unwrap();
        let _second = take("b.dead.test").unwrap();
        assert!(take("c.dead.test").is_none(), "a third of eight was had");
        assert!(take("a.live.test").is_some(), "another zone had to wait");
        drop(first);
        assert!(take("c.dead.test").is_some(), "what was given back was not had");
    }

    #[test]
    fn all_zones_together_take_no_more_than_there_is() {
        let slots = Slots::new(4);
        let take = |host| slots.take(host).now_or_never();
        let held = ["a.test", "b.test", "c.test", "d.test"].map(|host| take(host).unwrap());
        assert!(take("e.test").is_none(), "a fifth of four was had");
        drop(held);
        assert!(take("e.test").is_some());
        drop(slots.zone("f.test"));
        assert_eq!(slots.zones.lock().unwrap().len(), 1, "zones that nobody asks for are kept");
    }
}
