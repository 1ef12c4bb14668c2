//! The one room that knows the broker: its topology, the wake-up on the wire, publishing with confirms, consuming in
//! batches. A wake-up is a hint: losing one is safe, duplicates are expected, and only its ids are believed.
//! Absent by design: payloads, retry tiers, delays, dead-letter queues; waiting happens in PostgreSQL.

mod aside;
mod backlog;
mod backoff;
mod config;
mod connection;
mod consumer;
mod error;
mod handler;
mod intake;
mod publisher;
mod publishing;
mod seldom;
mod settle;
pub mod topology;
mod unreadable;
mod wakeup;

pub use aside::{Shelf, Unread, consume_unreadable};
pub use config::{Config, HealthReport, Namespace, QueueType};
pub use consumer::consume;
pub use error::Error;
pub use handler::Handler;
pub use publisher::Publisher;
pub use tokio_util::sync::CancellationToken;
pub use topology::Queue;
pub use unreadable::plant;
pub use wakeup::{Kind, MAX_IDS};
