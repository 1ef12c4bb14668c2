//! The one guarded way out: every outgoing URL becomes a [`Target`], every request goes through
//! [`Egress`], and no socket is opened to an address that the [`Policy`] does not permit.
//! Absent by design: redirects, retries, proxies, decompression, cookies.

mod client;
mod failure;
mod headers;
mod limits;
mod policy;
mod range;
mod refusal;
mod resolver;
mod target;

pub use bytes::Bytes;
pub use client::{Answer, Egress, Error, Outgoing};
pub use failure::{Failure, FailureClass};
pub use headers::may_set;
pub use limits::Limits;
pub use policy::{Policy, PolicyError};
pub use range::AddressClass;
pub use refusal::Refusal;
pub use reqwest::Method;
pub use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
pub use target::{MAX_URL_LENGTH, Target};
