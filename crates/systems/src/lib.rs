//! The outside systems' own shapes: what they send, how they sign it, and which event it becomes.
//!
//! Pure functions over bytes and time. Every folder has the same file names; [`registry`] lists the systems.
#![warn(missing_docs)]

pub mod erpops;
pub mod exact;
mod members;
pub mod ptw;
pub mod refusal;
pub mod registry;

pub use refusal::FieldRefusal;
