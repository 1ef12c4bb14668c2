//! Simulators of what stands outside the hub, for tests, benchmarks and trying things out.
//! [`Receiver`] is a webhook receiver that does as its [`Script`] says, down to the byte.
//! [`load`] generates load and keeps its books, [`processes`] runs the hub's services to be measured or killed.

mod body;
mod connection;
mod control;
mod control_script;
pub mod load;
mod misbehaviour;
mod options;
pub mod processes;
mod receiver;
mod recording;
mod reply;
mod request;
mod routes;
mod script;

pub use options::{OptionsError, parse_listen};
pub use receiver::Receiver;
pub use recording::{Received, Recording, Sink};
pub use request::{Headers, Request};
pub use script::{Answer, Part, Script, Step};
