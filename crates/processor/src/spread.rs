//! Wide fan-outs: an event that is owed to more webhooks than one transaction should write is spread in chunks, in
//! order of webhook ids, each chunk with how far it has come.

use busbar_domain::id::{DeliveryId, WebhookId};
use busbar_domain::subscription::WIDEST;
use busbar_domain::trace::TraceContext;
use busbar_domain::{Clock, Failure};
use busbar_messaging::{Handler, Publisher, Queue};
use busbar_runtime::Parts;
use busbar_storage::access::Plans;
use busbar_storage::due::WAKE_GRACE;
use busbar_storage::spread::{Spreading, advance, lock};
use busbar_storage::{Database, Error};
use uuid::Uuid;

use crate::metric;

/// Finishes wide fan-outs.
pub(crate) struct Spread {
    database: Database,
    clock: Clock,
    plans: Plans,
    publisher: Publisher,
}

impl Spread {
    pub(crate) fn new(parts: &Parts, publisher: Publisher) -> Self {
        Self {
            database: parts.database.clone(),
            clock: parts.clock.clone(),
            plans: Plans::new(parts.database.clone(), parts.changes.clone()),
            publisher,
        }
    }

    /// Writes one chunk; answers whether there is more.
    async fn chunk(&self, id: Uuid) -> Result<bool, Error> {
        let mut tx = self.database.begin().await?;
        let Some(event) = lock(&mut tx, id).await? else { return Ok(false) };
        let webhooks = self.next_webhooks(&event).await?;
        let now = self.clock.now();
        let done = webhooks.len() <= WIDEST;
        let owed: Vec<_> = webhooks.into_iter().take(WIDEST).map(|webhook| (DeliveryId::new(now), webhook)).collect();
        let takes = self.publisher.takes(Queue::Deliveries);
        let due_at = if takes { now + WAKE_GRACE } else { now };
        advance(&mut tx, &event, &owed, done, now, due_at).await?;
        tx.commit().await?;
        metrics::counter!(metric::SPREAD).increment(owed.len() as u64);
        if takes {
            let mut ids: Vec<Uuid> = owed.iter().map(|(delivery, _)| delivery.uuid()).collect();
            ids.sort_unstable();
            self.publisher.wake(Queue::Deliveries, &ids, None);
        }
        Ok(!done)
    }

    /// The webhooks after the last one reached, one more than a chunk has if there are so many.
    async fn next_webhooks(&self, event: &Spreading) -> Result<Vec<WebhookId>, Error> {
        let subscriptions = self.plans.of([event.tenant]).await?;
        let Some(subscriptions) = subscriptions.get(&event.tenant) else { return Ok(Vec::new()) };
        let mut webhooks: Vec<WebhookId> = subscriptions
            .owed(&event.kind, event.project.as_ref(), || event.facts())
            .filter(|webhook| event.after.is_none_or(|after| *webhook > after))
            .collect();
        webhooks.sort_unstable();
        webhooks.truncate(WIDEST + 1);
        Ok(webhooks)
    }
}

impl Handler for Spread {
    async fn handle(&self, ids: Vec<Uuid>, _trace: Option<TraceContext>) -> Result<(), Failure> {
        for id in ids {
            while self.chunk(id).await? {}
        }
        Ok(())
    }
}
