//! From defaults, a file, the environment and flags to one validated [`Config`].
//!
//! [`layers`] stacks the sources, [`file`](mod@file) reads the one on disk, [`effective`] prints what they come to,
//! [`values`] says what a value may be, and this module what there is to configure: of each key the name, the type and the
//! bounds, once. `config/default.toml` has the defaults. No message repeats a value.

mod client;
mod credentials;
mod effective;
mod error;
mod file;
mod layers;
mod listen_address;
pub(crate) mod values;

use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Deserializer};
use url::{Host, Url};

pub use client::{ClientConfig, OWN_CLIENT};
pub use credentials::Credentials;
pub use effective::comment;
pub use error::ConfigError;
pub(crate) use error::name_to_echo;
pub use file::ConfigFile;
pub(crate) use layers::Layer;
pub use layers::{Demo, Layers};
pub use listen_address::ListenAddress;

/// What the layers come to, in two parts: no admin key is in the configuration, so whatever holds that may print it.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub credentials: Credentials,
}

/// The keys by section. In place of the admin key it has a placeholder; the key itself is in [`Credentials`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub api: Api,
    pub poll: Poll,
    pub certificates: Certificates,
    pub web: Web,
    pub log: Log,
    #[serde(default)]
    pub clients: Vec<ClientConfig>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Without a trailing slash. `http` only to this machine, unless `insecure_http`.
    #[serde(deserialize_with = "values::base_url")]
    pub base_url: Url,
    #[serde(default, deserialize_with = "values::string")]
    admin_key: Option<String>,
    #[serde(default, deserialize_with = "values::path")]
    admin_key_file: Option<PathBuf>,
    /// The only roots that are trusted, instead of the system's.
    #[serde(default, deserialize_with = "values::path")]
    pub ca_file: Option<PathBuf>,
    /// The certificate chain presented to a host that requires mTLS; never without `client_key_file`.
    #[serde(default, deserialize_with = "values::path")]
    pub client_cert_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "values::path")]
    pub client_key_file: Option<PathBuf>,
    #[serde(deserialize_with = "values::number::<_, 1, 100>")]
    pub page_size: u32,
    /// One request, its body included.
    #[serde(deserialize_with = "values::duration::<_, 10, 600_000>")]
    pub request_timeout: Duration,
    /// Repetitions of one request after its first attempt.
    #[serde(deserialize_with = "values::number::<_, 0, 10>")]
    pub max_retries: u32,
    #[serde(deserialize_with = "values::boolean")]
    pub insecure_http: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// From start to start.
    #[serde(deserialize_with = "poll_duration")]
    pub interval: Duration,
    /// Time-out of one whole poll. May exceed the interval.
    #[serde(deserialize_with = "poll_duration")]
    pub timeout: Duration,
    /// Also poll every project's certificates.
    #[serde(deserialize_with = "values::boolean")]
    pub projects: bool,
    /// Requests under way at once.
    #[serde(deserialize_with = "values::number::<_, 1, 32>")]
    pub concurrency: u32,
    /// Keeps the last good snapshot across restarts.
    #[serde(default, deserialize_with = "values::path")]
    pub state_file: Option<PathBuf>,
    /// One of these must match a project's name or identifier; empty if every project is selected.
    #[serde(default, deserialize_with = "values::patterns")]
    pub project_include: Vec<Regex>,
    /// None of these may match.
    #[serde(default, deserialize_with = "values::patterns")]
    pub project_exclude: Vec<Regex>,
}

/// The interval of polls, or how long one may take.
pub(crate) fn poll_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    values::duration::<_, 100, 86_400_000>(deserializer)
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// Also fetch each certificate's PEM, once. On by itself where clients are configured.
    #[serde(deserialize_with = "values::boolean")]
    pub content: bool,
    /// Its first group names the authority in a certificate's name.
    #[serde(deserialize_with = "values::pattern_with_group")]
    pub rotation_group: Regex,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Web {
    /// At least one.
    #[serde(deserialize_with = "values::listen_addresses")]
    pub listen_address: Vec<ListenAddress>,
    /// TLS and users for these addresses, in the exporter-toolkit's format.
    #[serde(default, deserialize_with = "values::path")]
    pub config_file: Option<PathBuf>,
    /// Serves the health endpoints alone, always in plain HTTP.
    #[serde(default, deserialize_with = "values::listen_address")]
    pub probe_listen_address: Option<ListenAddress>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    #[serde(deserialize_with = "values::log_level")]
    pub level: tracing::Level,
    #[serde(deserialize_with = "values::log_format")]
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString)]
#[strum(ascii_case_insensitive)]
pub enum LogFormat {
    Text,
    /// An object a line.
    Json,
}

impl Loaded {
    /// Checks what the layers come to. The admin key is read once, so that a missing one ends the start and not only the
    /// first poll.
    pub fn new(layers: &Layers) -> Result<Self, ConfigError> {
        let config: Config = layers.extract()?;
        let api = &config.api;
        if api.base_url.scheme() == "http" && !api.insecure_http && !is_loopback(&api.base_url) {
            let fault = "must be https, since the host is not this machine and api.insecure_http is not set";
            return Err(layers.refuse("api.base_url", fault));
        }
        let [cert, key] = ["api.client_cert_file", "api.client_key_file"];
        match (&api.client_cert_file, &api.client_key_file) {
            (Some(_), None) => {
                return Err(layers.refuse(cert, format!("must not be set without {key}")));
            }
            (None, Some(_)) => {
                return Err(layers.refuse(key, format!("must not be set without {cert}")));
            }
            _ => {}
        }
        config.check_clients(layers)?;
        let [in_place, in_file] = ["api.admin_key", "api.admin_key_file"];
        let (key, credentials) = match (&api.admin_key, &api.admin_key_file) {
            (Some(_), None) => (in_place, Credentials::Key(layers.admin_key.clone())),
            (None, Some(path)) => (in_file, Credentials::File(path.clone())),
            (None, None) => {
                let fault = "no admin key is given; set OPENAI_ADMIN_KEY, api.admin_key or api.admin_key_file, or run the \
                             demo, which needs none";
                return Err(layers.refuse(in_place, fault));
            }
            (Some(_), Some(_)) => {
                let other = layers.origin(in_file);
                return Err(layers.refuse(
                    in_place,
                    format!("must not be set together with {in_file}, which is set by {other}"),
                ));
            }
        };
        credentials.read_in_time().map_err(|error| layers.refuse(key, error))?;
        Ok(Self { config, credentials })
    }
}

impl Config {
    /// Keeps from `running` what only a restart changes, and names the keys of it that differ. Both are of one API.
    pub fn keep_restart_only(&mut self, running: &Self) -> Vec<&'static str> {
        fn keep<T: Clone + PartialEq>(
            value: &mut T,
            running: &T,
            key: &'static str,
        ) -> Option<&'static str> {
            let differs = value != running;
            value.clone_from(running);
            differs.then_some(key)
        }

        [
            keep(&mut self.poll.state_file, &running.poll.state_file, "poll.state_file"),
            keep(&mut self.web.listen_address, &running.web.listen_address, "web.listen_address"),
            keep(&mut self.web.config_file, &running.web.config_file, "web.config_file"),
            keep(
                &mut self.web.probe_listen_address,
                &running.web.probe_listen_address,
                "web.probe_listen_address",
            ),
            keep(&mut self.log.level, &running.log.level, "log.level"),
            keep(&mut self.log.format, &running.log.format, "log.format"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Whether a URL's host is this machine: plain HTTP is allowed there, and no proxy is used, which would see the key.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::layers::DEFAULTS;
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Loaded {
        let key = [("OPENAI_ADMIN_KEY", "sk-admin-PLANTED")];
        let environment =
            key.iter().chain(variables).map(|(name, value)| (name.into(), value.into()));
        Loaded::new(&Layers::stack(None, environment, [], None).unwrap()).unwrap()
    }

    #[test]
    fn no_debug_output_has_the_admin_key() {
        let loaded = load(&[]);
        assert!(
            !format!("{loaded:?} {:?}", loaded.credentials.read()).contains("PLANTED"),
            "{loaded:?}"
        );
    }

    /// As the message about an unknown key lists them.
    fn keys_of(section: &str) -> Vec<String> {
        let name = format!("OPENAI_CERT_EXPORTER__{}__NONSENSE", section.to_uppercase());
        let layers = Layers::stack(None, [(name.into(), "x".into())], [], None).unwrap();
        let message = layers.extract().unwrap_err().to_string();
        let (_, keys) = message.split_once("there are: ").unwrap();
        keys.split_once(" (").unwrap().0.split(", ").map(str::to_owned).collect()
    }

    #[test]
    fn default_file_names_every_key_and_no_other() {
        let mut known: Vec<_> =
            ["api", "poll", "certificates", "web", "log"].into_iter().flat_map(keys_of).collect();
        let lines = DEFAULTS.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
        // What follows is not of a section, and has no defaults.
        let lines = lines.take_while(|line| *line != "[[clients]]");
        let mut named: Vec<_> =
            lines.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name).collect();
        known.sort_unstable();
        named.sort_unstable();
        assert_eq!(named, known);
    }

    #[test]
    fn demo_overrides_every_key_about_the_upstream() {
        let keys = keys_of("api");
        let left: Vec<_> =
            keys.iter().filter(|key| !Demo::OVERRIDDEN.contains(&key.as_str())).collect();
        assert_eq!(left, ["page_size", "request_timeout", "max_retries"]);
    }

    #[test]
    fn reload_keeps_what_only_a_restart_changes() {
        let running = load(&[]).config;
        let mut new = load(&[
            ("OPENAI_CERT_EXPORTER__API__PAGE_SIZE", "7"),
            ("OPENAI_CERT_EXPORTER__POLL__STATE_FILE", "/state"),
            ("OPENAI_CERT_EXPORTER__POLL__INTERVAL", "7s"),
            ("OPENAI_CERT_EXPORTER__WEB__LISTEN_ADDRESS", ":7"),
            ("OPENAI_CERT_EXPORTER__LOG__FORMAT", "json"),
        ])
        .config;
        let mut kept = vec!["poll.state_file", "web.listen_address", "log.format"];
        assert_eq!(new.keep_restart_only(&running), kept);
        assert_eq!((new.api.page_size, new.poll.interval), (7, Duration::from_secs(7)));
        assert_eq!(new.poll.state_file, None);
        assert_eq!(new.web.listen_address, running.web.listen_address);
        assert_eq!(new.log.format, running.log.format);
        kept.clear();
        assert_eq!(load(&[]).config.keep_restart_only(&running), kept);
    }

    #[test]
    fn every_key_takes_effect_on_reload_or_is_kept() {
        let running = load(&[]).config;
        let mut new = load(&[
            ("OPENAI_CERT_EXPORTER__POLL__STATE_FILE", "/state"),
            ("OPENAI_CERT_EXPORTER__WEB__LISTEN_ADDRESS", ":7"),
            ("OPENAI_CERT_EXPORTER__WEB__CONFIG_FILE", "/web.yml"),
            ("OPENAI_CERT_EXPORTER__WEB__PROBE_LISTEN_ADDRESS", ":8"),
            ("OPENAI_CERT_EXPORTER__LOG__LEVEL", "debug"),
            ("OPENAI_CERT_EXPORTER__LOG__FORMAT", "json"),
        ])
        .config;
        let mut kept = new.keep_restart_only(&running);
        // A reload that changes it is refused.
        kept.push("api.base_url");
        // What a new key does is decided here.
        for (section, taken) in [
            (
                "api",
                "admin_key admin_key_file ca_file client_cert_file client_key_file page_size request_timeout \
                 max_retries insecure_http",
            ),
            ("poll", "interval timeout projects concurrency project_include project_exclude"),
            ("certificates", "content rotation_group"),
            ("web", ""),
            ("log", ""),
        ] {
            let keys = keys_of(section).into_iter();
            let others: Vec<_> =
                keys.filter(|key| !kept.contains(&format!("{section}.{key}").as_str())).collect();
            assert_eq!(others.join(" "), taken);
        }
    }

    #[test]
    fn the_default_rotation_group_cuts_off_a_trailing_generation() {
        let pattern = load(&[]).config.certificates.rotation_group;
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
