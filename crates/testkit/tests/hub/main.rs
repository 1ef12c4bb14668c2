//! The whole hub: five services in one process, real PostgreSQL and RabbitMQ, a receiver that can misbehave.

mod deliveries;
mod door;
mod erpops;
mod seeds;
