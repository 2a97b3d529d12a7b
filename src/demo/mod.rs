//! A simulated organization behind a real HTTP API, so that everything can be seen without a key and without a network.
//!
//! [`organization`] is the simulated data; [`api`] serves any such data as the Admin API does. Any
//! client of that API can be pointed at it.

mod api;
mod organization;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio_util::sync::CancellationToken;

use crate::config::{Demo, ListenAddress};
use crate::inventory::{unix_now, whole_second};
use crate::web::{Limits, Server};
pub use api::router;
pub use organization::{DemoCertificate, DemoProject, Organization};

/// The key that the simulated API takes.
pub const ADMIN_KEY: &str = "demo";

/// Twice the connections the exporter opens at most (`poll.concurrency` ≤ 32).
const CONNECTIONS: usize = 64;

/// The API of the demo's organization, bound but not served yet.
pub struct DemoApi {
    organization: Organization,
    server: Server,
    address: SocketAddr,
}

/// Binds the API of an organization whose certificates are dated from now.
pub async fn bind(address: ListenAddress) -> io::Result<DemoApi> {
    let organization = Organization::simulated(whole_second(unix_now()));
    let server = Server::bind(&[address], Limits::new(CONNECTIONS), None).await?;
    let address = server.addresses()?[0];
    Ok(DemoApi { organization, server, address })
}

impl DemoApi {
    /// What a configuration needs to poll it.
    pub fn overrides(&self) -> Demo {
        Demo::at(self.address, ADMIN_KEY)
    }

    /// What the demo command prints: where it listens, and what to try. `program` is how it was started.
    pub fn welcome(&self, exporter: &Server, program: &str) -> io::Result<String> {
        let certificates = self.organization.certificates.len();
        let projects =
            self.organization.projects.iter().filter(|project| !project.is_archived()).count();
        let (api, scheme) = (format!("http://{}/v1", self.address), exporter.scheme());
        let addresses = exporter.addresses()?.into_iter().map(local);
        let urls: Vec<_> = addresses.map(|address| format!("{scheme}://{address}/")).collect();
        let (first, all) = (urls.first().map_or("", |url| url), urls.join("  "));
        // The certificate of a demo is hardly one that curl trusts.
        let curl = if scheme == "https" { "curl -sk" } else { "curl -s" };
        Ok(format!(
            "Simulated API:  {api} (admin key {ADMIN_KEY}; {certificates} certificates, {projects} projects)\n\
             Status page:    {all}\n\
             Metrics:        {curl} {first}metrics | grep days_until_expiry\n\
             Check:          OPENAI_ADMIN_KEY={ADMIN_KEY} OPENAI_BASE_URL={api} {program} check\n\
             Press Ctrl-C to stop.\n",
        ))
    }

    /// Serves until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        self.server.run(router(self.organization), shutdown).await;
    }
}

/// Where this machine reaches what listens at `address`.
fn local(mut address: SocketAddr) -> SocketAddr {
    // `[::]` serves IPv4 too.
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}
