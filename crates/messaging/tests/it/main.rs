//! Publishing and consuming on a real broker; each test has a namespace of its own and removes it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod aside;
mod broker;
mod consuming;
mod faults;
mod proxy;
mod publishing;
mod topology;
