//! Command line → configuration → logs → runtime → exit code.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use openai_cert_exporter::app::{App, Reload, StartError};
use openai_cert_exporter::check::{CheckError, Status};
use openai_cert_exporter::cli::{Cli, Command};
use openai_cert_exporter::config::{Config, ConfigError, Demo, Layers, ListenAddress, Log};
use openai_cert_exporter::demo::DemoApi;
use openai_cert_exporter::{check, demo, telemetry};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let check = match &cli.command {
        Some(Command::Check(check)) => Some(check.clone()),
        _ => None,
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            if let Some(line) = check.as_ref().and_then(|check| check::unknown(check, &error)) {
                // As below.
                let _ = print(&line);
            } else {
                // Where nobody can be told, the exit code still says it; `eprintln!` would panic.
                let _ = writeln!(std::io::stderr(), "openai-cert-exporter: {error}");
            }
            check.map_or(ExitCode::FAILURE, |_| Status::Unknown.code().into())
        }
    }
}

/// A command line that is not understood, or that asks for help.
fn refuse(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    // A monitoring plugin that is called wrongly knows nothing; 2 would say that it is critical.
    let checks = std::env::args_os().any(|argument| argument == "check");
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if checks => Status::Unknown.code().into(),
        _ => ExitCode::from(2), // as clap does
    }
}

/// Why the program ends with an error.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the simulated organization: {0}")]
    Demo(std::io::Error),
    #[error("logging cannot be set up: {0}")]
    Telemetry(#[from] tracing_subscriber::util::TryInitError),
    #[error("the process cannot be set up: {0}")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error("standard output cannot be written: {0}")]
    Output(std::io::Error),
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let Cli { command, flags } = cli;
    let file = flags.config_file.clone();
    let flags = flags.layer();
    let layers = move |demo: Option<&Demo>| Layers::stack(file.as_deref(), std::env::vars_os(), flags.clone(), demo);
    match command.unwrap_or(Command::Run) {
        Command::CheckConfig => check_config(&layers(None)?)?,
        Command::Run => serve(runtime()?, move || Config::load(&layers(None)?), |_, _| Ok(()))?,
        Command::Demo { api_listen_address } => {
            let runtime = runtime()?;
            let api = runtime.block_on(demo::bind(api_listen_address)).map_err(Failure::Demo)?;
            let overrides = api.overrides();
            serve(
                runtime,
                move || Config::load(&layers(Some(&overrides))?),
                |app, shutdown| {
                    let welcome = api.welcome(app.scheme(), app.addresses());
                    tokio::spawn(api.run(shutdown));
                    print(&welcome)
                },
            )?;
        }
        Command::Check(check) => {
            let runtime = runtime()?;
            let bind = || runtime.block_on(demo::bind(ListenAddress::free_on_loopback()));
            let api = check.demo.then(bind).transpose().map_err(Failure::Demo)?;
            let layers = layers(api.as_ref().map(DemoApi::overrides).as_ref())?;
            let config = Config::load(&layers)?;
            telemetry::init(log_of_check(config.log, &layers))?;
            if let Some(api) = api {
                runtime.spawn(api.run(CancellationToken::new()));
            }
            let status = runtime.block_on(check::run(config, &check));
            runtime.shutdown_background();
            return Ok(status?.code().into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A check says itself what went wrong; cron would mail every line beside that. Who asks for logs gets them.
fn log_of_check(log: Log, layers: &Layers) -> Log {
    let asked = layers.settings().iter().any(|setting| setting.key == "log.level" && !setting.is_default());
    if asked { log } else { Log { level: tracing::Level::ERROR, ..log } }
}

/// One thread for everything that waits: a request that hops between threads costs more than its work. What takes its time
/// (compressing a large snapshot, files, names) has threads of its own.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Runs an exporter until it is told to end. `load` reads the configuration, at the start and at each SIGHUP; `bound` comes
/// between binding and running.
fn serve(
    runtime: Runtime,
    load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    bound: impl FnOnce(&App, CancellationToken) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let config = load()?;
    telemetry::init(config.log)?;
    telemetry::end_on_panic();
    let outcome = runtime.block_on(async {
        let (shutdown, reloads) = (shutdown_on_signal()?, reloads_on_signal(load)?);
        // Where files may grow only so far, a write beyond that is to fail like one on a full disk, not to end the process.
        let _beyond_limit = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        let app = App::bind(config).await?;
        bound(&app, shutdown.clone())?;
        app.run(reloads, shutdown).await;
        Ok(())
    });
    // A name that is being resolved, or a file system that hangs, holds a thread that nothing can end.
    runtime.shutdown_background();
    outcome
}

fn reloads_on_signal(
    load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
) -> std::io::Result<mpsc::Receiver<Reload>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = mpsc::channel(1);
    let load = Arc::new(load);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let load = Arc::clone(&load);
            // Files may be slow.
            let Ok(reload) = tokio::task::spawn_blocking(move || load()).await else { return };
            if sender.send(reload).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn shutdown_on_signal() -> std::io::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let signalled = shutdown.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "ending");
        signalled.cancel();
    });
    Ok(shutdown)
}

fn check_config(layers: &Layers) -> Result<(), Failure> {
    let config = Config::load(layers)?;
    App::check(&config)?;
    let settings = layers.settings();
    let width = settings.iter().map(|setting| setting.key.len() + setting.value.len()).max().unwrap_or_default();
    let lines = settings.iter().map(|setting| {
        let gap = width - setting.key.len() - setting.value.len() + 2;
        format!("{} = {}{:gap$}# {}\n", setting.key, setting.value, "", setting.origin)
    });
    print(&lines.collect::<String>())
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::Output)
}
