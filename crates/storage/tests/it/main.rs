//! Storage against a real PostgreSQL, with a database for each test.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says why and ends")]

mod control;
mod exact;
mod held;
mod log;
mod order;
mod paces;
mod place;
mod replays;
mod reseal;
mod sealed;
mod statements;
