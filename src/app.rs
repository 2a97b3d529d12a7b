//! The only place that wires: from a configuration to sockets, and from there to a running exporter.

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use prometheus::{
    Gauge, IntGauge, Registry, register_gauge_with_registry, register_int_gauge_with_registry,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::blocking::{IO_TIMEOUT, wait_for};
use crate::client_files::ClientFiles;
use crate::config::{Config, ConfigError, Loaded};
use crate::exposition::Exposition;
use crate::inventory::unix_now;
use crate::openai::{self, Client, ClientError};
use crate::poller::{self, Poller, PollerConfig, StateFileError};
use crate::telemetry::Logs;
use crate::web::{
    self, Limits, RulesWatcher, Security, Server, raise_descriptor_limit, share_with_probes,
};

/// Why the exporter cannot start, or cannot use a configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// Another API has another key, which the one in use must not see, and another organization, whose certificates
    /// must not be mixed with those that are known.
    #[error("api.base_url: cannot be changed by a reload; restart the exporter")]
    AnotherApi,
    #[error(transparent)]
    Bind(#[from] io::Error),
    /// Two metrics have one name.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// An exporter that is bound, but does nothing yet.
pub struct App {
    poller: Poller,
    pub server: Server,
    router: Router,
    probes: Option<(Server, Router)>,
    reloading: Reloading,
}

/// A configuration that was read anew, or why it cannot be used.
pub type Reload = Result<Loaded, ConfigError>;

impl App {
    /// Sets everything up and binds its sockets, so that whatever can fail at the start fails here.
    pub async fn bind(
        Loaded { config, credentials }: Loaded,
        logs: &Logs,
    ) -> Result<Self, StartError> {
        let registry = Registry::new();
        registry.register(Box::new(logs.dropped().clone()))?;
        let web_metrics = web::Metrics::new(&registry)?;
        let load = |file| load_security(file, &web_metrics);
        let security = config.web.config_file.as_deref().map(load).transpose()?;
        let web_security = security.as_ref().map(|(security, _)| security.clone());
        let (mut connections, mut probe_server) = (raise_descriptor_limit(), None);
        if let Some(address) = config.web.probe_listen_address.clone() {
            let (rest, probes) = share_with_probes(connections);
            probe_server = Some(Server::bind(&[address], Limits::new(probes), None).await?);
            connections = rest;
        }
        let server =
            Server::bind(&config.web.listen_address, Limits::new(connections), security).await?;

        let client_metrics = Arc::new(openai::Metrics::new(&registry)?);
        let client = Arc::new(Client::new(&config.api, Arc::clone(&client_metrics))?);
        let poller_config = PollerConfig::new(Arc::clone(&client), &config, credentials);
        let (poller, state) =
            Poller::new(poller_config, config.poll.state_file.as_deref(), &config.api.base_url)
                .await?;

        let reloading = Reloading::new(config, client, client_metrics, web_security, &registry)?;
        let exposition = Arc::new(Exposition::new(registry)?);
        let probes = probe_server.map(|server| (server, web::probes(state.clone())));
        let router = web::router(exposition, state, web_metrics, reloading.successful.clone());
        Ok(Self { poller, server, router, probes, reloading })
    }

    /// Checks that everything that a configuration names can be used, without binding anything. Returns how the API is
    /// reached, and what each file of certificates holds, a line each.
    pub fn check(config: &Config) -> Result<Vec<String>, StartError> {
        let client = Client::new(&config.api, Arc::new(openai::Metrics::new(&Registry::new())?))?;
        config.poll.state_file.as_deref().map(poller::check_state_file).transpose()?;
        let mut lines = vec![format!("API: {}", client.connection())];
        let state_file = config.poll.state_file.as_deref();
        lines.extend(
            state_file.and_then(|file| poller::state_file_damage(file, &config.api.base_url)),
        );
        lines.extend(openai::certificate_counts(&config.api)?);
        if let Some(file) = config.web.config_file.as_deref() {
            let (security, _) = load_security(file, &web::Metrics::new(&Registry::new())?)?;
            lines.extend(security.certificate_counts());
        }
        lines.extend(ClientFiles::new(config.clients.clone()).counts());
        Ok(lines)
    }

    /// Polls and serves until `shutdown`, and follows the configurations that come in.
    pub async fn run(self, reloads: mpsc::Receiver<Reload>, shutdown: CancellationToken) {
        let (version, revision) = (env!("CARGO_PKG_VERSION"), env!("BUILD_REVISION"));
        for address in self.server.addresses().unwrap_or_default() {
            tracing::info!(%address, scheme = self.server.scheme(), version, revision, "serving /metrics");
        }
        self.reloading.client.log_connection();
        let probes = async {
            if let Some((server, router)) = self.probes {
                for address in server.addresses().unwrap_or_default() {
                    tracing::info!(%address, "serving probes");
                }
                server.run(router, shutdown.clone()).await;
            }
        };
        // One at a time: the next is taken over once the poll under way has ended.
        let (to_poller, poller_configs) = mpsc::channel(1);
        let polling = self.poller.run(poller_configs, shutdown.clone());
        let serving = self.server.run(self.router, shutdown.clone());
        tokio::select! {
            _ = async { tokio::join!(polling, serving, probes) } => {}
            () = self.reloading.follow(reloads, to_poller) => {}
        }
    }
}

/// What a web configuration file and the files that it names say.
fn load_security(
    file: &Path,
    metrics: &web::Metrics,
) -> Result<(Security, RulesWatcher), ConfigError> {
    let (path, metrics) = (file.to_owned(), metrics.clone());
    wait_for(IO_TIMEOUT, move || Security::load(&path, metrics.clone())).unwrap_or_else(|error| {
        let fault = format!("it or a file that it names cannot be read: {error}");
        Err(ConfigError::new("web.config_file", fault, format!("file {}", file.display())))
    })
}

/// Takes new configurations over as far as that can be done without a restart.
struct Reloading {
    running: Config,
    client: Arc<Client>,
    client_metrics: Arc<openai::Metrics>,
    /// It follows its files itself.
    web_security: Option<Security>,
    successful: IntGauge,
    succeeded_at: Gauge,
}

impl Reloading {
    fn new(
        running: Config,
        client: Arc<Client>,
        client_metrics: Arc<openai::Metrics>,
        web_security: Option<Security>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let successful = register_int_gauge_with_registry!(
            "openai_cert_exporter_config_last_reload_successful",
            "Whether the configuration that was read last is in force: 1 or 0.",
            registry
        )?;
        let succeeded_at = register_gauge_with_registry!(
            "openai_cert_exporter_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was read, as a Unix time.",
            registry
        )?;
        let reloading =
            Self { running, client, client_metrics, web_security, successful, succeeded_at };
        reloading.succeeded();
        Ok(reloading)
    }

    fn succeeded(&self) {
        self.successful.set(1);
        self.succeeded_at.set(unix_now());
    }

    /// Never ends.
    async fn follow(
        mut self,
        mut reloads: mpsc::Receiver<Reload>,
        to_poller: mpsc::Sender<PollerConfig>,
    ) {
        while let Some(reload) = reloads.recv().await {
            match self.take_over(reload).await {
                Ok(poller_config) => {
                    // The poller ends only with the process.
                    let _ = to_poller.send(poller_config).await;
                    self.succeeded();
                    self.log_success().await;
                }
                Err(error) => {
                    self.successful.set(0);
                    let what = "the configuration cannot be used; keeping the previous one";
                    tracing::error!("{what}: {error}");
                }
            }
        }
        std::future::pending::<()>().await;
    }

    async fn log_success(&self) {
        let what = "the configuration was reloaded and applies from the next poll on";
        match &self.web_security {
            Some(security) if !security.reload().await => {
                tracing::warn!("{what}, except for web.config_file: keeping its previous version");
            }
            _ => tracing::info!("{what}"),
        }
    }

    async fn take_over(&mut self, reload: Reload) -> Result<PollerConfig, StartError> {
        let Loaded { mut config, credentials } = reload?;
        if config.api.base_url != self.running.api.base_url {
            return Err(StartError::AnotherApi);
        }
        let restart_only = config.keep_restart_only(&self.running);
        if !restart_only.is_empty() {
            tracing::warn!(
                "these keys take effect only after a restart: {}",
                restart_only.join(", ")
            );
        }
        if config.api != self.running.api {
            let client =
                Client::new_on_thread(&config.api, Arc::clone(&self.client_metrics)).await?;
            self.client = Arc::new(client);
            self.client.log_connection();
        }
        let poller_config = PollerConfig::new(Arc::clone(&self.client), &config, credentials);
        self.running = config;
        Ok(poller_config)
    }
}
