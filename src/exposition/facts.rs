//! What a page says that holds without the poll that said it, for a textfile whose next poll has failed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use regex::Regex;

use super::metrics::{METRICS, Metric, Series};
use super::series::push_label;
use crate::inventory::{days_until, whole_second};
use crate::poll_state::{ListName, PollState};

const LAST_SUCCESS: &str = "openai_cert_exporter_last_success_timestamp_seconds";
const NOT_AFTER: &str = "openai_certificate_not_after_timestamp_seconds";

/// The series that the page of `state` lacks since its poll has failed, as an `earlier` page had them: when a poll last
/// succeeded, and all that is known of the lists that were not read. Days are counted to `now`. Each series begins with
/// `constant_labels`, a comma after each of them; one that does not is of somebody else.
pub(crate) fn facts(earlier: &str, constant_labels: &str, state: &PollState, now: f64) -> String {
    let failed = state.failed().iter();
    let of_failed: Vec<_> = failed.filter_map(|failed| label_of(&failed.list)).collect();
    let is_lacking = |metric: &Metric, labels: &str| match metric.name {
        LAST_SUCCESS => !state.up(),
        _ if matches!(metric.series, Series::State(_) | Series::FailureReasons) => false,
        // Files need no poll.
        _ if matches!(metric.series, Series::Clients(_) | Series::ClientLeaves(_)) => false,
        _ if state.snapshot.is_none() => true,
        _ if labels.contains(OF_ORGANIZATION) => false,
        _ => of_failed.iter().any(|label| labels.contains(&**label)),
    };
    let family =
        |metric| family(metric, earlier, constant_labels, now, |labels| is_lacking(metric, labels));
    METRICS.iter().map(family).collect()
}

/// In the labels of the organization's scope.
const OF_ORGANIZATION: &str = "project_id=\"\"";

/// What is in the labels of every series that rests on a list of projects or of a project. Quotes in the values of other
/// labels are escaped.
fn label_of(list: &ListName) -> Option<String> {
    let mut label = "project_id=\"".to_owned();
    match list {
        // Without it there is no snapshot.
        // Nor does any series rest on a PEM that could not be read.
        ListName::Organization | ListName::Content(_) => return None,
        ListName::Projects => {}
        ListName::Project(id) => {
            push_label(&mut label, id);
            label.push('"');
        }
    }
    Some(label)
}

/// Nothing of `page` is taken that this program does not write: the file may be anybody's.
fn family(
    metric: &Metric,
    page: &str,
    constant_labels: &str,
    now: f64,
    is_lacking: impl Fn(&str) -> bool,
) -> String {
    let is_days = matches!(metric.series, Series::CertificatesNow(_));
    let source = if is_days { NOT_AFTER } else { metric.name };
    let mut labels = regex::escape(constant_labels);
    for name in metric.series.labels() {
        labels.extend([name, r#"="(?:[^"\\\n]|\\[\\"n])*","#]);
    }
    let labels = labels.strip_suffix(',').map(|labels| format!(r"\{{{labels}\}}"));
    let labels = labels.unwrap_or_default();
    let mut text = String::new();
    let Ok(line) = Regex::new(&format!(r"(?m)^{source}({labels}) (-?[0-9]+(?:\.[0-9]+)?)$")) else {
        return text;
    };
    let mut written = BTreeSet::new();
    for (_, [labels, value]) in line.captures_iter(page).map(|captures| captures.extract()) {
        let Ok(mut value) = value.parse::<f64>() else { continue };
        if !is_lacking(labels) || !written.insert(labels) {
            continue;
        }
        if text.is_empty() {
            metric.write_head(&mut text);
        }
        if is_days {
            value = days_until(whole_second(value), now);
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}{labels} {value}", metric.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::exposition::Exposition;
    use crate::fixture::{DAY, NOW, certificate, snapshot};
    use crate::inventory::{Snapshot, UnixSeconds};
    use crate::poll_state::{FailedList, FailureReason, ListName, PollResult, PollTiming};

    fn polled(snapshot: Option<Arc<Snapshot>>, reason: Option<FailureReason>) -> Arc<PollState> {
        let failed = reason.map(|reason| FailedList {
            list: ListName::Organization,
            reason,
            status: None,
            request_id: None,
            message: "".into(),
        });
        let timing = PollTiming { interval: Duration::ZERO, timeout: Duration::ZERO };
        let failed = failed.into_iter().collect();
        let result = PollResult { ended_at: NOW as f64 + 0.5, duration: Duration::ZERO, failed };
        let mut state = PollState::new(Instant::now(), timing);
        state.record(snapshot, result);
        Arc::new(state)
    }

    fn page(state: &Arc<PollState>, now: UnixSeconds) -> String {
        Exposition::of_state_only().text(state, now as f64).unwrap().collect()
    }

    #[test]
    fn what_a_page_says_of_certificates_outlives_its_poll() {
        let lists = [
            vec![certificate("a").named("x \"y\"\\\n{},").valid(-1..9), certificate("b")],
            vec![certificate("a").named("x").valid(-1..9)],
        ];
        let (good, failed) =
            (polled(Some(snapshot(&lists)), None), polled(None, Some(FailureReason::Server)));
        let later = NOW + DAY;
        let kept = facts(&page(&good, NOW), "", &failed, later as f64);
        // As a daemon that has read the same would say it later.
        let is_kept = |line: &&str| {
            let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
            name.starts_with(LAST_SUCCESS) || !name.starts_with("openai_cert_exporter")
        };
        let page_later = page(&good, later);
        assert_eq!(
            kept.lines().collect::<Vec<_>>(),
            page_later.lines().filter(is_kept).collect::<Vec<_>>()
        );
        assert_eq!(facts(&kept, "", &failed, later as f64), kept, "also from run to run");

        assert_eq!(facts(&page(&good, NOW), "", &good, later as f64), "", "this poll says it all");
        let partly = polled(Some(snapshot(&lists)), Some(FailureReason::Server));
        assert_eq!(
            facts(&page(&good, NOW), "", &partly, later as f64).lines().count(),
            3,
            "but for the last success"
        );
    }

    #[test]
    fn nothing_is_taken_that_this_program_has_not_written() {
        let failed = polled(None, Some(FailureReason::Server));
        let (name, labels) =
            ("openai_certificate_active", r#"certificate_id="a",certificate_name="b""#);
        let good = format!("{name}{{{labels}}} 1\n");
        let head = "# HELP openai_certificate_active Whether the certificate is active at the organization: 1 or 0.\n\
                    # TYPE openai_certificate_active gauge\n";
        for (earlier, expected) in [
            (good.clone(), format!("{head}{good}")),
            (format!("junk\n{good}{good}"), format!("{head}{good}")),
            (good.replace("} 1", "} one"), String::new()),
            (good.replace("} 1", "} 1 1700000000"), String::new()),
            (good.replace("certificate_name", "name"), String::new()),
            (good.replace("\"b\"", "\"b"), String::new()),
            (good.replace("\"b\"", "\"\\x\""), String::new()),
            (format!("{name} 1\n"), String::new()),
            (format!("{name}{{organization=\"acme\",{labels}}} 1\n"), String::new()),
            (good.trim_end()[..good.len() - 4].to_owned(), String::new()),
        ] {
            assert_eq!(facts(&earlier, "", &failed, NOW as f64), expected, "{earlier}");
        }
        let ours = format!("{name}{{organization=\"a.b\",{labels}}} 1\n");
        let constant = "organization=\"a.b\",";
        assert_eq!(
            facts(&(ours.replace("a.b", "axb") + &ours + &good), constant, &failed, NOW as f64),
            format!("{head}{ours}")
        );
    }
}
