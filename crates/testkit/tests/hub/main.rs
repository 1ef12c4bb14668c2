//! The whole hub: five services in one process, real PostgreSQL and RabbitMQ, a receiver that can misbehave.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says why and ends")]

mod deliveries;
mod desk;
mod door;
mod doors;
mod erpops;
mod exact;
mod log;
mod loops;
mod ordering;
mod permits;
mod receivers;
mod replays;
mod rotation;
mod seeds;
mod standard;
mod subscriptions;
mod upkeep;
