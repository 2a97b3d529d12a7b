//! The only place that wires: from a configuration to addresses, and from there to a running exporter.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus::{Gauge, IntGauge, Registry};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError, Loaded};
use crate::exposition::Exposition;
use crate::inventory::unix_now;
use crate::openai::{self, Client, ClientError};
use crate::poller::{Poller, Settings};
use crate::web::{self, BindError, Limits, Security, Server};

/// Why the exporter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The upstream client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The web configuration file cannot be used.
    #[error(transparent)]
    WebConfig(#[from] ConfigError),
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
    reloading: Reloading,
    probes: Option<(Server, axum::Router)>,
}

/// A configuration that was read anew, or why it cannot be used.
pub type Reload = Result<Loaded, ConfigError>;

impl App {
    /// Sets everything up and binds its sockets, so that whatever can fail at the start fails here.
    pub async fn bind(Loaded { config, credentials }: Loaded) -> Result<Self, StartError> {
        let security = config.web.config_file.as_deref().map(Security::load).transpose()?;
        let (mut connections, mut probes) = (web::raise_descriptor_limit(), None);
        if let Some(address) = config.web.probe_listen_address.clone() {
            let (rest, of_probes) = web::share_with_probes(connections);
            connections = rest;
            probes = Some(Server::bind(&[address], Limits::new(of_probes)).await?);
        }
        let server = Server::bind(&config.web.listen_address, Limits::new(connections)).await?.secured(security);
        let addresses = server.addresses()?;
        let registry = Registry::new();
        let client_metrics = Arc::new(openai::Metrics::new()?);
        client_metrics.register(&registry)?;
        let settings = Settings::new(client(&config, &client_metrics)?, &config, credentials);
        let (poller, state) = Poller::new(settings, config.poll.state_file.as_deref(), &config.api.base_url).await;
        let reloading = Reloading::new(config, client_metrics, &registry)?;
        let exposition = Arc::new(Exposition::new(registry, state.clone())?);
        let probes = probes.map(|server| (server, web::probes(state.clone())));
        let router = web::router(exposition, state);
        Ok(Self { poller, server, router, addresses, reloading, probes })
    }

    /// Whether everything that a configuration names can be used, without binding anything.
    pub fn check(config: &Config) -> Result<(), StartError> {
        client(config, &Arc::new(openai::Metrics::new()?))?;
        config.web.config_file.as_deref().map(Security::load).transpose()?;
        Ok(())
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

    /// Polls and serves until `shutdown`, and follows the configurations that come in.
    pub async fn run(self, reloads: mpsc::Receiver<Reload>, shutdown: CancellationToken) {
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
        // One at a time: the next is taken over once the poll under way has ended.
        let (to_poller, settings) = mpsc::channel(1);
        tokio::select! {
            _ = async {
                tokio::join!(
                    self.poller.run(settings, shutdown.clone()),
                    self.server.run(self.router, shutdown.clone()),
                    probes,
                )
            } => {}
            () = self.reloading.follow(reloads, to_poller) => {}
        }
    }
}

fn client(config: &Config, metrics: &Arc<openai::Metrics>) -> Result<Client, ClientError> {
    Client::new(&config.api, config.poll.concurrency as usize, Arc::clone(metrics))
}

/// Applies new configurations, as far as that takes no restart.
#[derive(Debug)]
struct Reloading {
    running: Config,
    client_metrics: Arc<openai::Metrics>,
    successful: IntGauge,
    succeeded_at: Gauge,
}

impl Reloading {
    fn new(
        running: Config,
        client_metrics: Arc<openai::Metrics>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let successful = IntGauge::new(
            "openai_cert_exporter_config_last_reload_successful",
            "Whether the configuration that was read last is in force: 1 or 0.",
        )?;
        let succeeded_at = Gauge::new(
            "openai_cert_exporter_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was read, as a Unix time.",
        )?;
        registry.register(Box::new(successful.clone()))?;
        registry.register(Box::new(succeeded_at.clone()))?;
        let reloading = Self { running, client_metrics, successful, succeeded_at };
        reloading.succeeded();
        Ok(reloading)
    }

    fn succeeded(&self) {
        self.successful.set(1);
        self.succeeded_at.set(unix_now());
    }

    /// Never ends.
    async fn follow(mut self, mut reloads: mpsc::Receiver<Reload>, to_poller: mpsc::Sender<Settings>) {
        while let Some(reload) = reloads.recv().await {
            match self.apply(reload) {
                Ok(settings) => {
                    // The poller ends only with the process.
                    let _ = to_poller.send(settings).await;
                    self.succeeded();
                    tracing::info!("the configuration was read anew and is in force");
                }
                Err(error) => {
                    self.successful.set(0);
                    tracing::error!(
                        "the configuration was read anew and cannot be used; the one before stays: {error}"
                    );
                }
            }
        }
        std::future::pending::<()>().await;
    }

    fn apply(&mut self, reload: Reload) -> Result<Settings, ReloadError> {
        let Loaded { mut config, credentials } = reload?;
        let restart_only = config.keep_restart_only(&self.running);
        if !restart_only.is_empty() {
            tracing::warn!("only a restart will change: {}", restart_only.join(", "));
        }
        // Also where nothing of `api` differs: the system's trusted roots may.
        let settings = Settings::new(client(&config, &self.client_metrics)?, &config, credentials);
        self.running = config;
        Ok(settings)
    }
}

/// Why a configuration that was read anew cannot be used.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Client(#[from] ClientError),
}
