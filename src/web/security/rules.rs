//! What a web configuration comes to: whole, or not at all.

use axum::http::HeaderMap;

use super::basic_auth::Users;
use super::files::WatchedFiles;
use super::tls::Tls;
use super::web_config::WebConfig;
use crate::config::ConfigError;

/// What holds for every client of a port.
pub(super) struct Rules {
    pub(super) tls: Option<Tls>,
    /// Without any, no credentials are asked for.
    pub(super) users: Users,
    /// Of every response, instead of its own.
    pub(super) headers: HeaderMap,
}

impl Rules {
    pub(super) fn read(files: &mut WatchedFiles) -> Result<Self, ConfigError> {
        let config = WebConfig::read(files)?;
        Ok(Self {
            tls: config.tls_server_config.map(|tls| Tls::new(tls, files)).transpose()?,
            users: config.basic_auth_users.unwrap_or_default(),
            headers: config.http_server_config.map(|http| http.headers).unwrap_or_default(),
        })
    }

    /// Refuses these rules where they open the port wider than those `in_force`, as a file that is being written, or was
    /// emptied by accident, would.
    pub(super) fn reject_weaker(self, in_force: &Self, files: &WatchedFiles) -> Result<Self, ConfigError> {
        let refuse =
            |key: &str, what: &str| Err(files.refuse(key, format!("{what} would be gone, which takes a restart")));
        match (&in_force.tls, &self.tls) {
            (Some(_), None) => return refuse("tls_server_config", "TLS"),
            (Some(before), Some(after)) if after.client_auth < before.client_auth => {
                return refuse("tls_server_config.client_auth_type", "the verification of clients");
            }
            (Some(before), Some(after)) if before.has_san_allowlist() && !after.has_san_allowlist() => {
                return refuse("tls_server_config.client_allowed_sans", "the names that clients must have");
            }
            _ => {}
        }
        if self.users.is_empty() && !in_force.users.is_empty() {
            return refuse("basic_auth_users", "the last user");
        }
        Ok(self)
    }
}
