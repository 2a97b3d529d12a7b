//! What a person sees at a terminal, of any size, and what a pipe gets in its place.

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use unicode_width::UnicodeWidthStr as _;

use crate::binary::{KEY, Launch};

/// Columns and rows; of a terminal that does not know its size.
const UNKNOWN: (u16, u16) = (0, 0);

struct Terminal {
    controller: File,
    inside: File,
}

impl Terminal {
    fn new((ws_col, ws_row): (u16, u16)) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        tcsetwinsize(&controller, Winsize { ws_col, ws_row, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let path = ptsname(&controller, Vec::new()).unwrap();
        let inside = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        Self { controller: File::from(controller), inside }
    }

    /// What is shown, until nobody has it open any more.
    fn shown(mut controller: File) -> std::thread::JoinHandle<String> {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            // The end of a terminal is an error.
            let _ = controller.read_to_end(&mut text);
            String::from_utf8(text).unwrap().replace("\r\n", "\n")
        })
    }
}

/// Runs a command with terminals for output and errors, and returns what each shows.
fn on_a_terminal(
    size: (u16, u16),
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (String, String) {
    let (stdout, stderr) = (Terminal::new(size), Terminal::new(size));
    let mut child = {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openai-cert-exporter"));
        command.args(arguments).env_clear().env("TERM", "xterm").env("OPENAI_ADMIN_KEY", KEY);
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        command.stdout(stdout.inside).stderr(stderr.inside).spawn().unwrap()
    };
    let (shown, beside) = (Terminal::shown(stdout.controller), Terminal::shown(stderr.controller));
    child.wait().unwrap();
    (shown.join().unwrap(), beside.join().unwrap())
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

const CHECK: &[&str] = &["check", "--demo"];

#[test]
fn terminal_gets_colour_and_a_spinner() {
    let (shown, beside) = on_a_terminal((80, 24), CHECK, &[]);
    assert!(shown.contains("\n\u{1b}[1m\u{1b}[31mCRITICAL"), "{shown}");
    assert!(beside.contains("polling: ") && beside.contains(" read"), "{beside:?}");
    assert!(beside.ends_with("\r\u{1b}[2K"), "the line is left empty: {beside:?}");
    let (plain, _) = on_a_terminal((80, 24), CHECK, &[("NO_COLOR", "1")]);
    assert!(plain.contains("\nCRITICAL") && !plain.contains('\u{1b}'), "{plain}");
    let (plain, silent) = on_a_terminal((80, 24), CHECK, &[("TERM", "dumb")]);
    assert!(!plain.contains('\u{1b}'), "{plain}");
    assert_eq!(silent, "");
}

#[test]
fn log_has_colours_where_they_are_wanted() {
    let run = |environment: &[(&str, &str)]| {
        on_a_terminal((80, 24), &["check", "--demo", "--log.level=info"], environment).1
    };
    let green = "\u{1b}[32m";
    assert!(run(&[]).contains(green));
    assert!(!run(&[("NO_COLOR", "1")]).contains(green));
    let dumb = run(&[("TERM", "dumb")]);
    assert!(dumb.contains("poll succeeded") && !dumb.contains('\u{1b}'), "{dumb}");
}

#[test]
fn check_fits_the_terminal() {
    for (columns, rows) in [(80, 24), (40, 24), (40, 50), (120, 40), (200, 100)] {
        let shown = plain(&on_a_terminal((columns, rows), CHECK, &[]).0);
        let lines: Vec<_> = shown.lines().collect();
        let what = format!("{columns} × {rows}:\n{shown}");
        assert!(lines.len() <= usize::from(rows) - 2, "{what}");
        assert!(lines.iter().all(|line| line.width() <= usize::from(columns)), "{what}");
        let (rows, verdict) = shown.split_once("\n\nCRITICAL  ").unwrap();
        assert!(verdict.ends_with(".\n") && !verdict.contains("\n\n"), "{what}");
        // What needs action comes first, and nobody has to guess that there is more.
        let states: Vec<_> = rows.lines().map(|line| &line[..line.len().min(7)]).collect();
        let first = |state| states.iter().position(|line| *line == state);
        assert!(first("Expired") < first("Valid  ").or(Some(usize::MAX)), "{what}");
        assert_eq!(rows.contains("--all"), rows.matches("Inactive").count() < 20, "{what}");
    }
}

#[test]
fn all_rows_are_shown_to_who_asks() {
    let (all, _) = on_a_terminal((80, 24), &["check", "--demo", "--all"], &[]);
    let all = plain(&all);
    assert!(!all.contains("more certificates (") && !all.contains("--all"), "{all}");
    assert_eq!(all.matches("\nInactive").count(), 22, "{all}");
    assert!(all.lines().all(|line| line.width() <= 80), "{all}");
}

#[tokio::test]
async fn pipe_gets_the_whole_whatever_the_environment_says() {
    let piped = Launch::bare(CHECK).env("COLUMNS", "40").env("LINES", "20").until_it_ends().await;
    let (unknown, _) = on_a_terminal(UNKNOWN, CHECK, &[]);
    for whole in [&piped.stdout, &plain(&unknown)] {
        assert!(!whole.contains("--all") && !whole.contains("gen…"), "{whole}");
        assert_eq!(whole.matches("\nInactive").count(), 22, "{whole}");
        assert!(whole.lines().any(|line| line.width() > 150), "{whole}");
    }
    let (told, _) = on_a_terminal(UNKNOWN, CHECK, &[("COLUMNS", "60"), ("LINES", "24")]);
    let told = plain(&told);
    assert!(told.lines().count() <= 22 && told.lines().all(|line| line.width() <= 60), "{told}");
}

#[test]
fn configuration_is_wrapped_for_the_terminal_and_stays_the_same() {
    let file = concat!("--config.file=", env!("CARGO_MANIFEST_DIR"), "/config/default.toml");
    let shown = |size| on_a_terminal(size, &["check-config", file], &[]).0;
    let whole: toml::Table = toml::from_str(&shown(UNKNOWN)).unwrap();
    for columns in [40, 80, 200] {
        let shown = shown((columns, 24));
        assert!(shown.ends_with("\n# The configuration is valid\n"), "{shown}");
        assert_eq!(toml::from_str::<toml::Table>(&shown).unwrap(), whole, "{shown}");
        let is_path = |line: &str| line.contains('/');
        let mut lines = shown.lines().filter(|line| !is_path(line));
        assert!(lines.all(|line| line.width() <= usize::from(columns)), "{columns}:\n{shown}");
    }
}
