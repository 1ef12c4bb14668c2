//! The guard from outside: tables of addresses and URLs, and requests over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod addresses;
mod answers;
mod authority;
mod connections;
mod families;
mod hostile;
mod listener;
mod name_server;
mod names;
mod refusals;
mod targets;
mod tls;
