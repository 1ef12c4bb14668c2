//! The one guarded way out: every outgoing URL becomes a [`Target`], every request goes through
//! [`Egress`], and no socket is opened to an address that the [`Policy`] does not permit.
//! Absent by design: redirects, retries, proxies, decompression, cookies.

mod client;
mod connector;
mod dial;
mod exchange;
mod failure;
mod headers;
mod limits;
mod permitted;
mod phases;
mod policy;
mod range;
mod refusal;
mod resolver;
mod slots;
mod target;
mod tls;
mod wire;

pub use bytes::Bytes;
pub use client::{Answer, Egress, Error, Outgoing, Surroundings};
pub use failure::{Failure, FailureClass};
pub use headers::may_set;
pub use http::Method;
pub use http::header::{HeaderMap, HeaderName, HeaderValue};
pub use limits::Limits;
pub use phases::Phases;
pub use policy::{Policy, PolicyError};
pub use range::AddressClass;
pub use refusal::Refusal;
pub use target::{MAX_URL_LENGTH, Target};
