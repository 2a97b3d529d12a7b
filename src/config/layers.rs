//! The sources of the configuration, stacked: a later one wins, and each value remembers where it came from.
//!
//! Two things are kept out of figment on purpose. Its `Env` guesses types, so that a key of `12345` would be a number:
//! here every variable is text, and the readers in `values` take text. And the admin key never enters: it goes from
//! its source into a secret, and a placeholder takes its place, so that figment still knows where it came from.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use figment::error::Kind;
use figment::util::nest;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use toml::de::DeTable;

use super::{Config, ConfigError};

/// `config/default.toml`, which is both the documentation of every key and the lowest layer.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Every section there is.
const SECTIONS: [&str; 5] = ["api", "poll", "certificates", "web", "log"];
/// The origin of what nobody has set.
const DEFAULT: &str = "default";
const ADMIN_KEY: &str = "api.admin_key";
/// What stands for the admin key everywhere but in its secret.
const REDACTED: &str = "[redacted]";
/// The double underscore keeps clear of the variables that Kubernetes sets for a Service of this name.
const ENVIRONMENT_PREFIX: &str = "OPENAI_CERT_EXPORTER__";

/// The simulated organization that takes the place of the real one: everything that says which upstream is asked, and
/// as whom, is then its own, so that no real key is ever sent to it or asked for.
#[derive(Debug)]
pub struct Demo {
    base_url: String,
    admin_key: &'static str,
}

impl Demo {
    /// The organization whose API listens on `address` and takes `admin_key`.
    #[must_use]
    pub fn at(address: SocketAddr, admin_key: &'static str) -> Self {
        Self { base_url: format!("http://{address}/v1"), admin_key }
    }

    /// Keys whose values from other layers do not count in the demo.
    const OWN: [&'static str; 7] = [
        "api.base_url",
        ADMIN_KEY,
        "api.admin_key_file",
        "api.insecure_http",
        "api.ca_file",
        "api.client_cert_file",
        "api.client_key_file",
    ];
    /// Below the user's layers: pages small enough that there are several, polls that one can watch, and everything
    /// that there is to see.
    const DEFAULTS: [(&'static str, &'static str); 3] =
        [("api.page_size", "20"), ("poll.interval", "30s"), ("poll.projects", "true")];
}

/// One layer: what it is called in messages, and its values.
struct Layer {
    origin: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// A key with its effective value, and where that came from.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// `section.key`
    pub key: String,
    /// As TOML.
    pub value: String,
    /// As messages name it.
    pub origin: String,
}

impl Setting {
    /// Whether nobody has set it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.origin == DEFAULT
    }
}

/// Every layer, stacked.
pub struct Layers {
    figment: Figment,
    admin_key: SecretString,
    /// Whether the layers that are being added are those whose upstream the demo takes the place of.
    demo: bool,
}

impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layers").field("settings", &self.settings()).finish_non_exhaustive()
    }
}

impl Layers {
    /// Stacks defaults, `file`, `environment` and `flags` (key, name of the flag, value); with `demo`, its values around
    /// them.
    pub fn stack(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: Vec<(&str, &str, Value)>,
        demo: Option<&Demo>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Self { figment: Figment::new(), admin_key: SecretString::default(), demo: false };
        layers.add_toml(DEFAULT.into(), DEFAULTS, Path::new("config/default.toml"))?;
        if demo.is_some() {
            for (key, value) in Demo::DEFAULTS {
                layers.add("default of the demo".into(), nest(key, value.into()))?;
            }
        }
        layers.demo = demo.is_some();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map(Zeroizing::new)
                .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
            layers.add_toml(format!("file {}", path.display()), &text, path)?;
        }
        layers.add_environment(environment)?;
        for (key, flag, value) in flags {
            layers.add(format!("flag {flag}"), nest(key, value))?;
        }
        if let Some(demo) = demo {
            layers.demo = false;
            layers.add("the demo".into(), nest("api.base_url", demo.base_url.as_str().into()))?;
            layers.add("the demo".into(), nest(ADMIN_KEY, demo.admin_key.into()))?;
        }
        Ok(layers)
    }

    fn add_toml(&mut self, origin: String, text: &str, path: &Path) -> Result<(), ConfigError> {
        let syntax = |error: &toml::de::Error, fault: &str| {
            // Only the message: the error's own rendering shows the line, which may hold the key.
            let before = &text[..error.span().map_or(0, |span| span.start.min(text.len()))];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            ConfigError::Syntax {
                path: path.into(),
                fault: fault.lines().next().unwrap_or_default().to_owned(),
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
            }
        };
        // Parsed on its own first: the parser's messages repeat no value, while those of what comes after it do.
        DeTable::parse(text).map_err(|error| syntax(&error, error.message()))?;
        let table: toml::Table = toml::from_str(text).map_err(|error| syntax(&error, "a number is out of range"))?;
        let values = Value::serialize(table).map_err(|error| self.refusal(error))?;
        self.add(origin, values)
    }

    fn add_environment(
        &mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        let mut variables: Vec<(String, String, OsString)> = environment
            .into_iter()
            // A variable that is set to nothing counts as not set, as deployment tools that always set it expect.
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|(name, value)| {
                let name = name.into_string().ok()?;
                let key = match name.as_str() {
                    "OPENAI_ADMIN_KEY" => ADMIN_KEY.to_owned(),
                    "OPENAI_BASE_URL" => "api.base_url".to_owned(),
                    other => other.strip_prefix(ENVIRONMENT_PREFIX)?.to_lowercase().replace("__", "."),
                };
                Some((name, key, value))
            })
            .collect();
        // The short names come first, so that the long ones win.
        variables.sort_by_key(|(name, ..)| (name.starts_with(ENVIRONMENT_PREFIX), name.clone()));
        for (name, key, value) in variables {
            let origin = format!("environment variable {name}");
            if key.split('.').any(str::is_empty) {
                return Err(ConfigError::Unknown { key, origin, known: SECTIONS.join(", ") });
            }
            match value.into_string() {
                Ok(text) => self.add(origin, nest(&key, text.into()))?,
                Err(_) => return Err(ConfigError::Invalid { key, fault: "must be valid UTF-8".into(), origin }),
            }
        }
        Ok(())
    }

    /// Puts values on top, the admin key aside, and those out that the demo has its own of.
    fn add(&mut self, origin: String, values: Value) -> Result<(), ConfigError> {
        let mut values = values.into_dict().unwrap_or_default();
        // A later layer's section would hide what stands in a section's place here.
        let section = |key: &String| SECTIONS.contains(&key.as_str());
        if let Some((key, _)) = values.iter().find(|(key, value)| section(key) && value.as_dict().is_none()) {
            return Err(ConfigError::Invalid { key: key.clone(), fault: "must be a section".into(), origin });
        }
        if let Some(Value::Dict(_, api)) = values.get_mut("api") {
            if self.demo {
                api.retain(|key, _| !Demo::OWN.iter().any(|own| own.strip_prefix("api.") == Some(key)));
            }
            if let Some(Value::String(_, key)) = api.get_mut("admin_key") {
                self.admin_key = std::mem::replace(key, REDACTED.into()).into();
            }
        }
        self.figment = std::mem::take(&mut self.figment).merge(Layer { origin, values });
        Ok(())
    }

    pub(super) fn extract(&self) -> Result<Config, ConfigError> {
        self.figment.extract().map_err(|error| self.refusal(error))
    }

    /// The admin key given in place, by the last layer that gave one.
    pub(super) fn admin_key(&self) -> SecretString {
        self.admin_key.clone()
    }

    /// Where a key's value came from.
    pub(super) fn origin(&self, key: &str) -> String {
        self.figment.find_metadata(key).map_or_else(|| "not set".into(), |metadata| metadata.name.clone().into_owned())
    }

    /// A figment error as a message that repeats no value.
    fn refusal(&self, error: figment::Error) -> ConfigError {
        let mut path = error.path;
        match error.kind {
            Kind::UnknownField(field, known) => {
                if path.last() != Some(&field) {
                    path.push(field);
                }
                let key = path.join(".");
                ConfigError::Unknown { origin: self.origin(&key), known: known.join(", "), key }
            }
            kind => {
                let key = path.join(".");
                let fault = match kind {
                    Kind::Message(message) => message,
                    Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => format!("must be {expected}"),
                    Kind::MissingField(field) => format!("{field} is missing"),
                    _ => "has a value that cannot be read".into(),
                };
                ConfigError::Invalid { origin: self.origin(&key), fault, key }
            }
        }
    }

    /// Every effective value, sorted by key, the admin key redacted.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        if let Ok(values) = self.figment.extract::<Dict>() {
            for (key, value) in &values {
                self.flatten(key.clone(), value, &mut settings);
            }
        }
        settings
    }

    fn flatten(&self, key: String, value: &Value, settings: &mut Vec<Setting>) {
        match value {
            Value::Dict(_, values) => {
                for (name, value) in values {
                    self.flatten(format!("{key}.{name}"), value, settings);
                }
            }
            value => {
                let origin = self.origin(&key);
                settings.push(Setting { value: as_toml(value), key, origin });
            }
        }
    }
}

fn as_toml(value: &Value) -> String {
    match value {
        // A JSON string is a TOML string too.
        Value::String(_, text) => serde_json::to_string(text).unwrap_or_default(),
        Value::Array(_, values) => format!("[{}]", values.iter().map(as_toml).collect::<Vec<_>>().join(", ")),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => match (number.to_i128(), number.to_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(fraction)) => fraction.to_string(),
            (None, None) => number.to_u128().map(|whole| whole.to_string()).unwrap_or_default(),
        },
        // The admin key is text, so none of the rest is secret; nor is any of it valid, so it never gets here.
        _ => REDACTED.into(),
    }
}
