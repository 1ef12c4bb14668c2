//! Takes one delivery from the stream, and with it whatever is there already: batches form by themselves, without a
//! timer, while the previous one is being worked.

use futures_util::{FutureExt, StreamExt};
use lapin::Consumer;
use lapin::message::Delivery;
use lapin::types::DeliveryTag;
use uuid::Uuid;

use busbar_domain::trace::TraceContext;

use crate::error::Error;
use crate::topology::Queue;
use crate::unreadable::Aside;
use crate::wakeup::decode_into;

/// What is worked and acked as one.
pub(crate) struct Batch {
    /// Sorted and distinct.
    pub(crate) ids: Vec<Uuid>,
    /// Where all of the batch belongs to one trace.
    pub(crate) trace: Option<TraceContext>,
    /// Acking it with `multiple` acks the batch.
    pub(crate) last: DeliveryTag,
    /// How many messages it was, unreadable ones included.
    pub(crate) messages: usize,
    /// What could not be read.
    pub(crate) aside: Vec<Aside>,
}

/// The consumer's stream and the limits of a batch.
pub(crate) struct Intake {
    stream: Consumer,
    queue: Queue,
    full_name: String,
    max_messages: usize,
    max_ids: usize,
    /// A delivery that would have made the last batch too large.
    carried: Option<Delivery>,
}

impl Intake {
    pub(crate) fn new(stream: Consumer, queue: Queue, full_name: String, max_messages: usize, max_ids: usize) -> Self {
        Self { stream, queue, full_name, max_messages, max_ids, carried: None }
    }

    /// Waits for a delivery and takes what came with it; may be dropped while waiting.
    pub(crate) async fn next(&mut self) -> Result<Batch, Error> {
        let first = if let Some(delivery) = self.carried.take() {
            delivery
        } else {
            let next = self.stream.next().await;
            self.delivery(next)?
        };
        let mut batch =
            Batch { ids: Vec::new(), trace: None, last: first.delivery_tag, messages: 0, aside: Vec::new() };
        let mut traces = Traces::default();
        self.add(&mut batch, &mut traces, first);
        while batch.messages < self.max_messages && batch.ids.len() < self.max_ids && self.carried.is_none() {
            let Some(next) = self.stream.next().now_or_never() else { break };
            let delivery = self.delivery(next)?;
            self.add(&mut batch, &mut traces, delivery);
        }
        batch.trace = traces.common();
        batch.ids.sort_unstable();
        batch.ids.dedup();
        Ok(batch)
    }

    fn delivery(&self, next: Option<lapin::Result<Delivery>>) -> Result<Delivery, Error> {
        match next {
            Some(Ok(delivery)) => Ok(delivery),
            Some(Err(error)) => Err(Error::broker("consume", error)),
            None => Err(Error::Cancelled { queue: self.full_name.clone() }),
        }
    }

    fn add(&mut self, batch: &mut Batch, traces: &mut Traces, delivery: Delivery) {
        let before = batch.ids.len();
        match decode_into(self.queue.kind(), &delivery.data, &mut batch.ids) {
            Ok(_) if before > 0 && batch.ids.len() > self.max_ids => {
                batch.ids.truncate(before);
                self.carried = Some(delivery);
                return;
            }
            Ok(_) => traces.add(trace(&delivery)),
            Err(reason) => batch.aside.push(Aside { reason, message: delivery.data, properties: delivery.properties }),
        }
        batch.last = delivery.delivery_tag;
        batch.messages += 1;
    }
}

/// The traces of a batch, as far as they matter.
#[derive(Default)]
enum Traces {
    #[default]
    Unseen,
    One(TraceContext),
    Several,
}

impl Traces {
    fn add(&mut self, trace: Option<TraceContext>) {
        *self = match (&self, trace) {
            (Self::Unseen, Some(trace)) => Self::One(trace),
            (Self::One(seen), Some(trace)) if *seen == trace => return,
            _ => Self::Several,
        };
    }

    fn common(self) -> Option<TraceContext> {
        match self {
            Self::One(trace) => Some(trace),
            Self::Unseen | Self::Several => None,
        }
    }
}

fn trace(delivery: &Delivery) -> Option<TraceContext> {
    let header = delivery.properties.headers().as_ref()?.inner().get("traceparent")?;
    std::str::from_utf8(header.as_long_string()?.as_bytes()).ok().and_then(TraceContext::parse)
}
