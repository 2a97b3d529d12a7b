//! A simulated organization behind a real HTTP API, so that everything can be seen without a key and without a network.
//!
//! [`organization`] says what it has, [`api`] how it answers. Any client of the Admin API
//! can be pointed at it.

mod api;
mod organization;

use std::net::SocketAddr;

pub use api::router;
pub use organization::Organization;

/// The key that the simulated API takes.
pub const ADMIN_KEY: &str = "demo";

/// What the demo command prints: where to look.
#[must_use]
pub fn welcome(organization: &Organization, api: SocketAddr, scheme: &str, web: &[SocketAddr]) -> String {
    use std::fmt::Write as _;

    let certificates = organization.certificates().len();
    let projects = organization.projects().iter().filter(|project| !project.is_archived()).count();
    let mut text = format!(
        "A simulated organization with {certificates} certificates and {projects} projects is at http://{api}/v1 (admin key: {ADMIN_KEY}).\n\
         The exporter polls it like a real one. Look at:\n"
    );
    for address in web {
        let mut address = *address;
        if address.ip().is_unspecified() {
            // What listens everywhere is reached here.
            address.set_ip(if address.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {scheme}://{address}/ and {scheme}://{address}/metrics");
    }
    text.push_str("End it with Ctrl-C.\n");
    text
}
