//! Command line → configuration → logs → runtime → exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::anyhow;
use openai_cert_exporter::app::App;
use openai_cert_exporter::check::Status;
use openai_cert_exporter::cli::{Cli, Command, KeyFlag};
use openai_cert_exporter::config::{ConfigError, Layers, ListenAddress, Loaded, Log};
use openai_cert_exporter::demo::DemoApi;
use openai_cert_exporter::telemetry::Logs;
use openai_cert_exporter::{check, demo, signals, telemetry};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let (cli, flags) = match Cli::parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return match error.exit_code() {
                0 => ExitCode::SUCCESS, // help, which was asked for
                // A monitoring plugin that is called wrongly knows nothing; 2 would say that it is critical.
                _ if Cli::is_check(&arguments) => Status::Unknown.code().into(),
                _ => ExitCode::from(2), // as clap does
            };
        }
    };
    let check = match &cli.command {
        Some(Command::Check(check)) => Some(check.clone()),
        _ => None,
    };
    let mut logs = Logs::start();
    let code = run(cli, flags, &logs).unwrap_or_else(|error| {
        // A closed stdout or stderr is no further error: the exit code still tells (and `eprintln!` would panic).
        let _ = match check.as_ref().and_then(|check| check::unknown(check, error.as_ref())) {
            Some(line) => print(&line),
            None => logs
                .write_all(format!("openai-cert-exporter: {error}\n").as_bytes())
                .map_err(Into::into),
        };
        check.map_or(ExitCode::FAILURE, |_| Status::Unknown.code().into())
    });
    logs.drain();
    code
}

fn run(cli: Cli, flags: Vec<KeyFlag>, logs: &Logs) -> anyhow::Result<ExitCode> {
    // One thread for everything that waits: a request that hops between threads costs more than its work. What takes its
    // time (compressing a large snapshot, files, names) has threads of its own.
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| anyhow!("there can be no runtime: {error}"))?;
    let command = cli.command.unwrap_or(Command::Run);
    let api_address = match &command {
        Command::Demo { api_listen_address } => Some(api_listen_address.clone()),
        Command::Check(check) if check.demo => Some(ListenAddress::free_on_loopback()),
        _ => None,
    };
    let api = api_address.map(|address| runtime.block_on(demo::bind(address))).transpose();
    let api = api.map_err(|error| anyhow!("the simulated organization: {error}"))?;
    let (file, demo) = (cli.flags.config_file, api.as_ref().map(DemoApi::overrides));
    let layers =
        move || Layers::stack(file.as_deref(), std::env::vars_os(), flags.clone(), demo.as_ref());
    match command {
        Command::CheckConfig => {
            let layers = layers()?;
            App::check(&Loaded::new(&layers)?.config)?;
            print(&layers.to_string())?;
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
            print(&api.welcome(&app.server)?)?;
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
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| anyhow!("standard output cannot be written: {error}"))
}
