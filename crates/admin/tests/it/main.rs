//! The management API against a real database and broker, one database and one broker namespace per test.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod access;
mod connectors;
mod documents;
mod hub;
mod keys;
mod logs;
mod once;
mod permits;
mod pings;
mod tenants;
mod webhooks;
