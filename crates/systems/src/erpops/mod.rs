//! ERPOps, monitoring of ERP integrations: its signed calls, their schema, and the events they become.
//!
//! What leaves the hub on behalf of such a call is masked; only the stored call is the original.

pub mod auth;
pub mod inbound;
pub mod mapping;
pub mod mask;

pub use inbound::{IntegrationEvent, Scalar, Severity};
pub use mapping::to_event;
