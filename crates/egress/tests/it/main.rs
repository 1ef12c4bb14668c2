//! The guard from outside: tables of addresses and URLs, and requests over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod addresses;
mod answers;
mod listener;
mod refusals;
mod targets;
