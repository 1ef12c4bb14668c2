//! What tests of the whole hub stand on: real PostgreSQL and RabbitMQ, the five services in one process or as five,
//! broken networks, and the rules of the house. Used by tests only.
#![expect(clippy::expect_used, reason = "a test that cannot go on says why and ends")]

pub mod eventually;
pub mod hub;
pub mod instances;
pub mod place;
pub mod proxy;

pub use eventually::eventually;
pub use hub::Hub;
pub use place::Place;
pub use proxy::Proxy;
