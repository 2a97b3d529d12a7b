//! The server that the exporter serves with, in this process: connections, TLS, credentials, the web configuration file and
//! liveness, with time-outs that a test can wait for. Nothing here starts the binary; `tests/binary` does.
//!
//! [`server`] alone knows the program's own types.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so by panicking; the lint knows tests by their attribute, not their helpers"
)]

#[path = "../support/client.rs"]
mod client;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/tls.rs"]
mod tls;
#[path = "../support/wait.rs"]
mod wait;

mod basic_auth;
mod connections;
mod handshakes;
mod liveness;
mod requests;
mod web_config;
