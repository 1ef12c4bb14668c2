//! A batch of events as the lists that `unnest` takes, one for each column.

use std::collections::HashSet;

use busbar_domain::Timestamp;
use busbar_domain::event::{Label, Once};
use busbar_domain::id::TenantId;
use busbar_domain::subscription::Planned;
use uuid::Uuid;

use crate::order::Standings;

/// One list for each column, as `unnest` takes them.
#[derive(Default)]
pub(super) struct Columns<'p> {
    pub(super) id: Vec<Uuid>,
    pub(super) tenant: Vec<Uuid>,
    pub(super) kind: Vec<&'p str>,
    pub(super) subject: Vec<Option<&'p str>>,
    pub(super) project: Vec<Option<&'p str>>,
    pub(super) ordering_key: Vec<Option<&'p str>>,
    pub(super) occurred_at: Vec<Timestamp>,
    pub(super) state: Vec<&'static str>,
    pub(super) inbound: Vec<Option<Uuid>>,
    pub(super) trace: Vec<Vec<u8>>,
    pub(super) payload: Vec<&'p [u8]>,
    pub(super) guarded: Vec<bool>,
    pub(super) hops: Vec<i16>,
    pub(super) keys: Keys<'p>,
    pub(super) owed: OwedColumns<'p>,
    /// Deliveries that stand behind another.
    pub(super) waiting: HashSet<Uuid>,
}

/// The columns of `first_seen`.
#[derive(Default)]
pub(crate) struct Keys<'p> {
    pub(crate) tenant: Vec<Uuid>,
    pub(crate) scope: Vec<&'static str>,
    pub(crate) key: Vec<&'p str>,
    pub(crate) id: Vec<Uuid>,
    pub(crate) digest: Vec<Option<Vec<u8>>>,
    pub(crate) until: Vec<Timestamp>,
}

impl<'p> Keys<'p> {
    pub(crate) fn push(&mut self, tenant: TenantId, once: &'p Once, id: Uuid) {
        self.tenant.push(tenant.uuid());
        self.scope.push(once.scope);
        self.key.push(&once.key);
        self.id.push(id);
        self.digest.push(once.digest.map(Vec::from));
        self.until.push(once.until);
    }
}

#[derive(Default)]
pub(super) struct OwedColumns<'p> {
    pub(super) id: Vec<Uuid>,
    pub(super) tenant: Vec<Uuid>,
    pub(super) event: Vec<Uuid>,
    pub(super) webhook: Vec<Uuid>,
    pub(super) guarded: Vec<bool>,
    pub(super) ordering_key: Vec<Option<&'p str>>,
    pub(super) seq: Vec<Option<i64>>,
    pub(super) waits: Vec<bool>,
}

impl<'p> Columns<'p> {
    pub(super) fn of(planned: &'p [Planned], mut standings: Standings) -> Self {
        let mut rows = Self::default();
        for Planned { event, owed, spreading } in planned {
            let guarded = event.once.is_some();
            if let Some(once) = &event.once {
                rows.keys.push(event.tenant, once, event.id.uuid());
            }
            rows.id.push(event.id.uuid());
            rows.tenant.push(event.tenant.uuid());
            rows.kind.push(event.kind.as_str());
            rows.subject.push(event.subject.as_ref().map(Label::as_str));
            rows.project.push(event.project.as_ref().map(Label::as_str));
            rows.ordering_key.push(event.ordering_key.as_ref().map(Label::as_str));
            rows.occurred_at.push(event.occurred_at);
            rows.state.push(if *spreading { "spreading" } else { "accepted" });
            rows.inbound.push(event.inbound.map(Uuid::from));
            rows.trace.push(event.trace.to_bytes().to_vec());
            rows.payload.push(&event.payload);
            rows.guarded.push(guarded);
            rows.hops.push(event.hops.into());
            let key = event.ordering_key.as_ref().map(Label::as_str);
            for (delivery, webhook) in owed {
                let standing = key.and_then(|key| standings.next(webhook.uuid(), key));
                let waits = standing.is_some_and(|standing| standing.waits);
                if waits {
                    rows.waiting.insert(delivery.uuid());
                }
                rows.owed.ordering_key.push(standing.and(key));
                rows.owed.seq.push(standing.map(|standing| standing.seq));
                rows.owed.waits.push(waits);
                rows.owed.id.push(delivery.uuid());
                rows.owed.tenant.push(event.tenant.uuid());
                rows.owed.event.push(event.id.uuid());
                rows.owed.webhook.push(webhook.uuid());
                rows.owed.guarded.push(guarded);
            }
        }
        rows
    }
}
