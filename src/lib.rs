//! **openai-cert-exporter** polls the mutual-TLS certificates of an OpenAI organization and tells Prometheus how long each
//! has left, so that people are warned weeks before the API refuses their requests.
//!
//! Data flows one way, once per poll:
//!
//! ```text
//! config ─► openai (client, pager) ─► poller ─► watch<Arc<PollState>> ─┬─► exposition ───┬─► web (/metrics, /, /api/v1)
//!                                       │                              └─► presentation ─┤
//!                                       └─► state file                                   └─► check (one poll, an exit code)
//! ```
//!
//! | stage | module | |
//! | --- | --- | --- |
//! | configure | [`cli`], [`config`] | flags, file and environment become one validated configuration; unknown keys are refused |
//! | collect | [`openai`] | requests, retries, pages: a whole list or an error |
//! | | [`client_files`] | the certificate files of clients |
//! | | [`poller`] | when to poll, what a poll reads, and what is published of it |
//! | know | [`inventory`] | certificates, scopes, rotation, severity: pure data; `now` is an argument |
//! | | [`clients`] | which client is let in where, and until when: pure data too |
//! | | [`poll_state`] | the last good snapshot of it, and what became of the polls |
//! | show | [`exposition`] | the metrics page |
//! | | [`presentation`] | status, headline and rows for people, and the same as JSON |
//! | | [`web`] | pages and health over HTTP, under the rules of the web configuration file |
//! | | [`check`] | one poll as a table, a line or a file, and an exit code |
//! | wire | [`app`] | the only place where these meet |
//! | | [`demo`] | a simulated organization to run all of it against |
//! | | [`telemetry`], [`signals`] | logs; what SIGTERM, SIGINT and SIGHUP ask for |
//! | | [`terminal`] | what a terminal has room for |
//! | | [`atomic_file`], [`regular_file`], [`pem`] | the one writer of files that are replaced whole, and the one reader of files and of PEM |
//! | | [`blocking`] | work that blocks, on threads of its own |
//!
//! `poll_state` is the only channel between collecting and showing, and readers cannot write. A snapshot is built whole and
//! swapped in whole, so nobody ever sees half of one. A list that cannot be read stays as it was, with its age: an outage
//! never looks like a certificate that went away.

pub mod app;
mod atomic_file;
mod blocking;
pub mod check;
pub mod cli;
mod client_files;
pub mod clients;
pub mod config;
pub mod demo;
pub mod exposition;
#[cfg(test)]
mod fixture;
pub mod inventory;
pub mod openai;
mod pem;
pub mod poll_state;
pub mod poller;
mod presentation;
mod regular_file;
pub mod signals;
pub mod telemetry;
pub mod terminal;
pub mod web;
