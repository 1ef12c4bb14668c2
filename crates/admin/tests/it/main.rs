//! The management API against a real database and broker, one database and one broker namespace per test.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod access;
mod connectors;
mod dead_letters;
mod documents;
mod exact;
mod headers;
mod hub;
mod inbound;
mod keys;
mod log_control;
mod log_search;
mod logs;
mod once;
mod permits;
mod pings;
mod replays;
mod targets;
mod tenants;
mod webhooks;
