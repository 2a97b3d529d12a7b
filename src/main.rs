//! Command line → configuration → logs → runtime → exit code.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use openai_cert_exporter::app::{App, StartError};
use openai_cert_exporter::cli::{Cli, Command};
use openai_cert_exporter::config::{Config, ConfigError, Demo, Layers};
use openai_cert_exporter::inventory::unix_now;
use openai_cert_exporter::web::{BindError, Limits, Security, SecurityError, Server};
use openai_cert_exporter::{demo, telemetry};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody can be told, the exit code still says it; `eprintln!` would panic.
            let _ = writeln!(std::io::stderr(), "openai-cert-exporter: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why the program ends with an error.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error("the simulated organization: {0}")]
    Demo(#[from] BindError),
    #[error("logging cannot be set up: {0}")]
    Telemetry(#[from] tracing_subscriber::util::TryInitError),
    #[error("the process cannot be set up: {0}")]
    System(#[from] std::io::Error),
    #[error("standard output cannot be written: {0}")]
    Output(std::io::Error),
}

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { command, flags } = cli;
    let file = flags.config_file.clone();
    let flags = flags.layer();
    let layers = |demo| Layers::stack(file.as_deref(), std::env::vars_os(), flags, demo);
    match command.unwrap_or(Command::Run) {
        Command::CheckConfig => check_config(&layers(None)?),
        Command::Run => {
            let config = Config::load(&layers(None)?)?;
            telemetry::init(config.log)?;
            serve(runtime()?, config, |_, _| Ok(()))
        }
        Command::Demo { api_listen_address } => {
            let runtime = runtime()?;
            let server = runtime.block_on(Server::bind(&[api_listen_address], Limits::of_this_process()))?;
            let address = server.addresses()?[0];
            let config = Config::load(&layers(Some(&Demo::at(address, demo::ADMIN_KEY)))?)?;
            telemetry::init(config.log)?;
            #[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
            let organization = demo::Organization::new(unix_now() as i64);
            serve(runtime, config, |app, shutdown| {
                let welcome = demo::welcome(&organization, address, app.scheme(), app.addresses());
                tokio::spawn(server.run(demo::router(organization), shutdown));
                print(&welcome)
            })
        }
    }
}

/// Two threads: one may be busy with a scrape while the other answers.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// Runs an exporter until it is told to end; `bound` comes between binding and running.
fn serve(
    runtime: Runtime,
    config: Config,
    bound: impl FnOnce(&App, CancellationToken) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let outcome = runtime.block_on(async {
        let shutdown = shutdown_on_signal()?;
        let app = App::bind(config).await?;
        bound(&app, shutdown.clone())?;
        app.run(shutdown).await;
        Ok(())
    });
    // A name that is being resolved, or a file system that hangs, holds a thread that nothing can end.
    runtime.shutdown_background();
    outcome
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
    Security::load(config.web.config_file.as_deref())?;
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
