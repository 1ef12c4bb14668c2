//! The receiver as a client meets it, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod control;
mod load;
mod misbehaviour;
mod processes;
mod serving;
