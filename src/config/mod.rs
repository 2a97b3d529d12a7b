//! From defaults, a file, the environment and flags to one validated [`Config`].
//!
//! [`layers`] stacks the sources, [`values`] says what a value may be, and this module what
//! there is to configure. A value is checked once, here; from then on its type says what it is. No message repeats a
//! value: the key, the fault and the place are enough to find it, and a value may be a secret in the wrong place.

mod layers;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use reqwest::header::HeaderValue;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::{Host, Url};

pub use layers::{DEFAULTS, Demo, Layers, Setting};
pub use values::ListenAddress;

/// The effective configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `api.*`: where the Admin API is, and how it is asked.
    pub api: Api,
    /// `poll.*`: when, and for how long.
    pub poll: Poll,
    /// `certificates.*`: how names are read.
    pub certificates: Certificates,
    /// `web.*`: where metrics are served.
    pub web: Web,
    /// `log.*`: what is told on standard error.
    pub log: Log,
}

/// `api.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// `api.base_url`, without a trailing slash. `http` only to this machine, unless `insecure_http`.
    #[serde(deserialize_with = "values::base_url")]
    pub base_url: Url,
    /// `api.admin_key` or `api.admin_key_file`.
    #[serde(skip)]
    pub credentials: Credentials,
    /// Whether the key is given in place; the key itself never passes through here.
    #[serde(default, rename = "admin_key", deserialize_with = "values::text")]
    admin_key_given: Option<String>,
    #[serde(default, deserialize_with = "values::key_file")]
    admin_key_file: Option<PathBuf>,
    /// `api.ca_file`: the only roots that are trusted, instead of the system's.
    #[serde(default, deserialize_with = "values::path")]
    pub ca_file: Option<PathBuf>,
    /// `api.client_cert_file`: what an mTLS host is shown; with `api.client_key_file`.
    #[serde(default, deserialize_with = "values::path")]
    pub client_cert_file: Option<PathBuf>,
    /// `api.client_key_file`
    #[serde(default, deserialize_with = "values::path")]
    pub client_key_file: Option<PathBuf>,
    /// `api.page_size`, 1–100.
    #[serde(deserialize_with = "values::number::<_, 1, 100>")]
    pub page_size: u32,
    /// `api.request_timeout`: one request, its body included.
    #[serde(deserialize_with = "values::duration::<_, 10, 600_000>")]
    pub request_timeout: Duration,
    /// `api.max_retries`: of one request, after its first try.
    #[serde(deserialize_with = "values::number::<_, 0, 10>")]
    pub max_retries: u32,
    /// `api.insecure_http`
    #[serde(deserialize_with = "values::boolean")]
    pub insecure_http: bool,
}

/// `poll.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// `poll.interval`, from start to start, 100 ms – 24 h.
    #[serde(deserialize_with = "values::duration::<_, 100, 86_400_000>")]
    pub interval: Duration,
    /// `poll.timeout`: one whole poll. May exceed the interval.
    #[serde(deserialize_with = "values::duration::<_, 100, 86_400_000>")]
    pub timeout: Duration,
    /// `poll.projects`: also poll every project's certificates.
    #[serde(deserialize_with = "values::boolean")]
    pub projects: bool,
    /// `poll.concurrency`: requests under way at once, 1–32.
    #[serde(deserialize_with = "values::number::<_, 1, 32>")]
    pub concurrency: u32,
    /// `poll.state_file`: keeps the last good snapshot across restarts.
    #[serde(default, deserialize_with = "values::path")]
    pub state_file: Option<PathBuf>,
    /// `poll.project_include`: patterns of which one must match a project's name or identifier; empty where all do.
    #[serde(default, deserialize_with = "values::patterns")]
    pub project_include: Vec<Regex>,
    /// `poll.project_exclude`: patterns of which none may.
    #[serde(default, deserialize_with = "values::patterns")]
    pub project_exclude: Vec<Regex>,
}

/// `certificates.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// `certificates.rotation_group`; it has at least one group, whose first names the authority.
    #[serde(deserialize_with = "values::pattern_with_group")]
    pub rotation_group: Regex,
}

/// `web.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Web {
    /// `web.listen_address`, at least one.
    #[serde(deserialize_with = "values::listen_addresses")]
    pub listen_address: Vec<ListenAddress>,
    /// `web.config_file`: TLS and users for these addresses, in the exporter-toolkit's format.
    #[serde(default, deserialize_with = "values::path")]
    pub config_file: Option<PathBuf>,
    /// `web.probe_listen_address`: serves the health endpoints alone, always in plain HTTP.
    #[serde(default, deserialize_with = "values::listen_address")]
    pub probe_listen_address: Option<ListenAddress>,
}

/// `log.*`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `log.level`
    #[serde(deserialize_with = "values::log_level")]
    pub level: tracing::Level,
    /// `log.format`
    #[serde(deserialize_with = "values::log_format")]
    pub format: LogFormat,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// Where the admin key comes from.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Given in place.
    Key(SecretString),
    /// In a file, read again for every poll.
    File(PathBuf),
}

impl Default for Credentials {
    /// Stands only until the layers have been read; an empty key is never used, since [`Credentials::read`] refuses it.
    fn default() -> Self {
        Self::Key(SecretString::default())
    }
}

/// An admin key file larger than this is not one.
const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;

impl Credentials {
    /// The key as it is now, trimmed. Blocks where it is in a file.
    pub fn read(&self) -> Result<SecretString, CredentialsError> {
        match self {
            Self::Key(key) => usable(key.expose_secret()),
            Self::File(path) => {
                let error = |source| CredentialsError::Unreadable { path: path.clone(), source };
                let mut text = Zeroizing::new(String::new());
                let file = std::fs::File::open(path).map_err(error)?;
                std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_KEY_FILE_BYTES), &mut text)
                    .map_err(error)?;
                usable(&text).map_err(|fault| match fault {
                    CredentialsError::Empty => CredentialsError::EmptyFile { path: path.clone() },
                    other => other,
                })
            }
        }
    }
}

fn usable(key: &str) -> Result<SecretString, CredentialsError> {
    let key = key.trim();
    if key.is_empty() {
        return Err(CredentialsError::Empty);
    }
    if HeaderValue::from_str(key).is_err() || !key.is_ascii() {
        return Err(CredentialsError::NotAHeader);
    }
    Ok(key.into())
}

/// Why there is no usable admin key. No variant carries any of it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Nothing but white space.
    #[error("the admin key is empty")]
    Empty,
    /// Nothing but white space in the file.
    #[error("the admin key file {} is empty", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read, or is not UTF-8.
    #[error("the admin key file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line break or another character that no HTTP header can carry.
    #[error("the admin key has a character that an HTTP header cannot carry")]
    NotAHeader,
}

/// What is wrong with the configuration: the key, the fault, and where it stands; never the value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("configuration file {} is not valid TOML: {fault} (line {line}, column {column})", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser expected.
        fault: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// A key that there is not.
    #[error("{key}: unknown key ({origin}); there are: {known}")]
    Unknown {
        /// The key as it was given.
        key: String,
        /// Where.
        origin: String,
        /// The keys that stand there.
        known: String,
    },
    /// A key's value is at fault.
    #[error("{key}: {fault} ({origin})")]
    Invalid {
        /// The key.
        key: String,
        /// What it must be.
        fault: String,
        /// Where the value came from.
        origin: String,
    },
    /// Neither or both of two keys of which there must be one.
    #[error("{0}")]
    Credentials(String),
    /// The admin key cannot be used.
    #[error("{key}: {source} ({origin})")]
    Key {
        /// `api.admin_key` or `api.admin_key_file`.
        key: &'static str,
        /// Where it came from.
        origin: String,
        /// Why.
        source: CredentialsError,
    },
}

impl Config {
    /// The keys in which `new` differs and which only a restart can change.
    #[must_use]
    pub fn needing_restart(&self, new: &Self) -> Vec<&'static str> {
        [
            ("api.base_url", self.api.base_url != new.api.base_url),
            ("poll.state_file", self.poll.state_file != new.poll.state_file),
            ("web.listen_address", self.web.listen_address != new.web.listen_address),
            ("web.config_file", self.web.config_file != new.web.config_file),
            ("web.probe_listen_address", self.web.probe_listen_address != new.web.probe_listen_address),
            ("log.level", self.log.level != new.log.level),
            ("log.format", self.log.format != new.log.format),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }

    /// Reads, stacks and checks every layer. The admin key is read once, so that a missing one ends the start and not
    /// only the first poll.
    pub fn load(layers: &Layers) -> Result<Self, ConfigError> {
        let mut config: Self = layers.extract()?;
        let api = &mut config.api;

        if api.base_url.scheme() == "http" && !api.insecure_http && !is_loopback(&api.base_url) {
            return Err(ConfigError::Invalid {
                key: "api.base_url".into(),
                fault: "must be https, since the host is not this machine and api.insecure_http is not set".into(),
                origin: layers.origin("api.base_url"),
            });
        }

        let (key, without) = match (&api.client_cert_file, &api.client_key_file) {
            (Some(_), None) => ("api.client_cert_file", "api.client_key_file"),
            (None, Some(_)) => ("api.client_key_file", "api.client_cert_file"),
            _ => ("", ""),
        };
        if !key.is_empty() {
            let fault = format!("must not be set without {without}");
            return Err(ConfigError::Invalid { key: key.into(), fault, origin: layers.origin(key) });
        }

        let (key, credentials) = match (api.admin_key_given.take(), api.admin_key_file.take()) {
            (Some(_), None) => ("api.admin_key", Credentials::Key(layers.admin_key())),
            (None, Some(path)) => ("api.admin_key_file", Credentials::File(path)),
            (None, None) => {
                return Err(ConfigError::Credentials(
                    "api.admin_key: no admin key is given; set OPENAI_ADMIN_KEY, api.admin_key or api.admin_key_file \
                     (the demo command needs none)"
                        .into(),
                ));
            }
            (Some(_), Some(_)) => {
                return Err(ConfigError::Credentials(format!(
                    "api.admin_key: set ({}), but api.admin_key_file is too ({}); exactly one may be",
                    layers.origin("api.admin_key"),
                    layers.origin("api.admin_key_file"),
                )));
            }
        };
        let error = |source| ConfigError::Key { key, origin: layers.origin(key), source };
        api.credentials = match credentials {
            Credentials::Key(given) => Credentials::Key(usable(given.expose_secret()).map_err(error)?),
            file @ Credentials::File(_) => {
                file.read().map_err(error)?;
                file
            }
        };
        Ok(config)
    }
}

/// Whether a URL's host is this machine: such a host is asked in plain HTTP without more ado, and never through a proxy,
/// which would be shown the key.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Config {
        let key = ("OPENAI_ADMIN_KEY".into(), "sk-admin".into());
        Config::load(&Layers::stack(None, [key], Vec::new(), None).unwrap()).unwrap()
    }

    #[test]
    fn the_default_rotation_group_cuts_off_a_trailing_generation() {
        let pattern = defaults().certificates.rotation_group;
        for (name, authority) in [
            ("edge-2026", "edge"),
            ("edge_v3", "edge"),
            ("edge gen 4", "edge"),
            ("edge gen4", "edge"),
            ("Edge Generation 12", "Edge"),
            ("edge.V12", "edge"),
            ("edge-2026-01", "edge"),
            ("edge-2026-01-15", "edge"),
            ("edge-20260115", "edge"),
            ("edge 2026 q3", "edge"),
            ("edge (2026)", "edge"),
            ("edge-2026-v2", "edge"),
            ("edge", "edge"),
            // A bare number may as well be a region or a node: taking it for a generation would silence a page.
            ("eu-west-1", "eu-west-1"),
            ("edge-v", "edge-v"),
            ("dev3", "dev3"),
            ("edge-20260", "edge-20260"),
            ("2026", "2026"),
            ("v3", "v3"),
        ] {
            let group = pattern.captures(name).and_then(|captures| captures.get(1));
            assert_eq!(group.map(|group| group.as_str()), Some(authority), "{name}");
        }
        assert!(pattern.captures("").is_none());
    }
}
