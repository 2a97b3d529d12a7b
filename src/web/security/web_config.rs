//! The keys of a web configuration file, and what each may be.

use std::collections::BTreeMap;

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use figment::Figment;
use figment::value::{Dict, Value};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use tokio_rustls::rustls::SupportedCipherSuite;
use tokio_rustls::rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES;

use super::basic_auth::Users;
use super::files::WatchedFiles;
use super::yaml;
use crate::config::{ConfigError, Layer, name_to_echo, values};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WebConfig {
    pub(super) tls_server_config: Option<TlsServerConfig>,
    pub(super) http_server_config: Option<HttpServerConfig>,
    pub(super) basic_auth_users: Option<Users>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HttpServerConfig {
    /// Without effect: a server that may speak HTTP/2 need not.
    #[serde(rename = "http2", deserialize_with = "boolean")]
    _http2: Option<bool>,
    #[serde(deserialize_with = "response_headers")]
    pub(super) headers: HeaderMap,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TlsServerConfig {
    pub(super) cert: Option<SecretString>,
    pub(super) cert_file: Option<String>,
    pub(super) key: Option<SecretString>,
    pub(super) key_file: Option<String>,
    pub(super) client_ca: Option<SecretString>,
    pub(super) client_ca_file: Option<String>,
    pub(super) client_auth_type: Option<ClientAuth>,
    pub(super) client_allowed_sans: Option<Vec<String>>,
    pub(super) min_version: Option<TlsVersion>,
    pub(super) max_version: Option<TlsVersion>,
    pub(super) cipher_suites: Option<Vec<CipherSuite>>,
    #[serde(deserialize_with = "boolean")]
    pub(super) prefer_server_cipher_suites: Option<bool>,
    pub(super) curve_preferences: Option<Vec<Curve>>,
}

impl WebConfig {
    pub(super) fn read(files: &mut WatchedFiles) -> Result<Self, ConfigError> {
        let origin = files.origin();
        let refuse = |fault| ConfigError::of_origin(&origin, fault);
        let contents = files
            .read_config()
            .map_err(|error| files.refuse("web.config_file", format!("cannot be read: {error}")))?;
        let document = std::str::from_utf8(&contents)
            .map_err(|_| "it is not UTF-8".to_owned())
            .and_then(yaml::parse);
        let mut values = match document {
            Ok(Value::Dict(_, values)) => values,
            Ok(Value::Empty(..)) => Dict::new(),
            Ok(_) => {
                return Err(refuse(
                    "is not valid YAML: it must be a mapping of keys to values".into(),
                ));
            }
            Err(fault) => return Err(refuse(format!("is not valid YAML: {fault}"))),
        };
        if values.remove("rate_limit").is_some_and(|value| !is_empty(&value)) {
            return Err(files.refuse("rate_limit", "is not supported"));
        }
        // Derived readers would take a list too, its values in the order of the fields.
        let is_section = |key: &&str| {
            matches!(values.get(*key), None | Some(Value::Dict(..) | Value::Empty(..)))
        };
        if let Some(key) =
            ["tls_server_config", "http_server_config"].iter().find(|key| !is_section(key))
        {
            return Err(files.refuse(*key, "must be a section"));
        }
        // An empty section asks for nothing; one with any value is expected to bring TLS.
        if values.get("tls_server_config").is_some_and(is_empty) {
            values.remove("tls_server_config");
        }
        let config: Self = Figment::from(Layer { origin, values }).extract()?;
        if config.basic_auth_users.iter().flatten().any(|(name, _)| name.contains(':')) {
            return Err(files.refuse("basic_auth_users", "a user name cannot contain a colon"));
        }
        Ok(config)
    }
}

fn is_empty(section: &Value) -> bool {
    let is_null = |value: &Value| matches!(value, Value::Empty(..));
    is_null(section) || section.as_dict().is_some_and(|keys| keys.values().all(is_null))
}

/// In the words of YAML 1.1 too.
fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    values::value(deserializer, "true or false", |value| match value {
        Value::Empty(..) => Some(None),
        Value::Bool(_, value) => Some(Some(*value)),
        value => match value.as_str()?.to_ascii_lowercase().as_str() {
            "yes" | "on" => Some(Some(true)),
            "no" | "off" => Some(Some(false)),
            _ => None,
        },
    })
}

/// The reference allows these alone, some of them with certain values only.
const RESPONSE_HEADERS: [(&str, HeaderName, &[&str]); 5] = [
    ("Content-Security-Policy", header::CONTENT_SECURITY_POLICY, &[]),
    ("X-Frame-Options", header::X_FRAME_OPTIONS, &["deny", "sameorigin"]),
    ("X-Content-Type-Options", header::X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
    ("X-XSS-Protection", header::X_XSS_PROTECTION, &[]),
    ("Strict-Transport-Security", header::STRICT_TRANSPORT_SECURITY, &[]),
];

fn response_headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderMap, D::Error> {
    let given: Option<BTreeMap<String, Option<String>>> = Option::deserialize(deserializer)?;
    let mut headers = HeaderMap::new();
    for (key, value) in given.unwrap_or_default() {
        let Some((_, name, allowed)) = RESPONSE_HEADERS.iter().find(|(known, ..)| *known == key)
        else {
            let known = RESPONSE_HEADERS.map(|(known, ..)| known).join(", ");
            return Err(Error::custom(format_args!(
                "{} is not supported; there are: {known}",
                name_to_echo(&key)
            )));
        };
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
            return Err(Error::custom(format_args!("{key} must be {}", allowed.join(" or "))));
        }
        let value = HeaderValue::try_from(value).map_err(|_| {
            Error::custom(format_args!("{key} has a character that an HTTP header cannot carry"))
        })?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// How clients of the port are verified, from the weakest to the strongest.
#[derive(Clone, Copy, Default, PartialEq, PartialOrd)]
pub(super) enum ClientAuth {
    #[default]
    None,
    Optional,
    Required,
}

impl<'de> Deserialize<'de> for ClientAuth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert (the others verify nothing)";
        values::text(deserializer, expected, |name| match name {
            "" | "NoClientCert" => Some(Self::None),
            "VerifyClientCertIfGiven" => Some(Self::Optional),
            "RequireAndVerifyClientCert" => Some(Self::Required),
            _ => None,
        })
    }
}

/// The older ones are broken.
#[derive(Clone, Copy, Deserialize)]
pub(super) enum TlsVersion {
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

#[derive(Clone, Copy, Deserialize)]
pub(super) enum Curve {
    X25519,
    CurveP256,
    CurveP384,
    X25519MLKEM768,
}

pub(super) struct CipherSuite(pub(super) SupportedCipherSuite);

impl<'de> Deserialize<'de> for CipherSuite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As Go, and so the reference, writes it.
        let name = |suite: &SupportedCipherSuite| {
            format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
        };
        let expected = format!(
            "one of {}",
            DEFAULT_CIPHER_SUITES.iter().map(name).collect::<Vec<_>>().join(", ")
        );
        values::text(deserializer, expected, |text| {
            DEFAULT_CIPHER_SUITES.iter().find(|suite| name(suite) == text).map(|suite| Self(*suite))
        })
    }
}
