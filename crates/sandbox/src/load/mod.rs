//! Load and its bookkeeping: a generator that costs little, payloads that prove themselves, and a ledger that
//! tells what was lost, duplicated, never sent or changed on the way. Benchmarks and crash tests share it.

mod exchange;
mod generator;
mod latency;
mod ledger;
mod payload;

pub use exchange::{Exchange, Reply};
pub use generator::{Compose, Load, Outcome};
pub use latency::Latency;
pub use ledger::{Delivery, Ledger, Verdict};
pub use payload::Payload;
