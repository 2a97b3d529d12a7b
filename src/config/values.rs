//! What a value may be. Each reader takes the type that a TOML file gives and the text that the environment and the
//! flags give, and says what it wanted where it got something else; none repeats what it got.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};
use tracing::Level;
use url::Url;

use super::LogFormat;

/// A visitor made of what is expected and of a parser for text.
struct Text<T, F> {
    expected: &'static str,
    parse: F,
    value: PhantomData<T>,
}

impl<T, F: Fn(&str) -> Option<T>> Visitor<'_> for Text<T, F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| refused(&self))
    }
}

/// The error for a value that is not what was expected. It is told apart by its kind alone, so it names no value.
fn refused<'de, E: Error>(expected: &impl Visitor<'de>) -> E {
    E::invalid_value(Unexpected::Other("value"), expected)
}

fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    let parse = |text: &str| parse(text.trim());
    deserializer.deserialize_any(Text { expected, parse, value: PhantomData })
}

/// Any text.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    parsed(deserializer, "a string", |text| Some(Some(text.to_owned())))
}

/// A path.
pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    parsed(deserializer, "the path of a file", |text| (!text.is_empty()).then(|| Some(text.into())))
}

/// The path of a file that holds a key. A key in its place would be repeated by every message that names the path.
pub(super) fn key_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    parsed(deserializer, "the path of a file (a key itself belongs into api.admin_key)", |text| {
        (!text.is_empty() && !text.starts_with("sk-")).then(|| Some(text.into()))
    })
}

/// A whole number within bounds, both included.
pub(super) fn number<'de, D: Deserializer<'de>, const MIN: u32, const MAX: u32>(
    deserializer: D,
) -> Result<u32, D::Error> {
    struct Number<const MIN: u32, const MAX: u32>;

    impl<const MIN: u32, const MAX: u32> Number<MIN, MAX> {
        fn bounded<E: Error>(&self, number: Option<u32>) -> Result<u32, E> {
            number.filter(|number| (MIN..=MAX).contains(number)).ok_or_else(|| refused(self))
        }
    }

    impl<const MIN: u32, const MAX: u32> Visitor<'_> for Number<MIN, MAX> {
        type Value = u32;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number from {MIN} to {MAX}")
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<u32, E> {
            self.bounded(number.try_into().ok())
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<u32, E> {
            self.bounded(number.try_into().ok())
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u32, E> {
            self.bounded(text.trim().parse().ok())
        }
    }

    deserializer.deserialize_any(Number::<MIN, MAX>)
}

/// A duration within bounds in milliseconds, both included.
pub(super) fn duration<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    struct Bounded<const MIN: u64, const MAX: u64>;

    impl<const MIN: u64, const MAX: u64> Visitor<'_> for Bounded<MIN, MAX> {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let friendly = |millis| humantime::format_duration(Duration::from_millis(millis));
            write!(f, "a duration from {} to {}, such as \"90s\"", friendly(MIN), friendly(MAX))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            humantime::parse_duration(text.trim())
                .ok()
                .filter(|duration| (Duration::from_millis(MIN)..=Duration::from_millis(MAX)).contains(duration))
                .ok_or_else(|| refused(&self))
        }
    }

    deserializer.deserialize_any(Bounded::<MIN, MAX>)
}

/// Yes or no.
pub(super) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Boolean;

    impl Visitor<'_> for Boolean {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true or false")
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
            text.trim().to_ascii_lowercase().parse().map_err(|_| refused(&self))
        }
    }

    deserializer.deserialize_any(Boolean)
}

/// `log.level`
pub(super) fn log_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
    parsed(deserializer, "one of error, warn, info, debug, trace", |text| match text.to_ascii_lowercase().as_str() {
        "error" => Some(Level::ERROR),
        "warn" => Some(Level::WARN),
        "info" => Some(Level::INFO),
        "debug" => Some(Level::DEBUG),
        "trace" => Some(Level::TRACE),
        _ => None,
    })
}

/// `log.format`
pub(super) fn log_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LogFormat, D::Error> {
    parsed(deserializer, "text or json", |text| match text.to_ascii_lowercase().as_str() {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    })
}

/// `api.base_url`. What stands in a URL besides host, port and path would be lost or leaked when a path is added.
pub(super) fn base_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let mut url = parsed(deserializer, "a URL such as \"https://api.openai.com/v1\"", |text| {
        Url::parse(text).ok().filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
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

/// Where to listen, as `host:port`: the host a name or an address (an IPv6 one in brackets), or nothing for every IPv4
/// address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress(Box<str>);

impl ListenAddress {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        port.parse::<u16>().ok()?;
        let valid = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.contains([':', ' ', '/']),
        };
        let host = if host.is_empty() { "0.0.0.0" } else { host };
        valid.then(|| Self(format!("{host}:{port}").into()))
    }

    /// A port of this machine that is free.
    #[must_use]
    pub fn free_on_loopback() -> Self {
        Self("127.0.0.1:0".into())
    }

    /// As `host:port`, the host never empty.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for ListenAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or("must be an address such as 0.0.0.0:10099 or :10099")
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `web.listen_address`: a list, or text with commas.
pub(super) fn listen_addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ListenAddress>, D::Error> {
    let expected = "an address such as \"0.0.0.0:10099\" or \":10099\", or a list of them";
    let parse = |texts: &[&str]| {
        let texts = texts.iter().flat_map(|text| text.split(','));
        let addresses: Option<Vec<_>> = texts.map(|text| ListenAddress::parse(text.trim())).collect();
        addresses.filter(|addresses| !addresses.is_empty())
    };
    deserializer.deserialize_any(Texts { expected, parse, value: PhantomData })
}

/// A single address to listen on.
pub(super) fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ListenAddress>, D::Error> {
    parsed(deserializer, "an address such as \"0.0.0.0:10098\" or \":10098\"", |text| {
        ListenAddress::parse(text).map(Some)
    })
}

/// Regular expressions: a list, or one without brackets.
pub(super) fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Regex>, D::Error> {
    let expected = "a regular expression, or a list of them";
    let parse = |texts: &[&str]| texts.iter().map(|text| Regex::new(text).ok()).collect();
    deserializer.deserialize_any(Texts { expected, parse, value: PhantomData })
}

/// A regular expression with a group in it.
pub(super) fn pattern_with_group<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Regex, D::Error> {
    let expected = "a regular expression with a group, such as \"^(.+)-[0-9]{4}$\"";
    // As it stands: a space at its end may be what it goes by.
    let parse = |text: &str| Regex::new(text).ok().filter(|pattern| pattern.captures_len() > 1);
    deserializer.deserialize_any(Text { expected, parse, value: PhantomData })
}

/// A visitor like [`Text`], for a list of texts or a single one.
struct Texts<T, F> {
    expected: &'static str,
    parse: F,
    value: PhantomData<T>,
}

impl<'de, T, F: Fn(&[&str]) -> Option<T>> Visitor<'de> for Texts<T, F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(&[text]).ok_or_else(|| refused(&self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<T, A::Error> {
        let mut texts: Vec<String> = Vec::new();
        loop {
            match sequence.next_element() {
                Ok(Some(text)) => texts.push(text),
                Ok(None) => break,
                Err(_) => return Err(refused(&self)),
            }
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        (self.parse)(&texts).ok_or_else(|| refused(&self))
    }
}
