//! The sources of the configuration, stacked: a later one wins, and each value remembers its origin.
//!
//! Two things are kept out of figment on purpose. Its `Env` guesses types, so that a key of `12345` would be a number:
//! here every variable is text, and the readers in `values` take text. And the admin key never enters: it goes from its
//! source into a secret, and a placeholder takes its place, so that figment still knows its origin.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::Range;

use figment::value::{Dict, Empty, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use secrecy::SecretString;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::effective::Setting;
use super::{Config, ConfigError, ConfigFile};

/// Both the documentation of every key and the lowest layer.
pub(crate) const DEFAULTS: &str = include_str!("../../config/default.toml");

const DEFAULT_ORIGIN: &str = "default";
const REDACTED: &str = "[redacted]";
/// The double underscore keeps clear of the variables that Kubernetes sets for a Service of this name.
const ENVIRONMENT_PREFIX: &str = "OPENAI_CERT_EXPORTER__";

/// The simulated organization in place of the real one. Everything that says which upstream is asked, and as whom, is its
/// own, so that no real key is ever needed or sent to it.
#[derive(Debug)]
pub struct Demo(String);

impl Demo {
    /// Below the user's layers: several pages, polls that one can watch, and everything that there is to see.
    const DEFAULTS: &str = "api.page_size = 20\npoll.interval = '30s'\npoll.projects = true\n\
                            certificates.content = true\n";
    /// The keys of `api` that the demo sets or must not have, whatever the user's layers say.
    pub(super) const OVERRIDDEN: [&str; 7] = [
        "base_url",
        "admin_key",
        "admin_key_file",
        "insecure_http",
        "ca_file",
        "client_cert_file",
        "client_key_file",
    ];

    /// `clients` are those of its organization, in TOML.
    pub fn new(address: SocketAddr, admin_key: &str, clients: &str) -> Self {
        Self(format!(
            "api.base_url = 'http://{address}/v1'\napi.admin_key = '{admin_key}'\n{clients}"
        ))
    }
}

/// Values of one origin, as messages name it.
pub(crate) struct Layer {
    pub origin: String,
    pub values: Dict,
}

impl Layer {
    /// A single value. (`figment::util::nest` stops at an empty part of a key, which would then not be refused.)
    fn of_key(origin: String, key: &str, value: Value) -> Self {
        let value = key
            .rsplit('.')
            .fold(value, |value, part| Dict::from([(part.to_owned(), value)]).into());
        Self { origin, values: value.into_dict().unwrap_or_default() }
    }

    fn of_toml(origin: String, text: &str) -> Result<Self, ConfigError> {
        let invalid = |span: Option<Range<usize>>, fault: &str| {
            let before = &text[..span.map_or(0, |span| span.start.min(text.len()))];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            let (line, column) =
                (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
            let fault = fault.lines().next().unwrap_or_default();
            ConfigError::of_origin(
                &origin,
                format!("is not valid TOML: {fault} (line {line}, column {column})"),
            )
        };
        // Only the parser's message: its error shows the line, which may hold the key.
        let table = DeTable::parse(text).map_err(|error| invalid(error.span(), error.message()))?;
        let values = dict(table.into_inner())
            .map_err(|span| invalid(Some(span), "a number is out of range"))?;
        Ok(Self { origin, values })
    }

    fn of_environment(
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Vec<Self>, ConfigError> {
        let mut variables: Vec<_> = environment
            // A variable that is set to nothing counts as not set, as deployment tools that always set it expect.
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        // The long names come last, so that they win.
        variables.sort_by_key(|(name, _)| (name.starts_with(ENVIRONMENT_PREFIX), name.clone()));
        let layers = variables.into_iter().filter_map(|(name, value)| {
            let key = match (name.as_str(), name.strip_prefix(ENVIRONMENT_PREFIX)) {
                ("OPENAI_ADMIN_KEY", _) => "api.admin_key".to_owned(),
                ("OPENAI_BASE_URL", _) => "api.base_url".to_owned(),
                (_, Some(key)) => key.to_lowercase().replace("__", "."),
                (_, None) => return None,
            };
            let origin = format!("environment variable {name}");
            Some(match value.into_string() {
                Ok(text) => Ok(Self::of_key(origin, &key, text.into())),
                Err(_) => Err(ConfigError::new(key, "must be valid UTF-8", origin)),
            })
        });
        layers.collect()
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// A table's values, or where a number is out of range.
fn dict(table: DeTable<'_>) -> Result<Dict, Range<usize>> {
    table
        .into_iter()
        .map(|(name, value)| Ok((name.into_inner().into_owned(), to_value(value)?)))
        .collect()
}

fn to_value(value: Spanned<DeValue<'_>>) -> Result<Value, Range<usize>> {
    let span = value.span();
    Ok(match value.into_inner() {
        DeValue::String(text) => text.into_owned().into(),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| span)?.into()
        }
        DeValue::Boolean(value) => value.into(),
        // No key has a float or date value.
        DeValue::Float(_) | DeValue::Datetime(_) => Empty::Unit.into(),
        DeValue::Array(values) => {
            values.into_iter().map(to_value).collect::<Result<Vec<_>, _>>()?.into()
        }
        DeValue::Table(table) => dict(table)?.into(),
    })
}

pub struct Layers {
    figment: Figment,
    /// The admin key given in place, by the last layer that gives one.
    pub(super) admin_key: SecretString,
}

impl Layers {
    /// Stacks defaults, `file`, `environment` and `flags` (key, flag, value); with `demo`, its defaults
    /// below and its overrides on top.
    pub fn stack(
        file: Option<&ConfigFile>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: impl IntoIterator<Item = (String, String, Value)>,
        demo: Option<&Demo>,
    ) -> Result<Self, ConfigError> {
        let mut stack = Self { figment: Figment::new(), admin_key: SecretString::default() };
        stack.add(Layer::of_toml(DEFAULT_ORIGIN.into(), DEFAULTS)?)?;
        if demo.is_some() {
            stack.add(Layer::of_toml("default of the demo".into(), Demo::DEFAULTS)?)?;
        }
        let file = file.map(|file| Layer::of_toml(file.origin(), &file.read()?)).transpose()?;
        let environment = Layer::of_environment(environment.into_iter())?;
        let flags = flags
            .into_iter()
            .map(|(key, flag, value)| Layer::of_key(format!("flag {flag}"), &key, value));
        for mut layer in file.into_iter().chain(environment).chain(flags) {
            if let (Some(_), Some(Value::Dict(_, api))) = (demo, layer.values.get_mut("api")) {
                api.retain(|name, _| !Demo::OVERRIDDEN.contains(&name.as_str()));
            }
            stack.add(layer)?;
        }
        if let Some(Demo(values)) = demo {
            let mut layer = Layer::of_toml("the demo".into(), values)?;
            let has_projects = stack.extract().is_ok_and(|config| config.poll.projects);
            if let Some(Value::Array(_, clients)) = layer.values.get_mut("clients") {
                clients.retain(|client| has_projects || client.find_ref("projects").is_none());
            }
            stack.add(layer)?;
        }
        Ok(stack)
    }

    fn add(&mut self, mut layer: Layer) -> Result<(), ConfigError> {
        // Reject a scalar where a section belongs now: a later layer's section would silently replace it.
        let below = self.values();
        let is_section = |key: &str| below.get(key).is_some_and(|value| value.as_dict().is_some());
        let scalar =
            layer.values.iter().find(|(key, value)| value.as_dict().is_none() && is_section(key));
        if let Some((key, _)) = scalar {
            return Err(ConfigError::new(key, "must be a section", layer.origin));
        }
        if let Some(Value::Dict(_, api)) = layer.values.get_mut("api")
            && let Some(Value::String(_, key)) = api.get_mut("admin_key")
        {
            self.admin_key = std::mem::replace(key, REDACTED.into()).into();
        }
        self.figment = std::mem::take(&mut self.figment).merge(layer);
        Ok(())
    }

    pub(super) fn extract(&self) -> Result<Config, ConfigError> {
        Ok(self.figment.extract()?)
    }

    pub(super) fn refuse(&self, key: &str, fault: impl Into<String>) -> ConfigError {
        ConfigError::new(key, fault, self.origin(key))
    }

    pub(super) fn origin(&self, key: &str) -> String {
        self.figment
            .find_metadata(key)
            .map_or_else(|| "not set".into(), |metadata| metadata.name.clone().into_owned())
    }

    /// Whether no layer of the user sets a key.
    pub fn is_default(&self, key: &str) -> bool {
        self.origin(key) == DEFAULT_ORIGIN
    }

    /// Sorted by key.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        let mut add = |key: String, value: &Value| {
            let origin = self.origin(&key);
            settings.push(Setting { key, value: value.clone(), origin });
        };
        for (section, values) in &self.values() {
            let Some(keys) = values.as_dict() else {
                add(section.clone(), values);
                continue;
            };
            for (name, value) in keys {
                add(format!("{section}.{name}"), value);
            }
        }
        settings
    }

    fn values(&self) -> Dict {
        self.figment.find_value("").ok().and_then(Value::into_dict).unwrap_or_default()
    }
}

pub(super) fn as_toml(value: &Value) -> String {
    match value {
        // A JSON string is a TOML string too.
        Value::String(_, text) => serde_json::to_string(text).unwrap_or_default(),
        Value::Array(_, values) => {
            format!("[{}]", values.iter().map(as_toml).collect::<Vec<_>>().join(", "))
        }
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => number.to_i128().unwrap_or_default().to_string(),
        // Of a list of tables: no section and no key with a secret.
        Value::Dict(_, values) => {
            let assigned =
                values.iter().map(|(name, value)| format!("{name} = {}", as_toml(value)));
            format!("{{ {} }}", assigned.collect::<Vec<_>>().join(", "))
        }
        // No valid key has anything else.
        Value::Char(..) | Value::Empty(..) => REDACTED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_values_keep_their_types() {
        let read = |text: &str| {
            Layer::of_toml("x".into(), &format!("x = {text}"))
                .map(|layer| layer.values["x"].clone())
        };
        for (text, value) in [
            ("20", 20_i64.into()),
            ("+2_0", 20_i64.into()),
            ("0x1F", 31_i64.into()),
            ("0o17", 15_i64.into()),
            ("0b101", 5_i64.into()),
            ("-9223372036854775808", i64::MIN.into()),
            ("true", true.into()),
            ("\"a\\u00e9\\n\"", "aé\n".into()),
            ("'20'", "20".into()),
            ("[1, ['a']]", vec![Value::from(1_i64), vec!["a"].into()].into()),
            (
                "{a.b = true}",
                Dict::from([("a".into(), Dict::from([("b".into(), true.into())]).into())]).into(),
            ),
            ("1.5", Value::from(Empty::Unit)),
            ("2026-01-01", Empty::Unit.into()),
        ] {
            assert_eq!(read(text).unwrap(), value, "{text}");
        }
        let message = read("[\n9223372036854775808]").unwrap_err().to_string();
        assert_eq!(
            message,
            "configuration x is not valid TOML: a number is out of range (line 2, column 1)"
        );
    }
}
