use std::collections::BTreeSet;

use regex::Regex;
use serde::Deserialize;

use super::{Config, ConfigError, Layers, values};

/// One of `[[clients]]`: somebody who presents client certificates to OpenAI. At least one of the lists of files is not
/// empty.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Unique, and not [`OWN_CLIENT`].
    #[serde(deserialize_with = "values::client_name")]
    pub name: String,
    /// Glob patterns of files in PEM: the leaf, and the chain that it presents.
    #[serde(default, deserialize_with = "values::globs")]
    pub certificate_files: Vec<String>,
    /// Glob patterns of files in PEM: the CA certificate that issues this client's certificates, and its chain.
    #[serde(default, deserialize_with = "values::globs")]
    pub issuer_files: Vec<String>,
    /// The projects whose requests it sends, by patterns on name or identifier; none: the organization's own scope.
    #[serde(default, deserialize_with = "values::some_patterns")]
    pub projects: Option<Vec<Regex>>,
}

impl ClientConfig {
    /// All of it; patterns are compared by their text.
    fn fields(&self) -> (&str, [&[String]; 2], Option<Vec<&str>>) {
        let Self { name, certificate_files, issuer_files, projects } = self;
        let projects = projects.as_ref().map(|patterns| patterns.iter().map(Regex::as_str));
        (name, [certificate_files, issuer_files], projects.map(Iterator::collect))
    }
}

impl PartialEq for ClientConfig {
    fn eq(&self, other: &Self) -> bool {
        self.fields() == other.fields()
    }
}

/// The name under which the exporter's own client certificate is shown.
pub const OWN_CLIENT: &str = "openai-cert-exporter";

impl Config {
    pub(super) fn check_clients(&self, layers: &Layers) -> Result<(), ConfigError> {
        let mut names = BTreeSet::new();
        for (position, client) in self.clients.iter().enumerate() {
            let refuse = |key: &str, fault: &str| {
                let origin = layers.origin("clients");
                Err(ConfigError::new(format!("clients.{position}.{key}"), fault, origin))
            };
            if client.name == OWN_CLIENT {
                let fault = "is reserved for the exporter itself, whose certificate is api.client_cert_file";
                return refuse("name", fault);
            }
            if !names.insert(&client.name) {
                return refuse("name", "must be unique, but an earlier client has the same");
            }
            if client.certificate_files.is_empty() && client.issuer_files.is_empty() {
                return refuse("certificate_files", "must not be empty without issuer_files");
            }
            if client.projects.is_some() && !self.poll.projects {
                return refuse(
                    "projects",
                    "needs poll.projects = true: no project is read without it",
                );
            }
        }
        Ok(())
    }
}
