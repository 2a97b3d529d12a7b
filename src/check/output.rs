//! What is printed, in each of the formats.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use tokio::sync::watch;
use unicode_width::UnicodeWidthStr;

use super::{Status, Verdict};
use crate::exposition::{Document, Exposition, ExpositionError, severity_word};
use crate::inventory::{
    Anchor, ScopeState, Severity, Standing, State, UnixSeconds, date_and_time, days_until, end_in_words, legible,
    legible_name, rfc3339,
};

/// Of the projects at which a certificate is active, as many are named.
const NAMED_PROJECTS: usize = 3;

/// Prints, in colour where a terminal takes it and nobody has said otherwise (`NO_COLOR`).
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = anstream::AutoStream::auto(io::stdout());
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Says something where it disturbs no output.
pub(super) fn complain(message: &str) {
    // Where nobody can be told, the exit code still says it.
    let _ = writeln!(io::stderr(), "openai-cert-exporter: {message}");
}

/// One line as monitoring plugins print it, with performance data where there is any.
pub(super) fn plugin_line(status: Status, message: &str, performance: &str) -> String {
    // A bar begins performance data, and a line break ends what is shown.
    let message = message.replace('|', "/");
    let message = message.split(char::is_control).collect::<Vec<_>>().join(" ");
    let bar = if performance.is_empty() { "" } else { " | " };
    format!("{} - {message}{bar}{performance}\n", status.word())
}

pub(super) fn nagios(verdict: &Verdict<'_>) -> String {
    let performance = verdict.overview.as_ref().map_or_else(String::new, |overview| {
        let days = |seconds: f64| seconds / crate::inventory::SECONDS_PER_DAY;
        let (warning, critical) = (days(verdict.thresholds.warning), days(verdict.thresholds.critical));
        let left = |name: &str, end: Option<UnixSeconds>| {
            // U is how plugins say that there is no value.
            let days = end.map_or_else(|| "U".into(), |end| days_until(end, verdict.now).to_string());
            format!("{name}={days};{warning}:;{critical}:")
        };
        let count = |name: &str, takes: &dyn Fn(&Anchor<'_>) -> bool| {
            format!("{name}={};;;0", overview.anchors.iter().filter(|anchor| takes(anchor)).count())
        };
        [
            left("runway_days", overview.first_runway_end()),
            left("expiry_days", overview.first_expiry()),
            count("certificates", &|_| true),
            count("active", &|anchor| anchor.is_active()),
            count("expired", &|anchor| anchor.counts() && anchor.has_expired(verdict.now)),
        ]
        .join(" ")
    });
    plugin_line(verdict.status, &verdict.message, &performance)
}

#[derive(Serialize)]
struct Checked<'a> {
    status: &'static str,
    exit_code: u8,
    message: &'a str,
    at: String,
    at_unix: UnixSeconds,
    /// Why lists could not be read.
    failures: Vec<&'static str>,
    #[serde(flatten)]
    snapshot: Option<Document<'a>>,
}

pub(super) fn json(verdict: &Verdict<'_>, state: &State) -> serde_json::Result<String> {
    #[expect(clippy::cast_possible_truncation, reason = "the whole second that has begun")]
    let second = verdict.now.floor() as UnixSeconds;
    let checked = Checked {
        status: match verdict.status {
            Status::Ok => severity_word(Severity::Ok),
            Status::Warning => severity_word(Severity::Warning),
            Status::Critical => severity_word(Severity::Critical),
            Status::Unknown => "unknown",
        },
        exit_code: verdict.status.code(),
        message: &verdict.message,
        at: rfc3339(second),
        at_unix: second,
        failures: state
            .last_failure
            .iter()
            .flat_map(|failure| &failure.failures)
            .map(|reason| reason.as_str())
            .collect(),
        snapshot: state.snapshot.as_deref().map(|snapshot| Document::new(snapshot, verdict.now)),
    };
    Ok(serde_json::to_string_pretty(&checked)? + "\n")
}

pub(super) fn prometheus(state: &State) -> Result<String, ExpositionError> {
    let (_sender, receiver) = watch::channel(state.clone());
    Ok(Exposition::of_state(receiver).text()?.collect())
}

pub(super) fn table(verdict: &Verdict<'_>) -> String {
    let mut text = String::new();
    let style = match verdict.status {
        Status::Ok => style(Some(Severity::Ok)),
        Status::Warning | Status::Unknown => style(Some(Severity::Warning)),
        Status::Critical => style(Some(Severity::Critical)),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{style}{}{style:#}  {}", verdict.status.word(), verdict.message);
    let Some(overview) = &verdict.overview else { return text };
    text.push('\n');
    let scopes = overview.scopes.iter().map(|scope| scope_row(scope, verdict.now));
    align(&mut text, ["STATE", "RUNWAY ENDS", "", "SCOPE", "ID"], scopes.collect());
    if !overview.anchors.is_empty() {
        text.push('\n');
        // What is active nowhere comes last, however long ago it has ended.
        let (active, inactive): (Vec<_>, Vec<_>) = overview.anchors.iter().partition(|anchor| anchor.is_active());
        let anchors = active.into_iter().chain(inactive).map(|anchor| anchor_row(anchor, verdict));
        let head = ["STATE", "EXPIRES", "", "CERTIFICATE", "ID", "ACTIVE AT", "SUPERSEDED BY"];
        align(&mut text, head, anchors.collect());
    }
    text
}

/// Cells, and how bad what they tell is; none where it is nobody's concern.
type Row<const N: usize> = ([String; N], Option<Severity>);

fn scope_row(scope: &ScopeState<'_>, now: f64) -> Row<5> {
    let enforced = scope.standing != Standing::NotEnforced;
    let end = scope.standing.runway_end();
    let (name, id) = scope.project.map_or_else(
        || ("Organization".to_owned(), String::new()),
        |project| (shown(project.name.as_deref()), legible(&project.id).into_owned()),
    );
    let left = if enforced { end_in_words(end, now) } else { String::new() };
    let cells = [scope.label().into(), end.map_or_else(none, date_and_time), left, name, id];
    (cells, enforced.then_some(scope.severity))
}

fn anchor_row(anchor: &Anchor<'_>, verdict: &Verdict<'_>) -> Row<7> {
    let certificate = anchor.certificate;
    let successor =
        anchor.successor.map(|successor| legible_name(successor.name.as_deref(), &successor.id).into_owned());
    let cells = [
        anchor.label(verdict.now, verdict.thresholds).into(),
        certificate.expires_at.map_or_else(none, date_and_time),
        end_in_words(certificate.expires_at, verdict.now),
        shown(certificate.name.as_deref()),
        legible(&certificate.id).into_owned(),
        anchor.places(NAMED_PROJECTS).unwrap_or_else(none),
        successor.unwrap_or_default(),
    ];
    (cells, anchor.is_active().then(|| anchor.severity(verdict.now, verdict.thresholds)))
}

fn none() -> String {
    "-".into()
}

fn shown(name: Option<&str>) -> String {
    name.filter(|name| !name.trim().is_empty()).map_or_else(|| "(unnamed)".into(), |name| legible(name).into_owned())
}

fn style(severity: Option<Severity>) -> Style {
    match severity {
        None => Style::new().dimmed(),
        Some(Severity::Ok) => AnsiColor::Green.on_default(),
        Some(Severity::Warning) => AnsiColor::Yellow.on_default().bold(),
        Some(Severity::Critical) => AnsiColor::Red.on_default().bold(),
    }
}

/// Writes rows in columns as wide as their widest cell. The first column, the state, is coloured.
fn align<const N: usize>(text: &mut String, head: [&str; N], rows: Vec<Row<N>>) {
    let mut widths = head.map(UnicodeWidthStr::width);
    for (cells, _) in &rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = cell.width().max(*width);
        }
    }
    let head = (head.map(str::to_owned), Style::new().bold());
    let body = rows.into_iter().map(|(cells, severity)| (cells, style(severity)));
    for (row, (cells, style)) in std::iter::once(head).chain(body).enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let gap = width - cell.width() + 2;
            let style = if column == 0 || row == 0 { style } else { Style::new() };
            let _ = write!(line, "{style}{cell}{style:#}{:gap$}", "");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_a_terminal_shows_them() {
        let mut text = String::new();
        let row = |name: &str, end: &str| ([name.to_owned(), end.to_owned()], None);
        align(&mut text, ["A", "B"], vec![row("東京", "x"), row("abc", "")]);
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain, "A     B\n東京  x\nabc\n");
    }
}
