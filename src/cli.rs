//! The command line, in the style of the Prometheus exporters.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use figment::value::Value;

use crate::config::ListenAddress;

/// `--version`, with what a bug report needs.
const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (revision ", env!("BUILD_REVISION"), ", rustc ", env!("BUILD_RUSTC"), ")");

/// Prometheus exporter for the mutual-TLS certificates of an OpenAI organization.
///
/// Polls the full certificate list of the Admin API on an interval and serves days until expiry and active status at
/// /metrics.
#[derive(Debug, Parser)]
#[command(name = "openai-cert-exporter", version = VERSION, subcommand_help_heading = "Commands", disable_help_subcommand = true)]
pub struct Cli {
    /// What to do; without one, `run`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags that every command takes.
    #[command(flatten)]
    pub flags: Flags,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Poll on an interval and serve metrics (the default)
    Run,
    /// The same, against a built-in simulated organization: no key, no network
    Demo {
        /// Where the simulated API listens [default: a free port of 127.0.0.1, which is printed]
        #[arg(
            long = "api.listen-address",
            value_name = "ADDRESS",
            default_value = "127.0.0.1:0",
            hide_default_value = true
        )]
        api_listen_address: ListenAddress,
    },
    /// Poll once, print and exit: for cron, CI and Nagios-style checks
    ///
    /// Exits with 0 where all is well, 1 for a warning, 2 where it is critical, and 3 where that is not known. What counts
    /// is the worst certificate that is active and not superseded, and the shortest runway.
    Check(Check),
    /// Print the effective configuration, secrets redacted, and where each value came from
    CheckConfig,
}

/// What one poll is judged by, and how that is told.
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// How to print it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Where to print it, in place of standard output; the file is replaced whole, and only once every list was read
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// Warn where less time is left than this
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = humantime::parse_duration)]
    pub warning: Duration,
    /// Less time than this is critical, and so is an end that has passed
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = humantime::parse_duration)]
    pub critical: Duration,
    /// Check the built-in simulated organization: no key, no network
    #[arg(long)]
    pub demo: bool,
}

/// How to print a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For scripts: the document of /api/v1/certificates, and the verdict
    Json,
    /// One line with performance data, as monitoring plugins print it
    Nagios,
    /// For the textfile collector of the node exporter
    Prometheus,
}

/// Flags that every command takes. Each but the file itself is a key of the configuration, and wins over it.
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// Configuration file (TOML)
    #[arg(long = "config.file", value_name = "FILE", global = true)]
    pub config_file: Option<PathBuf>,
    /// Address to serve metrics on; may be repeated [default: 0.0.0.0:10099]
    #[arg(long = "web.listen-address", value_name = "ADDRESS", global = true)]
    pub web_listen_address: Vec<String>,
    /// TLS and users for that address, in the format of the Prometheus exporter-toolkit (YAML)
    #[arg(long = "web.config.file", value_name = "FILE", global = true)]
    pub web_config_file: Option<String>,
    /// Address to serve the health endpoints on besides, alone and in plain HTTP
    #[arg(long = "web.probe-listen-address", value_name = "ADDRESS", global = true)]
    pub web_probe_listen_address: Option<String>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long = "log.level", value_name = "LEVEL", global = true)]
    pub log_level: Option<String>,
    /// text or json [default: text]
    #[arg(long = "log.format", value_name = "FORMAT", global = true)]
    pub log_format: Option<String>,
}

impl Flags {
    /// The flags that were given, as a layer of the configuration: key, name and value.
    #[must_use]
    pub fn layer(self) -> Vec<(&'static str, &'static str, Value)> {
        let addresses = (!self.web_listen_address.is_empty()).then(|| Value::from(self.web_listen_address));
        [
            ("web.listen_address", "--web.listen-address", addresses),
            ("web.config_file", "--web.config.file", self.web_config_file.map(Value::from)),
            ("web.probe_listen_address", "--web.probe-listen-address", self.web_probe_listen_address.map(Value::from)),
            ("log.level", "--log.level", self.log_level.map(Value::from)),
            ("log.format", "--log.format", self.log_format.map(Value::from)),
        ]
        .into_iter()
        .filter_map(|(key, flag, value)| Some((key, flag, value?)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
