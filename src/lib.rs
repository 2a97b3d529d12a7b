//! **openai-cert-exporter** polls the mutual-TLS certificates of an OpenAI organization and tells Prometheus how long each
//! has left, so that people are warned weeks before the API refuses their requests.
//!
//! Data flows one way, once per poll:
//!
//! ```text
//! config ─► openai (client, pages) ─► poller ─► watch<State> ─► exposition ─► web (/metrics, /, /api/v1, /healthz, /readyz)
//!                                       │           ▲
//!                                   inventory (pure: certificates, changes, days)      check (one poll, an exit code)
//! ```
//!
//! | stage | module | |
//! | --- | --- | --- |
//! | what is wanted | [`cli`], [`config`] | flags, file and environment become one validated configuration |
//! | collect | [`openai`] | requests, retries, pages: a whole list or an error |
//! | | [`poller`] | when to collect, and what is published of it |
//! | know | [`inventory`] | pure data; `now` is an argument, never read inside |
//! | show | [`exposition`] | what is known, and the moment, become the metrics page |
//! | | [`web`] | pages and health over HTTP, to those who may ask, of any kind |
//! | | [`check`] | one poll as a table, a line or a file, and an exit code |
//! | wire | [`app`] | the only place where these meet |
//! | | [`demo`] | a simulated organization to run all of it against |
//! | | [`telemetry`], [`signals`] | logs; what SIGTERM, SIGINT and SIGHUP ask for |
//!
//! The single channel between collecting and showing holds the last good snapshot and what became of the polls. A
//! snapshot is built whole and swapped in whole, so nobody ever sees half of one; a failed poll leaves it in place, so
//! an outage never looks like a certificate that went away. Readers cannot write.

pub mod app;
pub mod check;
pub mod cli;
pub mod config;
pub mod demo;
pub mod exposition;
pub mod inventory;
pub mod openai;
pub mod poller;
pub mod signals;
pub mod telemetry;
pub mod web;
