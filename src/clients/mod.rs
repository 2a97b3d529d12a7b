//! Which client is let in where, and until when: the rules of OpenAI's mutual-TLS guide, as pure data.
//!
//! - A scope in which no anchor is active asks nobody for a certificate. In any other a client is let in while its leaf
//!   is valid, is made for client authentication and carries an Authority Key Identifier, and while **one** path is
//!   valid from the leaf through intermediates that the client presents to an anchor in effect.
//! - A path is valid while each of its certificates is, the anchor included: of an anchor the dates of the API and of
//!   its PEM both count. Ends are exclusive, as `expires_at` is. Everything else about a path is rustls-webpki's to
//!   check, but for key usage, which it ignores; of an anchor only name, key and name constraints count. Where
//!   the guide is silent and TLS libraries differ, the strictest counts: a leaf that is itself an authority is refused,
//!   self-issued intermediates count towards a path length, an issuer whose key identifier is not the one that a
//!   certificate names has not signed it, and no path leads past an authority that could be taken, for
//!   want of a key identifier, for the issuer of another certificate further down, or of itself.
//! - An anchor that has ended, but has the name and key of the leaf's direct issuer, may be looked at before its valid
//!   twin: from its end on the client counts as refused, though nobody knows.
//! - With an anchor in effect whose PEM has not been read, a client is known to be let in, or nothing is known. So it is at
//!   a project of which the list has not been read: the organization's anchors are in effect there, and perhaps others.
//! - What an issuer will sign next is judged as a leaf that it signed, and that presents the issuer's file.
//!
//! ```text
//! PEM ─► AnchorContent ──┐
//! PEM ─► Chain ──────────┴─► CandidatePaths ──┬─► Acceptance (when) ─► Verdict (at an instant)
//! lists ─► EnforcedScope ─────────────────────┘
//! ```
//!
//! [`Assessment`] is all of it, for every file of every client in each of its scopes. [`CandidatePaths`] and [`Acceptance`]
//! change when certificates or lists do, a [`Verdict`] only when an epoch ends ([`Assessment::epoch`]). What if is the same
//! question with other arguments: [`Assessment::over`] another inventory, [`Acceptance::at`] another instant. Attribute
//! filters of anchors are in no answer of the API, so that a client may be refused although it is let in by all of this.

mod acceptance;
mod anchor;
mod assessment;
mod candidate_paths;
mod chain;
mod client;
mod client_scopes;
mod fresh_leaf;
mod problems;
mod refusal;
mod scope;
mod signatures;
mod span;
#[cfg(test)]
mod tests;
mod x509;

pub use acceptance::{Acceptance, TrustPath, Verdict};
pub use anchor::{AnchorContent, Contents};
pub(crate) use assessment::Dependence;
pub use assessment::{Assessment, Judgement};
pub use chain::{Chain, ChainError};
pub use client::{Client, ClientFile, FailedFile, FileKind};
pub use problems::Problem;
pub use refusal::Refusal;
pub use signatures::Signatures;
pub use span::Span;
pub use x509::X509;

use candidate_paths::{CandidatePaths, KnownIssuers};
use client_scopes::ClientScopes;
use problems::{ListedAnchor, problems};
use scope::EnforcedScope;
