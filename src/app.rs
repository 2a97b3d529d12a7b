//! The only place that wires: from a configuration to addresses, and from there to a running exporter.

use std::io;
use std::net::SocketAddr;

use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::exposition::Exposition;
use crate::openai::{Client, ClientError};
use crate::poller::Poller;
use crate::web::{self, BindError, Limits, Security, SecurityError, Server};

/// Why the exporter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The upstream client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The port cannot be secured as it is to be.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// A socket does not say where it listens.
    #[error("the listening sockets have no address: {0}")]
    Address(#[from] io::Error),
    /// Two metrics stand in each other's way.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// An exporter that is bound, but does nothing yet.
#[derive(Debug)]
pub struct App {
    poller: Poller,
    server: Server,
    router: axum::Router,
    addresses: Vec<SocketAddr>,
    probes: Option<(Server, axum::Router, SocketAddr)>,
}

impl App {
    /// Sets everything up and binds its sockets, so that whatever can fail at the start fails here.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let security = Security::load(config.web.config_file.as_deref())?;
        let limits = Limits::of_this_process();
        let server = Server::bind(&config.web.listen_address, limits).await?.secured(security);
        let addresses = server.addresses()?;
        let registry = Registry::new();
        let client = Client::new(&config.api, config.poll.concurrency as usize)?;
        client.register(&registry)?;
        let probe_address = config.web.probe_listen_address.clone();
        let (poller, state) = Poller::new(client, config);
        let probes = match probe_address {
            Some(address) => {
                let server = Server::bind(&[address], limits.of_probes()).await?;
                let address = server.addresses()?[0];
                Some((server, web::probes(state.clone()), address))
            }
            None => None,
        };
        let router = web::router(Exposition::new(registry, state.clone())?, state);
        Ok(Self { poller, server, router, addresses, probes })
    }

    /// Where metrics are served.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Polls and serves until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        for address in &self.addresses {
            tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), revision = env!("BUILD_REVISION"), "serving /metrics");
        }
        let probes = async {
            if let Some((server, router, address)) = self.probes {
                tracing::info!(%address, "serving probes");
                server.run(router, shutdown.clone()).await;
            }
        };
        tokio::join!(self.poller.run(shutdown.clone()), self.server.run(self.router, shutdown.clone()), probes);
    }
}
