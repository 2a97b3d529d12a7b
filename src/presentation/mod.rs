//! What is known, for people and programs: one judge and one wording. [`Summary`] decides status, sentences and rows; the
//! status page, `check`, the JSON and the log lay them out.

mod caveats;
mod client_rows;
mod client_sentences;
mod deactivation;
mod first_to_stop;
mod harms;
mod json;
mod links;
mod next_step;
mod rows;
mod sanitize;
mod scope_changes;
mod sentences;
mod summary;
mod text;

pub(crate) use caveats::{Banner, name_failures};
pub(crate) use client_rows::ClientRow;
pub(crate) use json::{Document, Instants};
pub(crate) use links::{Link, Marked};
pub(crate) use next_step::{Aim, NextStep};
pub(crate) use rows::{CertificateRow, ScopeRow};
pub(crate) use sanitize::sanitize;
pub(crate) use scope_changes::{scope_changes, tell_scope_changes};
pub use summary::Status;
pub(crate) use summary::Summary;
pub(crate) use text::{ago, change_of_date, format_minute, format_timestamp, humanize, names};
