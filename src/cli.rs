//! The command line, in the style of the Prometheus exporters.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::{
    ArgAction, ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    ValueEnum,
};
use figment::value::Value;
use serde::de::{IntoDeserializer as _, value};

use crate::config::values::is_secret;
use crate::config::{ListenAddress, poll_duration};

/// `--version`, with what a bug report needs.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("BUILD_REVISION"),
    ", rustc ",
    env!("BUILD_RUSTC"),
    ")"
);

/// Headings as those of the rest of the help; where there are no colours, clap takes them out. No line is longer than a
/// terminal is wide: clap would break it without its indentation.
const MORE_HELP: &str = "\
\x1b[1;4mEnvironment:\x1b[0m
  OPENAI_ADMIN_KEY   An admin key that may read certificates (api.mtls.read)
  OPENAI_BASE_URL    Where the API is [default: https://api.openai.com/v1]
  OPENAI_CERT_EXPORTER__SECTION__KEY
                     Any key of the configuration, for example
                     OPENAI_CERT_EXPORTER__POLL__PROJECTS=true
  HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR, NO_COLOR
                     As in other programs

\x1b[1;4mExamples:\x1b[0m
  openai-cert-exporter demo
  OPENAI_ADMIN_KEY=sk-admin-… openai-cert-exporter
  openai-cert-exporter --config.file exporter.toml check-config
  openai-cert-exporter check --demo
  openai-cert-exporter help check";

const MORE_HELP_FOR_CHECK: &str = "\
\x1b[1;4mEnvironment:\x1b[0m
  OPENAI_ADMIN_KEY and others: see openai-cert-exporter --help

\x1b[1;4mExamples:\x1b[0m
  openai-cert-exporter check --demo
  openai-cert-exporter check | less -S
  openai-cert-exporter check --output nagios --warning 14d --critical 3d
  openai-cert-exporter check --output prometheus \\
      --output-file /var/lib/node_exporter/openai.prom";

/// Prometheus exporter for the mutual-TLS certificates of an OpenAI organization.
///
/// Polls the full certificate list of the Admin API on an interval and serves days until expiry and active status at
/// /metrics.
#[derive(Debug, Parser)]
#[command(name = "openai-cert-exporter", version = VERSION, subcommand_help_heading = "Commands", after_help = MORE_HELP)]
pub struct Cli {
    /// Without one, `run`.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub flags: Flags,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Poll on an interval and serve metrics (the default)
    Run,
    /// Run against a built-in simulated organization: no key, no network
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
    /// Exits with 0 (ok), 1 (warning), 2 (critical) or 3 (nothing could be read). The worst of all scopes and active
    /// certificates decides. Superseded certificates, and whatever could not be read, are at most a warning.
    ///
    /// On a terminal, the table has as many rows as fit, those that need action first, and cuts long names. In a pipe or a
    /// file it is complete.
    #[command(after_help = MORE_HELP_FOR_CHECK)]
    Check(Check),
    /// Print the effective configuration, secrets redacted, and where each value came from
    CheckConfig,
}

/// What one poll is judged by, and how that is told.
#[derive(Clone, Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub report: Report,
    /// Show all rows of the table, even if the terminal has fewer
    #[arg(long)]
    pub all: bool,
    /// Say what would change if this certificate were deactivated everywhere, and judge that; may be repeated
    #[arg(long, value_name = "CERTIFICATE_ID")]
    pub without: Vec<String>,
    /// Say what would change until this instant, such as 2027-01-31T00:00:00Z, and judge as of then
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    pub at: Option<f64>,
    /// How long the poll may take, in place of poll.timeout [default: poll.timeout, but 50s at most]
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub timeout: Option<Duration>,
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

/// Where a check is told, and in which form.
#[derive(Clone, Debug, Args)]
pub struct Report {
    /// How to print it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Where to print it, in place of standard output; the file is replaced whole by each run, failed ones too
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// Put this label on each series of `--output prometheus`; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
}

/// Seconds since the epoch.
fn instant(text: &str) -> Result<f64, &'static str> {
    let instant = humantime::parse_rfc3339(text).ok();
    let since_epoch = instant.and_then(|instant| instant.duration_since(UNIX_EPOCH).ok());
    let seconds = since_epoch.map(|since| since.as_secs_f64());
    seconds.ok_or("must be an instant in UTC, such as 2027-01-31T00:00:00Z")
}

/// As poll.timeout is read.
fn timeout(text: &str) -> Result<Duration, value::Error> {
    poll_duration(text.into_deserializer())
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For scripts: the document of /api/v1/certificates, and the verdict
    Json,
    /// One line with performance data, as monitoring plugins print it
    Nagios,
    /// For the textfile collector of the node exporter
    Prometheus,
}

/// Flags that every command takes. The id of one that sets a key of the configuration is that key.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Flags {
    /// Configuration file (TOML)
    #[arg(long = "config.file", value_name = "FILE", global = true)]
    pub config_file: Option<PathBuf>,
    #[arg(
        id = "web.listen_address",
        long = "web.listen-address",
        value_name = "ADDRESS",
        global = true,
        // No comment, in which `[::]` would be a link.
        help = "Address to serve metrics on; may be repeated [default: [::]:10099]"
    )]
    web_listen_address: Vec<String>,
    /// TLS and users for that address, in the format of the Prometheus exporter-toolkit (YAML)
    #[arg(id = "web.config_file", long = "web.config.file", value_name = "FILE", global = true)]
    web_config_file: Option<String>,
    /// A second address that serves only the health endpoints, in plain HTTP
    #[arg(
        id = "web.probe_listen_address",
        long = "web.probe-listen-address",
        value_name = "ADDRESS",
        global = true
    )]
    web_probe_listen_address: Option<String>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(id = "log.level", long = "log.level", value_name = "LEVEL", global = true)]
    log_level: Option<String>,
    /// text or json [default: text]
    #[arg(id = "log.format", long = "log.format", value_name = "FORMAT", global = true)]
    log_format: Option<String>,
}

impl Cli {
    /// The command line as help, completions and man pages describe it: the flags of the server are hidden where they do
    /// nothing, though not refused, so that one set of flags does for all commands.
    pub fn definition() -> clap::Command {
        let command = Self::command();
        let is_of_server = |flag: &&clap::Arg| flag.get_id().as_str().starts_with("web.");
        let of_server = command.get_arguments().filter(is_of_server);
        let hidden: Vec<_> = of_server.map(|flag| flag.clone().hide(true)).collect();
        command.mut_subcommand("check", |check| check.args(hidden))
    }

    /// What is to be done, and the flags that set keys of the configuration: key, flag and value.
    pub fn parse_from(arguments: &[OsString]) -> Result<(Self, Vec<KeyFlag>), clap::Error> {
        let matches = Self::definition().try_get_matches_from(arguments)?;
        let flags = Flags::augment_args(clap::Command::default());
        let key_flags = flags.get_arguments().filter_map(|flag| key_flag(flag, &matches)).collect();
        Ok((Self::from_arg_matches(&matches)?, key_flags))
    }

    /// Whether any of the arguments looks like PEM or a key, which no message may repeat.
    pub fn hold_secrets(arguments: &[OsString]) -> bool {
        let texts = arguments.iter().map(|argument| argument.to_string_lossy());
        texts.skip(1).any(|text| {
            is_secret(&text) || text.split_once('=').is_some_and(|(_, value)| is_secret(value))
        })
    }

    /// Whether arguments that cannot be parsed are those of a check, whatever unknown ones stand before the command.
    pub fn is_check(arguments: &[OsString]) -> bool {
        let unknown =
            (0..arguments.len()).map(|at| clap::Arg::new(at.to_string()).allow_hyphen_values(true));
        let matches =
            Self::definition().args(unknown).ignore_errors(true).try_get_matches_from(arguments);
        matches.is_ok_and(|matches| matches.subcommand_name() == Some("check"))
    }
}

impl Report {
    /// What arguments ask for that cannot be parsed, as far as can be told.
    pub fn of_arguments(arguments: &[OsString]) -> Self {
        let words =
            arguments.iter().filter_map(|argument| argument.to_str()).flat_map(|argument| {
                match argument.split_once('=') {
                    Some((flag, value)) if flag.starts_with("--") => vec![flag, value],
                    _ => vec![argument],
                }
            });
        let words: Vec<_> = words.collect();
        let values = |flag: &str| -> Vec<&str> {
            words.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1]).collect()
        };
        let format = |name: &&str| Format::from_str(name, false).ok();
        Self {
            output: values("--output").iter().find_map(format).unwrap_or_default(),
            output_file: values("--output-file").last().map(PathBuf::from),
            labels: values("--label").into_iter().map(str::to_owned).collect(),
        }
    }
}

/// Key, flag and value.
pub type KeyFlag = (String, String, Value);

fn key_flag(flag: &clap::Arg, matches: &ArgMatches) -> Option<KeyFlag> {
    let key = flag.get_id().as_str();
    // The path of the configuration file is no `String`, and sets no key.
    let mut values = matches.try_get_many::<String>(key).ok()??.cloned();
    let value = match flag.get_action() {
        ArgAction::Append => values.collect::<Vec<_>>().into(),
        _ => values.next()?.into(),
    };
    Some((key.to_owned(), format!("--{}", flag.get_long()?), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::definition().debug_assert();
    }

    #[test]
    fn flags_set_the_keys_that_are_their_ids() {
        for line in [
            "x --log.level=warn --web.listen-address :1 check --web.listen-address=:2",
            "x check --log.level warn",
            "x check --web.listen-address :1 --log.level warn",
        ] {
            let (_, flags) = Cli::parse_from(&arguments(line)).unwrap();
            let level = ("log.level".into(), "--log.level".into(), Value::from("warn"));
            assert!(flags.contains(&level), "{flags:?}");
        }
        let (_, flags) =
            Cli::parse_from(&arguments("x --config.file=a --web.config.file=b")).unwrap();
        assert_eq!(
            flags,
            [("web.config_file".into(), "--web.config.file".into(), Value::from("b"))]
        );
        let (_, flags) =
            Cli::parse_from(&arguments("x --web.listen-address=:1 --web.listen-address=:2"))
                .unwrap();
        assert_eq!(
            flags,
            [(
                "web.listen_address".into(),
                "--web.listen-address".into(),
                Value::from(vec![":1", ":2"])
            )]
        );
    }

    #[test]
    fn a_check_is_recognized_though_it_cannot_be_parsed() {
        for line in [
            "x check --nonsense",
            "x --nonsense check",
            "x -n --nonsense value --log.level warn check",
            "x --config.file f check --output=xml",
            "x --log.level=warn check x",
        ] {
            assert!(Cli::is_check(&arguments(line)), "{line}");
        }
        for line in [
            "x",
            "x --config.file check",
            "x --config.file check --nonsense",
            "x run check",
            "x demo --api.listen-address check",
        ] {
            assert!(!Cli::is_check(&arguments(line)), "{line}");
        }
    }
}
