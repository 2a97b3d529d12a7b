//! The exporter as its users meet it: over real sockets, and as a process.
//!
//! Every test starts the real binary against an upstream of its own and looks only at what a user can see: its answers
//! over HTTP, its output, its exit code. [`harness`] starts and ends it, and searches all that it says for the admin
//! key; [`upstream`] is the API as documented and as it should never be, [`fleet`] that of an organization with projects;
//! [`page`] reads the metrics page more strictly than Prometheus does.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking; the lint knows tests by their attribute, not their helpers"
)]
#![expect(clippy::float_cmp, reason = "counts and instants come through the page exactly, and must")]

mod fleet;
mod harness;
mod page;
mod port;
mod upstream;

mod answers;
mod api;
mod check;
mod clock;
mod command_line;
mod configuration;
mod connections;
mod demo;
mod entries;
mod faults;
mod lists;
mod logs;
mod metrics_page;
mod outages;
mod panics;
mod polling;
mod projects;
mod reload;
mod requests;
mod retries;
mod rotation;
mod scopes;
mod secrets;
mod signals;
mod state_file;
mod status;
mod tls;
mod upstream_tls;
mod users;
mod watchdog;
mod web_config;
