//! What the hub survives: real processes, servers that are killed, networks that lie; the ledger is the judge.
//! One test at a time, since each watches the clock and kills what it has started.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says why and ends")]

mod alarm;
mod black_hole;
mod books;
mod broker;
mod burst;
mod canary;
mod client;
mod crash;
mod crash_loop;
mod database;
mod drain;
mod hand_over;
mod master_key;
mod more;
mod pause;
mod peer;
mod relay;
mod replay;
mod schedulers;
mod silence;
mod stage;
