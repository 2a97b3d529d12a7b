//! `--web.config.file`: TLS, users and response headers for a port, in the format of the Prometheus exporter-toolkit.
//!
//! What the file says becomes rules, whole or not at all. While the port is served, they follow the files.

mod basic_auth;
mod files;
mod reload;
mod rules;
mod tls;
mod web_config;
mod yaml;

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use tokio::sync::watch;

use self::basic_auth::{BasicAuth, Decision};
use self::files::WatchedFiles;
pub use self::reload::Reload;
use self::rules::Rules;
use self::tls::Tls;
use super::HEALTH_PATHS;
use crate::config::ConfigError;

/// Guards a port.
#[derive(Clone)]
pub struct Security {
    rules: watch::Receiver<Arc<Rules>>,
    basic_auth: Arc<BasicAuth>,
}

impl Security {
    /// The rules of a web configuration file, and what keeps them up to date.
    pub fn load(file: &Path) -> Result<(Self, Reload), ConfigError> {
        let mut files = WatchedFiles::of(file);
        let (sender, rules) = watch::channel(Arc::new(Rules::read(&mut files)?));
        // Also without users: the file may come to name some.
        let basic_auth = BasicAuth::new().map_err(|_| {
            files.refuse("basic_auth_users", "cannot be checked, since the system gives no random numbers")
        })?;
        Ok((Self { rules, basic_auth: Arc::new(basic_auth) }, Reload { files, rules: sender }))
    }

    pub(super) fn speaks_tls(&self) -> bool {
        self.rules().tls.is_some()
    }

    /// For a connection that begins now.
    pub(super) fn policy(&self) -> ConnectionPolicy {
        ConnectionPolicy { accepted_under: self.rules(), security: self.clone() }
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.borrow())
    }

    async fn decide(&self, rules: &Rules, path: &str, headers: &HeaderMap) -> Decision {
        if rules.users.is_empty() || HEALTH_PATHS.contains(&path) {
            Decision::Allow
        } else {
            self.basic_auth.check(&rules.users, headers).await
        }
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

    /// Answers a request: with `respond` where the rules allow it.
    pub(super) async fn answer<E>(
        &self,
        request: Request<Body>,
        respond: impl AsyncFnOnce(Request<Body>) -> Result<Response<Body>, E>,
    ) -> Result<Response<Body>, E> {
        let rules = self.security.rules();
        let mut response = match self.security.decide(&rules, request.uri().path(), request.headers()).await {
            Decision::Allow => respond(request).await?,
            Decision::Deny => {
                let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"openai-cert-exporter\"")];
                (StatusCode::UNAUTHORIZED, challenge, "unauthorized\n").into_response()
            }
            Decision::Overloaded => {
                let later = [(RETRY_AFTER, "1")];
                (StatusCode::SERVICE_UNAVAILABLE, later, "too many passwords are being checked\n").into_response()
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
