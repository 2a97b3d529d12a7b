//! `--web.config.file`: TLS, users and response headers for a port, in the format of the Prometheus exporter-toolkit, which
//! is "the reference" here.
//!
//! What the file says becomes rules, whole or not at all. While the port is served, they follow the files.

mod basic_auth;
mod client_verifier;
mod files;
mod metrics;
mod throttle;
mod tls;
mod turns;
mod watcher;
mod web_config;
mod yaml;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{mpsc, oneshot, watch};

use self::basic_auth::{BasicAuth, Decision, Users};
use self::files::WatchedFiles;
pub use self::metrics::Metrics;
use self::throttle::Throttle;
use self::tls::Tls;
use self::turns::Group;
pub use self::watcher::RulesWatcher;
use self::web_config::WebConfig;
use super::HEALTH_PATHS;
use crate::config::ConfigError;

/// What a web configuration file says, for every client of a port.
struct Rules {
    tls: Option<Tls>,
    /// Without any, no credentials are asked for.
    users: Users,
    /// Of every response, instead of its own.
    headers: HeaderMap,
}

impl Rules {
    fn read(files: &mut WatchedFiles) -> Result<Self, ConfigError> {
        let config = WebConfig::read(files)?;
        Ok(Self {
            tls: config.tls_server_config.map(|tls| Tls::new(tls, files)).transpose()?,
            users: config.basic_auth_users.unwrap_or_default(),
            headers: config.http_server_config.map(|http| http.headers).unwrap_or_default(),
        })
    }
}

/// Guards a port.
#[derive(Clone)]
pub struct Security {
    rules: watch::Receiver<Arc<Rules>>,
    basic_auth: Arc<BasicAuth>,
    failed_handshakes: Arc<Throttle>,
    /// To the task that reads the files again.
    reloads: mpsc::Sender<oneshot::Sender<bool>>,
}

impl Security {
    /// The rules of a web configuration file, and the task that keeps them and the metrics of them up to date.
    pub fn load(file: &Path, metrics: Metrics) -> Result<(Self, RulesWatcher), ConfigError> {
        let mut files = WatchedFiles::of(file);
        let rules = Rules::read(&mut files)?;
        metrics.taken(&rules);
        let (sender, rules) = watch::channel(Arc::new(rules));
        let (reloads, requests) = mpsc::channel(1);
        // Also without users: the file may come to name some.
        let basic_auth = BasicAuth::new().map_err(|_| {
            files.refuse(
                "basic_auth_users",
                "cannot be checked, since the system gives no random numbers",
            )
        })?;
        let (basic_auth, failed_handshakes) = (Arc::new(basic_auth), Arc::default());
        Ok((
            Self { rules, basic_auth, failed_handshakes, reloads },
            RulesWatcher { files, rules: sender, requests, metrics },
        ))
    }

    /// What each file of certificates holds, a line each.
    pub fn certificate_counts(&self) -> Vec<String> {
        self.rules().tls.as_ref().map(|tls| tls.certificate_counts.clone()).unwrap_or_default()
    }

    /// Has the files read again at once, while the port is served. Returns whether what was read last is in force.
    pub async fn reload(&self) -> bool {
        let (sender, is_in_force) = oneshot::channel();
        self.reloads.send(sender).await.is_ok() && is_in_force.await.unwrap_or(false)
    }

    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.rules().tls.is_some() { "https" } else { "http" }
    }

    /// For a connection of `client` that begins now.
    pub(super) fn policy(&self, client: SocketAddr) -> ConnectionPolicy {
        ConnectionPolicy {
            accepted_under: self.rules(),
            client,
            has_failed: AtomicBool::new(false),
            security: self.clone(),
        }
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.borrow())
    }
}

/// Guards a connection: its TLS by the rules that were in force when it began, its requests by those in force.
pub(super) struct ConnectionPolicy {
    accepted_under: Arc<Rules>,
    client: SocketAddr,
    /// Whether wrong credentials have come.
    has_failed: AtomicBool,
    security: Security,
}

impl ConnectionPolicy {
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.accepted_under.tls.as_ref()
    }

    /// Logs why a client was not let in, or has left. One such line a minute is enough for whoever has to mend it.
    pub(super) fn log_failed_handshake(&self, error: &io::Error) {
        let client = self.client;
        if let Some(not_logged) = self.security.failed_handshakes.admit() {
            tracing::warn!(%client, not_logged, "a TLS handshake failed: {error}");
        } else {
            tracing::debug!(%client, "a TLS handshake failed: {error}");
        }
    }

    /// Responds to a request: with the router's response if the rules allow it.
    pub(super) async fn respond(
        &self,
        request: Request<Body>,
        router: &TowerToHyperService<Router>,
    ) -> Result<Response<Body>, Infallible> {
        let rules = self.security.rules();
        let decision = if rules.users.is_empty() || HEALTH_PATHS.contains(&request.uri().path()) {
            Decision::Allow
        } else {
            let client = Group::new(self.client.ip(), self.has_failed.load(Ordering::Relaxed));
            let headers = request.headers();
            let decision = self.security.basic_auth.check(&rules.users, headers, client).await;
            if matches!(decision, Decision::Deny) && headers.contains_key(AUTHORIZATION) {
                self.has_failed.store(true, Ordering::Relaxed);
            }
            decision
        };
        let mut response = match decision {
            Decision::Allow => router.call(request).await?,
            Decision::Deny => {
                let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"openai-cert-exporter\"")];
                (StatusCode::UNAUTHORIZED, challenge, "unauthorized\n").into_response()
            }
            Decision::Overloaded => {
                let later = [(RETRY_AFTER, "1")];
                (StatusCode::SERVICE_UNAVAILABLE, later, "too many passwords are being checked\n")
                    .into_response()
            }
        };
        let headers = response.headers_mut();
        headers.extend(rules.headers.clone());
        // A client that was verified under other rules is verified anew.
        if !Arc::ptr_eq(&rules, &self.accepted_under) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}
