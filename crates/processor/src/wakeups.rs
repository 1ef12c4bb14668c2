//! Wake-ups that nobody could read become dead letters of the platform's operator, so that the broker keeps none.

use busbar_domain::{Clock, Failure};
use busbar_messaging::{Shelf, Unread};
use busbar_runtime::Parts;
use busbar_storage::Database;
use busbar_storage::dead_letters::{UnreadableWakeup, insert_unreadable};

use crate::metric;

/// Puts unreadable wake-ups on the dead-letter desk.
pub(crate) struct Wakeups {
    database: Database,
    clock: Clock,
}

impl Wakeups {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self { database: parts.database.clone(), clock: parts.clock.clone() }
    }
}

impl Shelf for Wakeups {
    async fn keep(&self, messages: Vec<Unread>) -> Result<(), Failure> {
        let wakeups: Vec<UnreadableWakeup> = messages.into_iter().map(wakeup).collect();
        let mut tx = self.database.begin().await?;
        insert_unreadable(&mut tx, &wakeups, self.clock.now()).await?;
        tx.commit().await?;
        metrics::counter!(metric::UNREADABLE).increment(wakeups.len() as u64);
        Ok(())
    }
}

fn wakeup(unread: Unread) -> UnreadableWakeup {
    UnreadableWakeup {
        queue: unread.queue,
        error: unread.reason,
        sent_at: unread.sent_at,
        message_id: unread.message_id,
        message: unread.message,
    }
}
