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
use clients::{Anchors, ClientFiles};
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
    /// Why there are none, if they cannot be written.
    clients: io::Result<ClientFiles>,
}

/// Binds the API of an organization whose certificates are dated from now, and writes the files of its clients.
pub async fn bind(address: ListenAddress) -> io::Result<DemoApi> {
    let now = whole_second(unix_now());
    let mut organization = Organization::simulated(now);
    let anchors = Anchors::of(&mut organization, now)?;
    let clients = ClientFiles::write(&anchors, now);
    let server = Server::bind(&[address], Limits::new(CONNECTIONS), None).await?;
    let address = server.addresses()?[0];
    Ok(DemoApi { organization, server, address, clients })
}

impl DemoApi {
    /// What a configuration needs to poll it.
    pub fn overrides(&self) -> Demo {
        let clients = self.clients.as_ref().map_or("", |files| &files.configuration);
        Demo::new(self.address, ADMIN_KEY, clients)
    }

    /// What the demo command prints: where to look, also on the exporter that polls it.
    pub fn welcome(&self, exporter: &Server) -> io::Result<String> {
        let certificates = self.organization.certificates.len();
        let projects =
            self.organization.projects.iter().filter(|project| !project.is_archived()).count();
        let (api, scheme) = (self.address, exporter.scheme());
        let pages = exporter.addresses()?.into_iter().map(local);
        let pages: Vec<_> =
            pages.map(|at| format!("  {scheme}://{at}/ and {scheme}://{at}/metrics\n")).collect();
        Ok(format!(
            "A simulated organization with {certificates} certificates and {projects} projects is at http://{api}/v1 (admin key: {ADMIN_KEY}).\n\
             The exporter polls it like a real one. Look at:\n\
             {}\
             End it with Ctrl-C.\n",
            pages.concat()
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
