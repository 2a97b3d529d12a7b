//! The exporter as its users meet it: as a process, over real sockets.
//!
//! Every test starts the real binary against an API of its own and looks only at what a user can see: its answers over
//! HTTP, its output, its exit code. [`binary`] starts and ends it, and searches all that it says for the admin key; [`api`]
//! is the demo's API over whatever organization a test makes, with faults where it wants them, and [`script`] one that
//! answers what it is told to; [`page`] reads the metrics page more strictly than Prometheus does. What the server does with
//! connections is tested in `tests/server`, where no process is needed; tables of pure code stand beside that code, and here
//! is one process for each kind of their cases. `panics` alone starts itself in place of the binary.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking; the lint knows tests by their attribute, not their helpers"
)]
#![expect(
    clippy::float_cmp,
    reason = "counts and instants come through the page exactly, and must"
)]

#[path = "../support/api.rs"]
mod api;
#[path = "../support/binary.rs"]
mod binary;
#[path = "../support/client.rs"]
mod client;
#[path = "../support/page.rs"]
mod page;
#[path = "../support/script.rs"]
mod script;
#[path = "../support/tls.rs"]
mod tls;
#[path = "../support/wait.rs"]
mod wait;

mod answers;
mod api_connection;
mod check;
mod clients;
mod command_line;
mod configuration;
mod contents;
mod demo;
mod entries;
mod faults;
mod json;
mod lists;
mod logs;
mod metrics_page;
mod outages;
mod panics;
mod passwords;
mod polls;
mod projects;
mod reload;
mod retries;
mod rotation;
mod scopes;
mod secrets;
mod signals;
mod state_file;
mod status_page;
mod terminal;
mod upstream_tls;
mod verdict;
mod web;
