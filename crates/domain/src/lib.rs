//! What things are and what may happen to them: no I/O, no async, no framework.
//!
//! Time is a parameter everywhere; only [`clock`] knows the machine's.
#![warn(missing_docs)]

pub mod api_key;
pub mod clock;
pub mod custom_header;
pub mod delivery;
pub mod dialect;
pub mod event;
pub mod failure;
pub mod filter;
pub mod id;
pub mod inbound;
pub mod json;
pub mod operational;
pub mod retry;
pub mod secret;
pub mod shop_order;
pub mod shop_order_report;
pub mod subscription;
pub mod trace;
pub mod webhook;

pub use clock::{Clock, Timestamp};
pub use failure::Failure;
