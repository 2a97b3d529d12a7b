//! What is wrong with a configuration of any format: the key, the fault and the origin. Never the value: it may be a
//! secret in the wrong place.

use std::{fmt, io};

use figment::error::Kind;

#[derive(Debug)]
pub struct ConfigError {
    /// Empty if the origin as a whole cannot be used.
    key: String,
    fault: String,
    /// As messages name it, such as "file /etc/exporter.toml".
    origin: String,
}

impl ConfigError {
    pub fn new(
        key: impl Into<String>,
        fault: impl Into<String>,
        origin: impl Into<String>,
    ) -> Self {
        Self { key: key.into(), fault: fault.into(), origin: origin.into() }
    }

    /// For an origin that cannot be used as a whole, such as a file that cannot be read.
    pub fn of_origin(origin: impl Into<String>, fault: impl Into<String>) -> Self {
        Self::new("", fault, origin)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, fault, origin } = self;
        if key.is_empty() {
            write!(f, "configuration {origin} {fault}")
        } else {
            write!(f, "{key}: {fault} ({origin})")
        }
    }
}

impl std::error::Error for ConfigError {}

/// Of files that could not be read in time.
impl From<io::Error> for ConfigError {
    fn from(error: io::Error) -> Self {
        Self::of_origin("file or admin key file", format!("cannot be read: {error}"))
    }
}

impl From<figment::Error> for ConfigError {
    fn from(error: figment::Error) -> Self {
        let fault = match error.kind {
            Kind::Message(fault) => fault,
            Kind::InvalidType(_, expected) => format!("must be {expected}"),
            Kind::UnknownVariant(_, known) => format!("must be one of {}", known.join(", ")),
            Kind::UnknownField(_, known) => format!("unknown key; there are: {}", known.join(", ")),
            Kind::MissingField(field) => format!("{field} is missing"),
            // figment words the other kinds with the value.
            _ => "has a value that cannot be read".into(),
        };
        let key: Vec<_> = error.path.iter().map(|part| name_to_echo(part)).collect();
        let origin =
            error.metadata.map_or_else(|| "not set".into(), |metadata| metadata.name.into_owned());
        Self::new(key.join("."), fault, origin)
    }
}

/// A part of a key as messages show it: only what has the form of a name, which no hash, no line of a PEM block and no admin
/// key has.
pub(crate) fn name_to_echo(name: &str) -> &str {
    /// More than the longest name of a cipher suite, less than a line of PEM.
    const MAX_BYTES: usize = 48;
    let is_of_a_name =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'@');
    let is_safe = (1..=MAX_BYTES).contains(&name.len())
        && name.bytes().all(is_of_a_name)
        && !name.contains("sk-admin-");
    if is_safe { name } else { "<not a name>" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_safe_to_echo() {
        for name in
            ["api", "j.doe@example.org", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "task-1"]
        {
            assert_eq!(name_to_echo(name), name);
        }
        let line_of_pem = "MIIBszCCAVmgAwIBAgIUQx1vW2q5r8Jm0b7yY2VfZ0m9o1kwCgYIKoZIzj0EAwIw";
        for secret in [
            "",
            "a b",
            "$2y$10$X0h1gDsPszWURQaxFh.zou",
            line_of_pem,
            "sk-admin-PLANTED",
            "xsk-admin-1",
            "é",
        ] {
            assert_eq!(name_to_echo(secret), "<not a name>");
        }
    }
}
