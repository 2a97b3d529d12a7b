//! A simulated organization behind a real HTTP API, so that everything can be seen without a key and without a network.
//!
//! [`organization`] is the simulated data; [`api`] serves any such data as the Admin API does. Any
//! client of that API can be pointed at it. [`clients`] are those who present certificates to it, made by [`authority`].

mod api;
mod authority;
mod clients;
mod organization;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio_util::sync::CancellationToken;

use crate::config::{Demo, ListenAddress};
use crate::inventory::{unix_now, whole_second};
use crate::web::{Limits, Server};
pub use api::router;
use clients::{Anchors, ClientFolder};
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
    /// Or why their files cannot be written.
    clients: io::Result<ClientFolder>,
}

/// Binds the API of an organization whose certificates are dated from now, and writes the files of its clients.
pub async fn bind(address: ListenAddress) -> io::Result<DemoApi> {
    let now = whole_second(unix_now());
    let mut organization = Organization::simulated(now);
    let anchors = Anchors::of(&mut organization, now)?;
    let clients = ClientFolder::write(&anchors, now);
    let server = Server::bind(&[address], Limits::new(CONNECTIONS), None).await?;
    let address = server.addresses()?[0];
    Ok(DemoApi { organization, server, address, clients })
}

impl DemoApi {
    /// What a configuration needs to poll it.
    pub fn overrides(&self) -> Demo {
        let clients = self.clients.as_ref().map_or("", |folder| &folder.configuration);
        Demo::new(self.address, ADMIN_KEY, clients)
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
             Check:          OPENAI_ADMIN_KEY={ADMIN_KEY} OPENAI_BASE_URL={api} OPENAI_CERT_EXPORTER__POLL__PROJECTS=true {program} check\n\
             Press Ctrl-C to stop.\n",
        ))
    }

    /// Serves until `shutdown`. With it go the clients' files.
    pub async fn run(self, shutdown: CancellationToken) {
        if let Err(error) = &self.clients {
            tracing::warn!("the demo has no clients, since their files cannot be written: {error}");
        }
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
