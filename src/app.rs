//! The only place that wires: from a configuration to addresses, and from there to a running exporter.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

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
    exposition: Arc<Exposition>,
    server: Server,
    router: axum::Router,
    addresses: Vec<SocketAddr>,
    probes: Option<(Server, axum::Router)>,
}

impl App {
    /// Sets everything up and binds its sockets, so that whatever can fail at the start fails here.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let security = Security::load(config.web.config_file.as_deref())?;
        let (mut limits, mut probes) = (Limits::of_this_process(), None);
        if let Some(address) = config.web.probe_listen_address.clone() {
            let (rest, of_probes) = limits.shared_with_probes();
            limits = rest;
            probes = Some(Server::bind(&[address], of_probes).await?);
        }
        let server = Server::bind(&config.web.listen_address, limits).await?.secured(security);
        let addresses = server.addresses()?;
        let registry = Registry::new();
        let client = Client::new(&config.api, config.poll.concurrency as usize)?;
        client.register(&registry)?;
        let (poller, state) = Poller::new(client, config);
        let probes = probes.map(|server| (server, web::probes(state.clone())));
        let exposition = Arc::new(Exposition::new(registry, state.clone())?);
        let router = web::router(Arc::clone(&exposition), state);
        Ok(Self { poller, exposition, server, router, addresses, probes })
    }

    /// Where metrics are served.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How they are spoken to at the start: `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.server.scheme()
    }

    /// Polls and serves until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        for address in &self.addresses {
            tracing::info!(%address, scheme = self.scheme(), version = env!("CARGO_PKG_VERSION"), revision = env!("BUILD_REVISION"), "serving /metrics");
        }
        let probes = async {
            if let Some((server, router)) = self.probes {
                for address in server.addresses().unwrap_or_default() {
                    tracing::info!(%address, "serving probes");
                }
                server.run(router, shutdown.clone()).await;
            }
        };
        tokio::join!(
            self.poller.run(shutdown.clone()),
            self.exposition.keep_up(),
            self.server.run(self.router, shutdown.clone()),
            probes
        );
    }
}
