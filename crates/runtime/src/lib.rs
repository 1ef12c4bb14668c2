//! What every service stands on: settings, telemetry, health, metrics, graceful drain and problem+json.
//! It makes the other edges from the settings, so that a service is assembled in one place only.

pub mod health;
pub mod http;
pub mod metrics;
pub mod ops;
pub mod parts;
pub mod problem;
pub mod process;
pub mod settings;
pub mod shutdown;
pub mod telemetry;

pub use health::{Health, HealthHandle};
pub use metrics::Metrics;
pub use ops::Ops;
pub use parts::Parts;
pub use problem::{FieldError, Problem};
pub use process::{Context, serve};
pub use settings::{Settings, SettingsError};
pub use shutdown::Shutdown;
