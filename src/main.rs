//! Command line → configuration → logs → runtime → exit code.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::anyhow;
use openai_cert_exporter::app::App;
use openai_cert_exporter::check::Status;
use openai_cert_exporter::cli::{Cli, Command, Format, KeyFlag, Report};
use openai_cert_exporter::config::{ConfigError, ConfigFile, Layers, ListenAddress, Loaded, Log};
use openai_cert_exporter::demo::DemoApi;
use openai_cert_exporter::telemetry::Logs;
use openai_cert_exporter::terminal::Size;
use openai_cert_exporter::{check, config, demo, signals, telemetry};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

const PROGRAM: &str = "openai-cert-exporter";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let (cli, flags) = match Cli::parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error, &arguments),
    };
    let report = match &cli.command {
        Some(Command::Check(check)) => Some(check.report.clone()),
        _ => None,
    };
    let mut logs = Logs::start();
    let code = run(cli, flags, &logs).unwrap_or_else(|error| {
        let Some(report) = report else {
            // It never fails, also where nobody reads.
            let _ = logs.write_all(format!("{PROGRAM}: {error}\n").as_bytes());
            return ExitCode::FAILURE;
        };
        check::tell_failure(&report, &error.to_string());
        Status::Unknown.code().into()
    });
    logs.drain();
    code
}

/// Ends with what clap says of arguments that cannot be parsed, or with the help that they ask for.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    const SECRET: &str = "an argument looks like PEM or a key, and is not repeated here";
    let has_secret = Cli::hold_secrets(arguments);
    let print = || {
        // A closed stderr is no further error: the exit code still tells.
        let _ = if has_secret { writeln!(io::stderr(), "error: {SECRET}") } else { error.print() };
    };
    if error.exit_code() == 0 || !Cli::is_check(arguments) {
        print();
        return ExitCode::from(if error.exit_code() == 0 { 0 } else { 2 }); // as clap does
    }
    let report = Report::of_arguments(arguments);
    let text = if has_secret { SECRET.into() } else { error.to_string() };
    if report.output == Format::Table {
        print();
    } else {
        let line = text.lines().next().unwrap_or_default();
        check::tell_failure(&report, line.trim_start_matches("error: "));
    }
    // A monitoring plugin that is called wrongly knows nothing; 2 would say that it is critical.
    Status::Unknown.code().into()
}

fn run(cli: Cli, flags: Vec<KeyFlag>, logs: &Logs) -> anyhow::Result<ExitCode> {
    if let Some(Command::Check(check)) = &cli.command {
        check::verify(check)?;
    }
    // One thread for everything that waits: a request that hops between threads costs more than its work. What takes its
    // time (compressing a large snapshot, files, names) has threads of its own.
    let runtime = signals::require_descriptors()
        .and_then(|()| Builder::new_current_thread().enable_all().build());
    let runtime = runtime.map_err(|error| anyhow!("there can be no runtime: {error}"))?;
    let command = cli.command.unwrap_or(Command::Run);
    let api_address = match &command {
        Command::Demo { api_listen_address } => Some(api_listen_address.clone()),
        Command::Check(check) if check.demo => Some(ListenAddress::free_on_loopback()),
        _ => None,
    };
    let api = api_address.map(|address| runtime.block_on(demo::bind(address))).transpose();
    let api = api.map_err(|error| anyhow!("the simulated organization: {error}"))?;
    let (file, demo) =
        (cli.flags.config_file.map(ConfigFile::new), api.as_ref().map(DemoApi::overrides));
    let layers =
        move || Layers::stack(file.as_ref(), std::env::vars_os(), flags.clone(), demo.as_ref());
    match command {
        Command::CheckConfig => {
            let layers = layers()?;
            let held = App::check(&Loaded::new(&layers)?.config)?;
            let columns = Size::of(io::stdout()).columns;
            let mut text = layers.to_toml(columns);
            text.extend(held.iter().map(|line| config::comment(line, columns)));
            print(&(text + "# The configuration is valid\n"))?;
        }
        Command::Run | Command::Demo { .. } => {
            serve(runtime, move || Loaded::new(&layers()?), api, logs)?;
        }
        Command::Check(check) => {
            let layers = layers()?;
            let loaded = Loaded::new(&layers)?;
            // A check says itself what went wrong; cron would mail every line beside that. A level that is set is kept.
            let quiet = Log { level: tracing::Level::ERROR, ..loaded.config.log };
            init_logs(
                if layers.is_default("log.level") { quiet } else { loaded.config.log },
                logs,
            )?;
            if let Some(api) = api {
                runtime.spawn(api.run(CancellationToken::new()));
            }
            let status = runtime.block_on(check::run(loaded, &check));
            runtime.shutdown_background();
            return Ok(status?.code().into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs an exporter, and the simulated organization if there is one, until it is told to end. `load` reads the
/// configuration, at the start and at each SIGHUP.
fn serve(
    runtime: Runtime,
    load: impl Fn() -> Result<Loaded, ConfigError> + Send + Sync + 'static,
    api: Option<DemoApi>,
    logs: &Logs,
) -> anyhow::Result<()> {
    let loaded = load()?;
    init_logs(loaded.config.log, logs)?;
    telemetry::end_on_panic(logs.clone());
    let outcome = runtime.block_on(async {
        let system = |error| anyhow!("signals cannot be received: {error}");
        let shutdown = signals::shutdown().map_err(system)?;
        let reloads = signals::reloads(load).map_err(system)?;
        signals::survive_file_size_limit().map_err(system)?;
        let app = App::bind(loaded, logs).await?;
        if let Some(api) = api {
            let program = std::env::args_os().next().unwrap_or_else(|| PROGRAM.into());
            print(&api.welcome(&app.server, &program.to_string_lossy())?)?;
            tokio::spawn(api.run(shutdown.clone()));
        }
        Box::pin(app.run(reloads, shutdown)).await;
        Ok(())
    });
    // A name that is being resolved, or a file system that hangs, holds a thread that nothing can end.
    runtime.shutdown_background();
    outcome
}

fn init_logs(log: Log, logs: &Logs) -> anyhow::Result<()> {
    telemetry::init(log, logs.clone()).map_err(|error| anyhow!("logging cannot be set up: {error}"))
}

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // Who reads it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(|error| anyhow!("standard output cannot be written: {error}")),
    }
}
