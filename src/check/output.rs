//! A summary in each of the formats.

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use serde::Serialize;

use super::Status;
use crate::inventory::{SECONDS_PER_DAY, Thresholds, UnixSeconds, days_until, whole_second};
use crate::poll_state::{FailedList, FailureReason, PollState};
use crate::presentation::{Document, Instants, Summary};

/// Prints, in colour if a terminal takes it and nobody has said otherwise (`NO_COLOR`).
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = anstream::AutoStream::auto(io::stdout());
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Who reads it, such as `head`, has seen enough; the exit code still carries the verdict.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

pub(super) fn eprint(message: &str) {
    // If standard error is closed, the exit code still carries the verdict.
    let _ = writeln!(io::stderr(), "openai-cert-exporter: {message}");
}

/// One line as monitoring plugins print it, with performance data if there is any.
pub(super) fn nagios_line(status: Status, message: &str, performance: &str) -> String {
    // A bar begins performance data, and a line break ends what is shown.
    let message = message.replace('|', "/");
    let message = message.split(char::is_control).collect::<Vec<_>>().join(" ");
    let bar = if performance.is_empty() { "" } else { " | " };
    format!("{status} - {message}{bar}{performance}\n")
}

pub(super) fn nagios(summary: &Summary<'_>, thresholds: Thresholds, now: f64) -> String {
    let (warning, critical) =
        (thresholds.warning / SECONDS_PER_DAY, thresholds.critical / SECONDS_PER_DAY);
    // U is how plugins say that there is no value.
    let days = |end: Option<UnixSeconds>| {
        end.map_or_else(|| "U".into(), |end| days_until(end, now).to_string())
    };
    let left = |name: &str, end| format!("{name}={};{warning}:;{critical}:", days(end));
    let uses = || summary.certificates.iter().map(|row| row.used);
    // A superseded certificate is never critical, but the thresholds of a figure say so.
    let current = uses().filter(|used| used.is_current());
    let expired = uses().filter(|used| used.is_active() && used.has_expired(now));
    let mut performance = vec![
        left("runway_days", summary.scopes.iter().filter_map(|row| row.coverage?.end()).min()),
        left("expiry_days", current.filter_map(|used| used.certificate.expires_at).min()),
        format!("certificates={};;;0", uses().count()),
        format!("active={};;;0", summary.active()),
        format!("expired={};;;0", expired.count()),
    ];
    if !summary.clients.is_empty() {
        let certificates = || summary.clients.iter().filter(|row| !row.is_issuer);
        let first = certificates().filter_map(|row| row.refused_from).min();
        let refused = certificates().filter(|row| row.is_refused());
        // Without thresholds: those of a client depend on the lifetime of its certificate.
        performance.push(format!("client_refusal_days={}", days(first)));
        performance.push(format!("client_refusals={};;;0", refused.count()));
    }
    let performance = if summary.scopes.is_empty() { String::new() } else { performance.join(" ") };
    nagios_line(summary.status, &summary.message(), &performance)
}

#[derive(Serialize)]
struct CheckReport<'a> {
    status: Status,
    exit_code: u8,
    message: String,
    #[serde(flatten)]
    at: Instants<1>,
    /// Why lists could not be read.
    failures: BTreeSet<FailureReason>,
    failed_lists: &'a [FailedList],
    #[serde(flatten)]
    document: Option<Document<'a>>,
}

pub(super) fn json(
    summary: &Summary<'_>,
    state: &PollState,
    now: f64,
) -> serde_json::Result<String> {
    let report = CheckReport {
        status: summary.status,
        exit_code: summary.status.code(),
        message: summary.message(),
        at: Instants([("at", Some(whole_second(now)))]),
        failures: state.failed().iter().map(|failed| failed.reason).collect(),
        failed_lists: state.failed(),
        document: state.snapshot.as_deref().map(|snapshot| {
            Document::new(&snapshot.inventory, state.clients.as_deref(), state.earliest_time(now))
        }),
    };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// Without a poll there is nothing to report but why.
pub(super) fn json_failure(message: &str, now: f64) -> serde_json::Result<String> {
    let report = CheckReport {
        status: Status::Unknown,
        exit_code: Status::Unknown.code(),
        message: message.into(),
        at: Instants([("at", Some(whole_second(now)))]),
        failures: BTreeSet::new(),
        failed_lists: &[],
        document: None,
    };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::fixture::{NOW, certificate, snapshot};
    use crate::inventory::Snapshot;
    use crate::poll_state::{ListName, PollResult, PollTiming};

    fn line(snapshot: Option<Arc<Snapshot>>, is_failing: bool) -> String {
        let timing =
            PollTiming { interval: Duration::from_secs(300), timeout: Duration::from_secs(240) };
        let (reason, message) = (FailureReason::Server, "answered 503|".into());
        let failed = FailedList {
            list: ListName::Projects,
            reason,
            status: Some(503),
            request_id: None,
            message,
        };
        let failed = is_failing.then_some(failed).into_iter().collect();
        let mut state = PollState::new(Instant::now(), timing);
        state.record(
            snapshot,
            PollResult { ended_at: NOW as f64, duration: Duration::ZERO, failed },
        );
        state.projects = false;
        let thresholds = Thresholds::default();
        nagios(&Summary::new(&state, NOW as f64, thresholds), thresholds, NOW as f64)
            .replace(" Projects are not monitored (set poll.projects = true to include them).", "")
    }

    #[test]
    fn a_plugin_prints_one_line() {
        let ending =
            |days| Some(snapshot(&[vec![certificate("cert_1").named("a|b\n'c'").valid(0..days)]]));
        for (line, expected) in [
            (
                line(ending(90), false),
                "OK - The organization is covered until 15 April 2027, when a/b\\u{a}'c' expires. Nothing is due before then. | runway_days=90;30:;7: expiry_days=90;30:;7: certificates=1;;;0 active=1;;;0 expired=0;;;0\n",
            ),
            (
                line(ending(3), true),
                "CRITICAL - The organization is covered for only 3 more days, until 18 January, 08:00 UTC, when a/b\\u{a}'c' expires. The last poll could not read everything: the list of projects (answered 503/). | runway_days=3;30:;7: expiry_days=3;30:;7: certificates=1;;;0 active=1;;;0 expired=0;;;0\n",
            ),
            (
                line(None, true),
                "UNKNOWN - The last poll could not read everything: the list of projects (answered 503/). Nothing is known: the list of certificates has not been read.\n",
            ),
            (
                line(Some(snapshot(&[vec![]])), false),
                "OK - Mutual TLS is not enforced at the organization: no certificate is active there. | runway_days=U;30:;7: expiry_days=U;30:;7: certificates=0;;;0 active=0;;;0 expired=0;;;0\n",
            ),
        ] {
            assert_eq!(line, expected);
        }
    }
}
