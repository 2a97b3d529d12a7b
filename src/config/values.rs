//! What a value may be, for `deserialize_with` of any format that becomes a figment [`Value`].
//!
//! Each reader takes the type that a file gives and the text that the environment and the flags give, says what the value
//! must be if it is something else, and never repeats it. Another format makes a `Dict` of its document (null
//! is `Empty`, which an `Option` takes as none), puts that into a [`Layer`](super::Layer), and extracts a struct of
//! `deny_unknown_fields` and these readers.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use figment::value::Value;
use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use toml::Spanned;
use toml::de::DeValue;
use tracing::Level;
use url::Url;

use super::{ListenAddress, LogFormat};

/// A value of any type. `parse` gives `None` for what is not `expected`.
pub(crate) fn value<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: impl Display,
    parse: impl FnOnce(&Value) -> Option<T>,
) -> Result<T, D::Error> {
    let value = <Value as Deserialize>::deserialize(deserializer)?;
    parse(&value).ok_or_else(|| D::Error::custom(format_args!("must be {expected}")))
}

/// Text, white space around it aside. A number is none: what was written (`007`, `1e3`) would be lost.
pub(crate) fn text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: impl Display,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    value(deserializer, expected, |value| parse(value.as_str()?.trim()))
}

/// A list of texts, in a file's array or as text in TOML's notation, or one text that `stands_alone`.
fn texts<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    stands_alone: fn(&str) -> bool,
    parse: impl FnOnce(Vec<&str>) -> Option<T>,
) -> Result<T, D::Error> {
    value(deserializer, expected, |value| match value {
        Value::Array(_, values) => parse(values.iter().map(Value::as_str).collect::<Option<_>>()?),
        value => {
            let text = value.as_str()?;
            match toml_list(text) {
                Some(list) => parse(list.iter().map(String::as_str).collect()),
                None => stands_alone(text).then(|| parse(vec![text]))?,
            }
        }
    })
}

/// The texts of a list in TOML's notation; none if `text` is anything else.
fn toml_list(text: &str) -> Option<Vec<String>> {
    let DeValue::Array(values) = DeValue::parse(text.trim()).ok()?.into_inner() else {
        return None;
    };
    let text = |value: Spanned<DeValue<'_>>| Some(value.into_inner().as_str()?.to_owned());
    values.into_iter().map(text).collect()
}

pub(crate) fn string<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    value(deserializer, "a string", |value| value.as_str().map(|text| Some(text.to_owned())))
}

/// The path of a file. What the file holds in its place would be repeated by every message that names the path.
pub(crate) fn path<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    let path = text(deserializer, "the path of a file", |text| {
        (!text.is_empty()).then(|| text.to_owned())
    })?;
    if is_secret(&path) { Err(D::Error::custom(SECRET_AS_PATH)) } else { Ok(Some(path.into())) }
}

/// Why what is a secret is no path.
pub(crate) const SECRET_AS_PATH: &str =
    "must be the path of a file, but looks like what is in one: PEM or a key";

/// Whether a text looks like PEM, a part of it, or an admin key, whatever was copied along with them.
pub(crate) fn is_secret(text: &str) -> bool {
    /// A path of base64 letters alone, without a dot, a hyphen or an underscore, is rarely as long.
    const MIN_BASE64: usize = 40;
    let is_around_a_key = |char: char| char.is_whitespace() || "\"'`=<>:".contains(char);
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    // As the DER of certificates and keys does, and as PEM and admin keys do in the `data` of a Secret of Kubernetes.
    let begins_as_secret =
        matches!(text.as_bytes(), [b'M', b'A'..=b'P', ..]) || text.starts_with("LS0t");
    text.contains(char::is_control)
        || text.contains("-----")
        || text.split(is_around_a_key).any(|part| part.starts_with("sk-"))
        || (text.len() >= MIN_BASE64 && begins_as_secret && text.bytes().all(is_base64))
        || (text.starts_with("c2st") && text.bytes().all(is_base64))
}

/// A whole number within bounds, both included.
pub(crate) fn number<'de, D: Deserializer<'de>, const MIN: u32, const MAX: u32>(
    deserializer: D,
) -> Result<u32, D::Error> {
    value(deserializer, format_args!("a whole number from {MIN} to {MAX}"), |value| {
        let number = match value {
            Value::String(_, text) => text.trim().parse().ok()?,
            value => value.to_num()?.to_u128_lossy()?.try_into().ok()?,
        };
        (MIN..=MAX).contains(&number).then_some(number)
    })
}

/// A duration within bounds in milliseconds, both included.
pub(crate) fn duration<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let [min, max] = [MIN, MAX].map(Duration::from_millis);
    let [shortest, longest] = [min, max].map(humantime::format_duration);
    text(
        deserializer,
        format_args!("a duration from {shortest} to {longest}, such as \"90s\""),
        |text| {
            humantime::parse_duration(text).ok().filter(|duration| (min..=max).contains(duration))
        },
    )
}

pub(crate) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    value(deserializer, "true or false", |value| match value {
        Value::String(_, text) => text.trim().to_ascii_lowercase().parse().ok(),
        value => value.to_bool(),
    })
}

pub(crate) fn log_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
    text(deserializer, "one of error, warn, info, debug, trace", |text| {
        // `Level` reads numbers too.
        Level::from_str(text).ok().filter(|level| level.as_str().eq_ignore_ascii_case(text))
    })
}

pub(crate) fn log_format<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<LogFormat, D::Error> {
    text(deserializer, "text or json", |text| text.parse().ok())
}

/// A URL that a path can be added to: a query, fragment or user would be lost or leaked on the way.
pub(crate) fn base_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let mut url = text(deserializer, "a URL such as \"https://api.openai.com/v1\"", |text| {
        Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(D::Error::custom("must not contain a user name or password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(D::Error::custom("must not contain a query or fragment"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// A list, or text with commas.
pub(crate) fn listen_addresses<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<ListenAddress>, D::Error> {
    texts(
        deserializer,
        "an address such as \"0.0.0.0:10099\" or \":10099\", or a list of them",
        |_| true,
        |texts| {
            let addresses =
                texts.iter().flat_map(|text| text.split(',')).map(|text| text.trim().parse());
            addresses.collect::<Result<Vec<_>, _>>().ok().filter(|addresses| !addresses.is_empty())
        },
    )
}

pub(crate) fn listen_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ListenAddress>, D::Error> {
    text(deserializer, "an address such as \"0.0.0.0:10098\" or \":10098\"", |text| {
        text.parse().ok().map(Some)
    })
}

pub(crate) fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Regex>, D::Error> {
    texts(
        deserializer,
        "a regular expression that is not empty, or a list of them; what begins with [ is read as a list, such as [\"^prod-\"]",
        // As a set of characters, a list without quotes would match nearly every name.
        |text| !text.trim_start().starts_with('['),
        |texts| {
            let pattern = |text: &str| Regex::new(text).ok().filter(|_| !text.trim().is_empty());
            texts.into_iter().map(pattern).collect()
        },
    )
}

pub(crate) fn some_patterns<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Regex>>, D::Error> {
    let patterns = patterns(deserializer)?;
    if patterns.is_empty() {
        return Err(D::Error::custom(
            "must not be empty; without it, the scope is the organization's own",
        ));
    }
    Ok(Some(patterns))
}

/// Paths of files, each with `*`, `?`, `[...]` or `**` in it where it stands for several.
pub(crate) fn globs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let globs: Vec<String> = texts(
        deserializer,
        "the path of a file, with *, ?, [...] and ** as wildcards, or a list of such paths",
        |text| !text.trim_start().starts_with('['),
        |texts| {
            let is_glob = |text: &str| !text.trim().is_empty() && glob::Pattern::new(text).is_ok();
            texts.into_iter().map(|text| is_glob(text).then(|| text.to_owned())).collect()
        },
    )?;
    if globs.iter().any(|glob| is_secret(glob)) {
        return Err(D::Error::custom(SECRET_AS_PATH));
    }
    Ok(globs)
}

/// A label's value as a whole: it tells clients apart.
pub(crate) fn client_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    const MAX_BYTES: usize = 128;
    let name = text(
        deserializer,
        format_args!("a name of at most {MAX_BYTES} bytes, without control characters"),
        |text| {
            let is_name = (1..=MAX_BYTES).contains(&text.len()) && !text.contains(char::is_control);
            is_name.then(|| text.to_owned())
        },
    )?;
    if is_secret(&name) {
        return Err(D::Error::custom("must be a name, but looks like a key (sk-…) or PEM"));
    }
    Ok(name)
}

pub(crate) fn pattern_with_group<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Regex, D::Error> {
    value(deserializer, "a regular expression with a group, such as \"^(.+)-[0-9]{4}$\"", |value| {
        // Not trimmed: a space at its end may be part of the pattern.
        Regex::new(value.as_str()?).ok().filter(|pattern| pattern.captures_len() > 1)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use figment::Figment;
    use figment::value::{Dict, Empty};

    use super::super::{ClientConfig, ConfigError, Layer};
    use super::*;

    /// A document of another format.
    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Document {
        server: Server,
        users: BTreeMap<String, String>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Server {
        #[serde(deserialize_with = "path")]
        file: Option<PathBuf>,
        #[serde(deserialize_with = "boolean")]
        strict: bool,
    }

    fn read(key: &str, value: impl Into<Value>) -> Result<Document, String> {
        let value = key
            .rsplit('.')
            .fold(value.into(), |value, part| Dict::from([(part.into(), value)]).into());
        let layer =
            Layer { origin: "file /etc/web.yml".into(), values: value.into_dict().unwrap() };
        Figment::from(layer).extract().map_err(|error| ConfigError::from(error).to_string())
    }

    #[test]
    fn what_a_file_should_hold_is_no_path() {
        let base64 = "MC4CAQAwBQYDK2VwBCIEIJ9yPLANTEDq3mJm0b7yY2VfZ0m9";
        for secret in [
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAw",
            "-----BEGIN CERTIFICATE----- MIIB -----END CERTIFICATE-----",
            base64,
            "a\nb",
            "sk-admin-PLANTED",
            "\"sk-admin-PLANTED\"",
            "'sk-PLANTED",
            "Bearer sk-admin-PLANTED",
            "OPENAI_ADMIN_KEY=sk-admin-PLANTED",
            "key: sk-admin-PLANTED",
        ] {
            let message = read("server.file", secret).unwrap_err();
            assert_eq!(message, format!("server.file: {SECRET_AS_PATH} (file /etc/web.yml)"));
        }
        let folders = "Main/folder/of/folders/with/long/names/and/no/dots";
        for path in ["/run/secrets/sk-admin-key", "a b", "risk-key", "MIIB", folders] {
            assert_eq!(read("server.file", path).unwrap().server.file, Some(path.into()));
        }
    }

    #[test]
    fn client_that_looks_like_a_secret_is_refused_as_one() {
        let client = |name: &str, file: &str| {
            let values = [("name", name), ("certificate_files", file)];
            let values = values.map(|(key, value)| (key.into(), value.into())).into();
            let client = Figment::from(Layer { origin: "file x".into(), values });
            client.extract::<ClientConfig>().map_err(|error| ConfigError::from(error).to_string())
        };
        let file = "/etc/*/tls.crt";
        for name in ["gateway", "risk-gateway", "a b"] {
            assert_eq!(client(name, file).unwrap().name, name);
        }
        let looks_so = "name: must be a name, but looks like a key (sk-…) or PEM";
        for (name, file, fault) in [
            ("sk-gateway", file, looks_so),
            ("key: sk-gateway", file, looks_so),
            ("-----BEGIN", file, looks_so),
            ("a\nb", file, "name: must be a name of at most 128 bytes, without control characters"),
            ("gateway", "sk-gateway", &format!("certificate_files: {SECRET_AS_PATH}")),
        ] {
            assert_eq!(client(name, file).unwrap_err(), format!("{fault} (file x)"));
        }
    }

    #[test]
    fn another_format_is_read_with_the_same_readers() {
        assert_eq!(read("server.file", " a b ").unwrap().server.file, Some("a b".into()));
        assert_eq!(
            read("server.strict", "TRUE").unwrap().server,
            Server { file: None, strict: true }
        );
        assert_eq!(read("users.alice", "x").unwrap().users["alice"], "x");
    }

    #[test]
    fn faults_name_key_and_origin_and_no_value() {
        let secret = "sk-admin-PLANTED";
        let list = || Value::from(vec![secret]);
        let keys = "unknown key; there are: file, strict";
        for (key, value, message) in [
            ("users", list(), "users: must be a map"),
            ("users", secret.into(), "users: must be a map"),
            ("users", Empty::Unit.into(), "users: must be a map"),
            ("server.file", list(), "server.file: must be the path of a file"),
            ("server.file", 7.into(), "server.file: must be the path of a file"),
            ("server.file", "".into(), "server.file: must be the path of a file"),
            ("server.strict", secret.into(), "server.strict: must be true or false"),
            (
                "server.strict",
                Dict::from([(secret.into(), 1.into())]).into(),
                "server.strict: must be true or false",
            ),
            ("server.folder", secret.into(), &format!("server.folder: {keys}")),
            (&format!("server.{secret}"), secret.into(), &format!("server.<not a name>: {keys}")),
            ("", secret.into(), "<not a name>: unknown key; there are: server, users"),
            // serde's own words for it would have the value.
            ("users.alice", vec![secret].into(), "users.alice: must be a string"),
        ] {
            assert_eq!(read(key, value).unwrap_err(), format!("{message} (file /etc/web.yml)"));
        }
    }
}
