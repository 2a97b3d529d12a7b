//! Writes the shell completions and the man pages into a folder, from the same definitions as `--help`:
//! `cargo run --example assets -- FOLDER`

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::{fs, io};

use clap::ValueEnum as _;
use clap_complete::Shell;
use openai_cert_exporter::cli::Cli;

fn main() -> io::Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).unwrap_or_else(|| OsString::from(".")).into();
    fs::create_dir_all(&folder)?;
    let mut command = Cli::definition();
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut command, "openai-cert-exporter", &folder)?;
    }
    // `help` would get a page for each command again.
    clap_mangen::generate_to(Cli::definition().disable_help_subcommand(true), &folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("1")) {
            let page = fs::read_to_string(&path)?;
            // What follows the options stands in lines already.
            let page = page.replace(".SH EXTRA\n", ".SH ENVIRONMENT AND EXAMPLES\n.nf\n");
            fs::write(path, page.replace(".SH VERSION\n", ".fi\n.SH VERSION\n"))?;
        }
    }
    Ok(())
}
