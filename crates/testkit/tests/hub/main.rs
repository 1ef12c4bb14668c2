//! The whole hub: five services in one process, real PostgreSQL and RabbitMQ, a receiver that can misbehave.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says why and ends")]

mod deliveries;
mod door;
mod erpops;
mod seeds;
