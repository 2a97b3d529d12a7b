//! The certificates of an organization as pure data, and what is derived from them.
//!
//! Nothing here reads a clock, a socket or a file: `now` is an argument. [`Lists`] is what was read, [`Inventory`] what
//! is derived from it (scopes, rotation), [`Snapshot`] adds when each list was read; [`Severity`] says how urgent it is.

mod certificate;
mod changes;
#[expect(clippy::module_inception, reason = "the room is named after what it is built around")]
mod inventory;
mod listing;
mod project;
mod rotation;
mod scope;
mod scope_change;
mod severity;
mod snapshot;
mod time;

pub use certificate::Certificate;
pub(crate) use changes::Change;
pub use inventory::{Inventory, Lists, ProjectFaults, ProjectList};
pub(crate) use listing::unchanged_or;
pub use listing::{Identified, Listing, Malformed};
pub use project::Project;
pub use rotation::{CertificateUse, RotationGroup};
pub use scope::Scope;
pub(crate) use scope::merged;
pub(crate) use scope_change::{Outlook, ScopeChange};
pub(crate) use severity::{Coverage, Severity, Thresholds};
pub use snapshot::Snapshot;
pub(crate) use time::{INSTANTS, SECONDS_PER_DAY, days_until, whole_second};
pub use time::{UnixSeconds, unix_now};
