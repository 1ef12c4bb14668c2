//! The management API against a real database and broker, one database and one broker namespace per test.

mod access;
mod connectors;
mod documents;
mod hub;
mod keys;
mod logs;
mod permits;
mod pings;
mod tenants;
mod webhooks;
