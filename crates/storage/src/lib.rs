//! The only room that knows SQL: one function per statement, rows that never leave as rows.
//!
//! Time is a parameter of every statement. Who decides from a row has locked it; every write names what it read.

pub mod accept;
pub mod access;
pub mod answers;
pub mod api_keys;
pub mod audit;
pub mod budgets;
pub mod circuits;
pub mod claims;
pub mod connect;
pub mod connectors;
pub mod customers;
pub mod dead_letters;
pub mod delivery_log;
pub mod due;
mod error;
pub mod event_log;
pub mod idempotency;
pub mod inbound;
pub mod inbound_log;
pub mod migrate;
pub mod order;
mod page;
pub mod partitions;
pub mod products;
pub mod replays;
pub mod reseal;
pub mod rotation;
pub mod scratch;
pub mod seal;
pub mod settle;
pub mod shop_orders;
pub mod snapshot;
pub mod spread;
pub mod tenants;
pub mod webhooks;
mod wire;

pub use connect::{Config, Database, Line, Pooled, Transaction};
pub use error::Error;
pub use sqlx::PgConnection;
