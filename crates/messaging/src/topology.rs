//! Every queue that exists, as one table, and how it comes to be: services only check it, passively.
//! Queues are durable and bear one argument, their type; every limit is a policy of the operator.

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, Connection};
use serde_json::json;

use crate::config::{Config, Namespace, QueueType};
use crate::connection::{close, connect, open_channel, within};
use crate::error::{Error, is_not_found};
use crate::wakeup::Kind;
use busbar_domain::inbound::System;

/// A queue of work; its name on the broker is `<namespace>.<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Calls from `WorkPro`.
    InboundWorkpro,
    /// Calls from Procore.
    InboundProcore,
    /// Calls from Exact.
    InboundExact,
    /// Calls from ERPOps.
    InboundErpops,
    /// Deliveries that owe an attempt.
    Deliveries,
    /// What the processor does besides inbound calls.
    Jobs,
}

/// The queues of work in the order of [`Queue`], each with its name and the one kind of wake-up that it carries.
const QUEUES: [(Queue, &str, Kind); 6] = [
    (Queue::InboundWorkpro, "inbound.workpro", Kind::InboundReceived),
    (Queue::InboundProcore, "inbound.procore", Kind::InboundReceived),
    (Queue::InboundExact, "inbound.exact", Kind::InboundReceived),
    (Queue::InboundErpops, "inbound.erpops", Kind::InboundReceived),
    (Queue::Deliveries, "deliveries", Kind::DeliveryDue),
    (Queue::Jobs, "jobs", Kind::EventSpreading),
];

/// Where messages go that no consumer can read; whoever looks at it alarms when it is not empty.
pub const UNREADABLE: &str = "wakeups.unreadable";

impl Queue {
    /// How many queues of work there are.
    pub(crate) const COUNT: usize = QUEUES.len();

    /// Every queue of work.
    pub fn all() -> impl Iterator<Item = Self> {
        QUEUES.into_iter().map(|(queue, _, _)| queue)
    }

    /// The queue of a system's inbound calls, where the system calls us.
    pub fn inbound(system: System) -> Option<Self> {
        Self::all().find(|queue| queue.name().strip_prefix("inbound.") == Some(system.as_str()))
    }

    /// The queue with this name, without namespace.
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().find(|queue| queue.name() == name)
    }

    /// The name without namespace, as in metrics and settings.
    pub const fn name(self) -> &'static str {
        QUEUES[self.index()].1
    }

    /// The kind of its wake-ups.
    pub const fn kind(self) -> Kind {
        QUEUES[self.index()].2
    }

    /// The name on the broker.
    pub fn full_name(self, namespace: &Namespace) -> String {
        full_name(namespace, self.name())
    }

    /// The row of the table.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

pub(crate) fn full_name(namespace: &Namespace, name: &str) -> String {
    format!("{namespace}.{name}")
}

fn full_names(namespace: &Namespace) -> impl Iterator<Item = String> {
    Queue::all().map(Queue::name).chain([UNREADABLE]).map(|name| full_name(namespace, name))
}

/// Declares every queue; one that exists already stays as it is, and one of another type is an error.
pub async fn apply(config: &Config) -> Result<(), Error> {
    let connection = connect(config, "topology apply").await?;
    let channel = open_channel(&connection).await?;
    for queue in full_names(&config.namespace) {
        let mut arguments = FieldTable::default();
        let queue_type = AMQPValue::LongString(LongString::from(config.queue_type.as_str()));
        arguments.insert("x-queue-type".into(), queue_type);
        let declared = channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments);
        within("declare a queue", declared).await?;
    }
    close(&connection).await;
    Ok(())
}

/// Deletes every queue with what is in it; for tests, which have a namespace each.
pub async fn remove(config: &Config) -> Result<(), Error> {
    let connection = connect(config, "topology remove").await?;
    let channel = open_channel(&connection).await?;
    for queue in full_names(&config.namespace) {
        within("delete a queue", channel.queue_delete(queue.into(), QueueDeleteOptions::default())).await?;
    }
    close(&connection).await;
    Ok(())
}

/// How many messages wait in each queue, by name without namespace, [`UNREADABLE`] included; `None` where it is missing.
pub async fn depths(config: &Config) -> Result<Vec<(&'static str, Option<u32>)>, Error> {
    let connection = connect(config, "topology check").await?;
    let mut depths = Vec::with_capacity(Queue::COUNT + 1);
    for name in Queue::all().map(Queue::name).chain([UNREADABLE]) {
        let channel = open_channel(&connection).await?;
        depths.push((name, depth(&channel, &full_name(&config.namespace, name)).await?));
    }
    close(&connection).await;
    Ok(depths)
}

/// The queues as RabbitMQ's `definitions.json`, for import into `vhost` by who may configure the broker.
pub fn export(namespace: &Namespace, queue_type: QueueType, vhost: &str) -> String {
    let queues: Vec<_> = full_names(namespace)
        .map(|name| {
            json!({
                "name": name,
                "vhost": vhost,
                "durable": true,
                "auto_delete": false,
                "arguments": { "x-queue-type": queue_type.as_str() },
            })
        })
        .collect();
    format!("{:#}\n", json!({ "queues": queues }))
}

/// Checks on a throwaway channel that `queue` and the queue of unreadable messages exist.
pub(crate) async fn check(connection: &Connection, namespace: &Namespace, queue: Queue) -> Result<(), Error> {
    let channel = open_channel(connection).await?;
    for queue in [queue.full_name(namespace), full_name(namespace, UNREADABLE)] {
        if depth(&channel, &queue).await?.is_none() {
            return Err(Error::MissingQueue { queue });
        }
    }
    Ok(())
}

/// How many messages wait in a queue; where it is missing, `None`, and `channel` is closed.
pub(crate) async fn depth(channel: &Channel, queue: &str) -> Result<Option<u32>, Error> {
    let passive = QueueDeclareOptions::default().passive();
    let looked = async {
        match channel.queue_declare(queue.into(), passive, FieldTable::default()).await {
            Ok(queue) => Ok(Some(queue.message_count())),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    };
    within("look at a queue", looked).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, queue) in Queue::all().enumerate() {
            assert_eq!(queue.index(), index);
            assert_eq!(Queue::parse(queue.name()), Some(queue));
        }
        assert_eq!(Queue::Deliveries.full_name(&Namespace::parse("hub").unwrap()), "hub.deliveries");
        assert_eq!(Queue::inbound(System::Erpops), Some(Queue::InboundErpops));
        assert_eq!(Queue::inbound(System::Ptw), None);
    }

    #[test]
    fn the_export_names_every_queue_and_no_argument_but_its_type() {
        let text = export(&Namespace::parse("hub").unwrap(), QueueType::Quorum, "/");
        let definitions: serde_json::Value = serde_json::from_str(&text).unwrap();
        let queues = definitions["queues"].as_array().unwrap();
        assert_eq!(queues.len(), Queue::COUNT + 1);
        assert!(queues.iter().any(|queue| queue["name"] == "hub.wakeups.unreadable"));
        for queue in queues {
            assert_eq!(queue["arguments"], json!({ "x-queue-type": "quorum" }));
            assert_eq!(queue["durable"], true);
        }
    }
}
