//! The server that the exporter serves with, in this process: all that its tests know of the program's own types.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use openai_cert_exporter::config::ConfigError;
use openai_cert_exporter::exposition::Exposition;
use openai_cert_exporter::poll_state::{PollState, PollTiming};
use openai_cert_exporter::web::{self, Limits, Metrics, RulesWatcher, Security, Server};
use prometheus::{IntGauge, Registry};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::tls::Folder;
use crate::wait::DEADLINE;

/// The size of `/large`: more than the sockets of both sides hold.
pub(crate) const LARGE: usize = 64 << 20;

/// TLS with the files of [`Folder::write_pair`] for `server`.
pub(crate) const TLS: &str = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n";

/// How to serve: at first with patience that no test uses up.
pub(crate) struct Serving {
    address: &'static str,
    limits: Limits,
    folder: Option<Folder>,
}

pub(crate) fn serving() -> Serving {
    let limits = Limits {
        connections: 1_000,
        head_timeout: DEADLINE,
        idle_timeout: DEADLINE,
        response_timeout: DEADLINE,
    };
    Serving { address: "127.0.0.1:0", limits, folder: None }
}

impl Serving {
    pub(crate) fn listening_on(mut self, address: &'static str) -> Self {
        self.address = address;
        self
    }

    pub(crate) fn connections(mut self, connections: usize) -> Self {
        self.limits.connections = connections;
        self
    }

    pub(crate) fn head_timeout(mut self, timeout: Duration) -> Self {
        self.limits.head_timeout = timeout;
        self
    }

    pub(crate) fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.limits.idle_timeout = timeout;
        self
    }

    pub(crate) fn response_timeout(mut self, timeout: Duration) -> Self {
        self.limits.response_timeout = timeout;
        self
    }

    /// Under the folder's web configuration.
    pub(crate) fn secured(mut self, folder: &Folder) -> Self {
        self.folder = Some(folder.clone());
        self
    }

    pub(crate) async fn start(self) -> Port {
        let page = get(async || "metrics\n");
        let router = Router::new()
            .route("/metrics", page.clone())
            .route("/healthz", page)
            .route("/large", get(async || vec![b'x'; LARGE]));
        self.start_with(router).await
    }

    async fn start_with(self, router: Router) -> Port {
        let security = self.folder.as_ref().map(|folder| load(folder).unwrap());
        let server =
            Server::bind(&[self.address.parse().unwrap()], self.limits, security).await.unwrap();
        let address = server.addresses().unwrap()[0];
        let end = CancellationToken::new();
        tokio::spawn(server.run(router, end.clone()));
        Port { address, _folder: self.folder, _end: end.drop_guard() }
    }
}

/// What is served until this goes.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    _folder: Option<Folder>,
    _end: DropGuard,
}

impl Port {
    pub(crate) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address)
    }
}

/// How long the exporter itself waits for a head, while nothing happens, and for an answer to be taken.
pub(crate) fn own_timeouts() -> [Duration; 3] {
    let Limits { head_timeout, idle_timeout, response_timeout, .. } = Limits::new(1);
    [head_timeout, idle_timeout, response_timeout]
}

/// What is wrong with the folder's web configuration, if anything is.
pub(crate) fn web_config_fault(folder: &Folder) -> Option<String> {
    load(folder).err().map(|error| error.to_string())
}

fn load(folder: &Folder) -> Result<(Security, RulesWatcher), ConfigError> {
    Security::load(&folder.web_config(), Metrics::new(&Registry::new()).unwrap())
}

/// Everything that the exporter serves, before the first poll.
pub(crate) struct Exporter {
    state: watch::Sender<Arc<PollState>>,
    pub(crate) port: Port,
}

impl Exporter {
    pub(crate) async fn start() -> Self {
        let timing =
            PollTiming { interval: Duration::from_secs(300), timeout: Duration::from_secs(240) };
        let (state, receiver) =
            watch::channel(Arc::new(PollState::new(Instant::now() + DEADLINE, timing)));
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let exposition = Arc::new(Exposition::new(registry).unwrap());
        let config_in_force = IntGauge::new("config_in_force", "1 or 0").unwrap();
        let router = web::router(exposition, receiver, metrics, config_in_force);
        let port = serving().start_with(router).await;
        Self { state, port }
    }

    /// The poll loop has promised a heartbeat until then.
    pub(crate) fn promises(&self, deadline: Instant) {
        self.state.send_modify(|state| Arc::make_mut(state).liveness_deadline = deadline);
    }
}
