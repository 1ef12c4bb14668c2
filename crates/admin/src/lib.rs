//! The management API: configuration in, logs out, for operators, tenants and the console.
//!
//! It makes no call to the outside itself; a test ping is a delivery like any other.

mod api_keys;
mod audit;
mod caller;
mod connectors;
mod customers;
mod dead_letters;
mod deliveries;
mod desk;
mod documents;
mod error;
mod events;
mod facade;
mod fields;
mod inbound;
mod once;
mod paging;
mod ping;
mod products;
mod replays;
mod run;
mod shop_orders;
mod tenants;
mod webhooks;

pub use desk::{Desk, Options};
pub use documents::openapi;
pub use run::{application, run};
