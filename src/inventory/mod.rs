//! What an organization's certificates are, as pure data.
//!
//! Nothing here reads a clock, a socket or a file: `now` is an argument. Everything else of the program either fills
//! these types (`openai`, `poller`) or reads them (`exposition`, `web`).

mod certificate;
mod changes;
mod legible;
mod listing;
mod overview;
mod project;
mod rotation;
mod scope;
mod snapshot;
mod state;
mod time;

pub use certificate::Certificate;
pub use changes::Change;
pub use legible::{legible, legible_name};
pub use listing::{Batch, Fault, Identified, Listing, Malformed, is_same};
pub use overview::{Anchor, Overview, ScopeState, Severity, Standing, Thresholds};
pub use project::Project;
pub use rotation::RotationGroup;
pub use scope::Scope;
pub use snapshot::{ProjectCertificates, Projects, Snapshot};
pub use state::{Attempt, FailureReason, Liveness, Pace, State};
pub use time::{
    OUT_OF_RANGE, SECONDS_PER_DAY, UnixSeconds, date_and_time, date_in_words, days_until, end_in_words,
    length_in_words, rfc3339, unix_now,
};
