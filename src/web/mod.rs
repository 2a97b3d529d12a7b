//! What is served: the metrics page and the state of health, to any number of clients of any kind.

mod connection;
mod entity;
mod json;
mod listener;
mod router;
mod security;
mod status;
mod timeline;

pub use listener::{BindError, Limits, Server};
pub use router::{probes, router};
pub use security::{Security, SecurityError, WebConfigError};
