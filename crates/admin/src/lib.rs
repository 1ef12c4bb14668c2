//! The management API: configuration in, logs out, for operators, tenants and the console.
//!
//! It makes no call to the outside itself; a test ping is a delivery like any other.

mod api_keys;
mod caller;
mod connectors;
mod deliveries;
mod desk;
mod documents;
mod error;
mod events;
mod facade;
mod fields;
mod once;
mod paging;
mod ping;
mod run;
mod tenants;
mod webhooks;

pub use desk::{Desk, Options};
pub use documents::openapi;
pub use run::{application, run};
