//! `--web.config.file`: TLS, users and response headers for a port, in the format of the Prometheus exporter-toolkit, which
//! is "the reference" here.
//!
//! What the file says becomes rules, whole or not at all. While the port is served, they follow the files.

mod basic_auth;
mod files;
mod tls;
mod watcher;
mod web_config;
mod yaml;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;

use self::basic_auth::{BasicAuth, Decision, Users};
use self::files::WatchedFiles;
use self::tls::Tls;
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
}

impl Security {
    /// The rules of a web configuration file, and the task that keeps them up to date.
    pub fn load(file: &Path) -> Result<(Self, RulesWatcher), ConfigError> {
        let mut files = WatchedFiles::of(file);
        let (sender, rules) = watch::channel(Arc::new(Rules::read(&mut files)?));
        // Also without users: the file may come to name some.
        let basic_auth = BasicAuth::new().map_err(|_| {
            files.refuse(
                "basic_auth_users",
                "cannot be checked, since the system gives no random numbers",
            )
        })?;
        Ok((
            Self { rules, basic_auth: Arc::new(basic_auth) },
            RulesWatcher { files, rules: sender },
        ))
    }

    /// What each file of certificates holds, a line each.
    pub fn certificate_counts(&self) -> Vec<String> {
        self.rules().tls.as_ref().map(|tls| tls.certificate_counts.clone()).unwrap_or_default()
    }

    /// For a connection that begins now.
    pub(super) fn policy(&self) -> ConnectionPolicy {
        ConnectionPolicy { accepted_under: self.rules(), security: self.clone() }
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.borrow())
    }
}

/// Guards a connection: its TLS by the rules that were in force when it began, its requests by those in force.
pub(super) struct ConnectionPolicy {
    accepted_under: Arc<Rules>,
    security: Security,
}

impl ConnectionPolicy {
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.accepted_under.tls.as_ref()
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
            self.security.basic_auth.check(&rules.users, request.headers()).await
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
