//! The log of deliveries as people read it: filtered lists, one with its attempts; and what people do from there:
//! test pings, replays and cancellations.
//!
//! The time at which a delivery was made is read from its id, so a span of time is a span of ids.

mod attempts;
mod control;
mod filter;
mod ping;
mod record;
mod sample;
mod scan;
mod search;

pub use attempts::{AttemptRow, attempts};
pub use control::{Act, Refusal, cancel, replay};
pub use filter::{Filter, Listed, MOST_SCANNED, list};
pub use ping::insert_test;
pub use record::{DeliveryDetail, DeliveryRecord, find, latest};
pub use sample::{Filled, Sample, fill};
