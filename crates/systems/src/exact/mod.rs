//! Exact Online: the actions that Zapier sends for it, its own notifications, and what the hub asks of it.
//!
//! An action is answered in its own call: the processor reads it, writes what it says, and answers in [`outbound`]'s
//! words. Text is kept as it was sent, but for white space around codes.

pub mod announcement;
pub mod assignment;
pub mod auth;
pub mod code;
pub mod config;
pub mod customer;
mod envelope;
mod fields;
pub mod inbound;
pub mod mapping;
pub mod notification;
pub mod number;
pub mod outbound;
pub mod product;
pub mod rows;
pub mod stored;
pub mod work_order;

pub use assignment::{BatchAssignment, ItemAssignment, MaterialBatch};
pub use code::{ActionRefusal, Code, RowError};
pub use config::Config;
pub use customer::{Address, Customer};
pub use inbound::Action;
pub use notification::{Change, Notification};
pub use number::Number;
pub use product::{Product, ProductType};
pub use rows::{Refused, Row, Rows};
pub use work_order::{CustomerReference, Material, MaterialsSummary, ProductReference, WorkOrder};
