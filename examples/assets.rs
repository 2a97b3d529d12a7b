//! Writes the shell completions and the man pages into a folder, from the same definitions as `--help`:
//! `cargo run --example assets -- FOLDER`

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;
use openai_cert_exporter::cli::Cli;

fn main() -> io::Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).unwrap_or_else(|| OsString::from(".")).into();
    std::fs::create_dir_all(&folder)?;
    let mut command = Cli::command();
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut command, "openai-cert-exporter", &folder)?;
    }
    clap_mangen::generate_to(command, folder)
}
