//! Everything that knows the upstream API. What leaves this module is a whole list, or an error that says why there is
//! none.
//!
//! [`client`] names the lists, [`request`] sends and retries one request as [`retry`] decides, [`pager`] follows a list
//! from page to page, [`wire`] reads a page, [`progress`] counts what has been read, and [`transport`] makes the
//! connections below, as [`proxy`], [`roots`] and [`tls_files`] say.

mod client;
mod error;
mod metrics;
mod pager;
mod progress;
mod proxy;
mod request;
mod retry;
mod roots;
mod tls_files;
mod transport;
mod wire;

pub use client::{Client, Session};
pub use error::Error;
pub use metrics::Metrics;
pub use pager::{Next, PageError, Pager};
pub(crate) use progress::Progress;
pub(crate) use tls_files::certificate_counts;
pub use transport::ClientError;
pub(crate) use transport::Presented;
pub use wire::{Decoded, Entry};

/// What was requested, as the label `endpoint` and the log name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Endpoint {
    /// `/organization/certificates`
    Certificates,
    /// `/organization/certificates/{certificate_id}`
    Certificate,
    /// `/organization/projects`
    Projects,
    /// `/organization/projects/{project_id}/certificates`
    ProjectCertificates,
}
