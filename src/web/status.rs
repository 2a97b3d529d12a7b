//! The status page: the state in a sentence, and a timeline for every scope, client and certificate.

use std::collections::HashSet;
use std::sync::Arc;

use askama::{Template, filters};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_FRAME_OPTIONS};
use axum::response::Response;

use super::AppState;
use super::cached::{CachedResponse, NotRendered};
use super::timeline::Axis;
use crate::inventory::{Severity, Thresholds, whole_second};
use crate::poll_state::PollState;
use crate::presentation::{
    Aim, Banner, CertificateRow, ClientRow, Link, Marked, NextStep, ScopeRow, Summary, ago,
    format_timestamp, humanize, name_failures,
};

/// The page loads only its own style, script and icons, and must not be framed.
const PAGE_CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                        base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Rows beyond these are only in the JSON. With 1,000 certificates and 400 scopes the page has about a megabyte.
const MAX_SCOPES: usize = 400;
const MAX_CERTIFICATES: usize = 1_000;
const MAX_CLIENTS: usize = 400;
/// Of each table. Beyond these only rows that need action, or that the summary names, are printed: see `@media print` in
/// status.css.
const ALWAYS_PRINTED: usize = 20;
/// The script fetches the page at half the poll interval, within these bounds, in seconds; at the lower one until there is
/// a snapshot.
const REFRESH: (f64, f64) = (2.0, 60.0);
/// A class and a title each.
const NO_COLUMNS: [(&str, &str); 0] = [];

pub(super) async fn page(
    State(app): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, NotRendered> {
    let state = Arc::clone(&app.state.borrow());
    let warnings = warnings(&app, &state);
    let render = move |state: &PollState, now| render(state, warnings, now);
    Ok(app.responses.page.get(state, |_, second| second, render).await?.respond(&headers))
}

fn render(state: &PollState, warnings: Vec<Warning>, now: f64) -> Option<CachedResponse> {
    let summary = Summary::new(state, now, Thresholds::default());
    let page = Page { warnings, ..Page::new(&summary, state, now) };
    let html = page.render().ok()?;
    let page = CachedResponse::volatile("text/html; charset=utf-8", html);
    let page = page.with(CONTENT_SECURITY_POLICY, PAGE_CSP).with(X_FRAME_OPTIONS, "DENY");
    page.with(REFERRER_POLICY, "no-referrer").with_gzip().ok()
}

#[derive(Template)]
#[template(path = "status.html", config = "src/web/askama.toml")]
struct Page<'a> {
    version: &'static str,
    refresh_seconds: f64,
    rendered_at: String,
    summary: &'a Summary<'a>,
    banner: Option<Banner>,
    /// When the least recently read list was read, if that is nothing to warn of.
    read: Option<String>,
    /// The same if that is too long ago.
    stale: Option<String>,
    warnings: Vec<Warning>,
    last_success: Option<RelativeTime>,
    last_failure: Option<(RelativeTime, String)>,
    next_poll: Option<RelativeTime>,
    interval: humantime::FormattedDuration,
    monitors_projects: bool,
    /// List entries that appeared twice.
    duplicates: u64,
    axis: Axis,
    scopes: Rows<'a, ScopeRow<'a>>,
    clients: Rows<'a, ClientRow<'a>>,
    active: Rows<'a, CertificateRow<'a>>,
    /// Of the inactive ones, those that have not expired.
    inactive: Rows<'a, CertificateRow<'a>>,
    expired: Rows<'a, CertificateRow<'a>>,
    /// Of the sections, and of the rows that are shown.
    anchors: HashSet<String>,
    /// The anchors of what the summary names.
    named: HashSet<&'a str>,
}

impl<'a> Page<'a> {
    fn new(summary: &'a Summary<'a>, state: &PollState, now: f64) -> Self {
        let (active, inactive) = summary.certificates.split_at(summary.active());
        let api_time = state.earliest_time(now);
        let is_usable = |row: &CertificateRow<'_>| !row.used.has_expired(api_time);
        let (inactive, expired) = inactive.split_at(inactive.partition_point(is_usable));
        let named = named(summary);
        let is_printed = |severity, anchor: String| {
            severity >= Severity::Warning || named.contains(anchor.as_str())
        };
        let certificate = |row: &CertificateRow<'_>| is_printed(row.severity, row.anchor());
        let active = Rows::new(active, MAX_CERTIFICATES, certificate);
        let inactive = Rows::new(inactive, MAX_CERTIFICATES - active.shown.len(), certificate);
        let left = MAX_CERTIFICATES - active.shown.len() - inactive.shown.len();
        let expired = Rows::new(expired, left, certificate);
        let scope = |row: &ScopeRow<'_>| is_printed(row.severity, row.anchor());
        let scopes = Rows::new(&summary.scopes, MAX_SCOPES, scope);
        let client = |row: &ClientRow<'_>| is_printed(row.severity, row.anchor());
        let clients = Rows::new(&summary.clients, MAX_CLIENTS, client);
        let certificates = [active.shown, inactive.shown, expired.shown].into_iter().flatten();
        let anchors = certificates
            .map(CertificateRow::anchor)
            .chain(scopes.shown.iter().map(ScopeRow::anchor))
            .chain(clients.shown.iter().map(ClientRow::anchor))
            .chain(["scopes", "clients", "active"].map(str::to_owned));
        let refresh = (state.timing.interval.as_secs_f64() / 2.0).clamp(REFRESH.0, REFRESH.1);
        let certificates = summary.certificates.iter().map(|row| &row.used.certificate);
        let dates =
            certificates.flat_map(|certificate| [certificate.valid_at, certificate.expires_at]);
        let past = |at: f64| RelativeTime {
            distance: ago(at, now),
            date: format_timestamp(whole_second(at)),
        };
        let next = |at: f64| RelativeTime {
            distance: format!("in {}", humanize((at - now).max(0.0))),
            ..past(at)
        };
        let banner = Banner::new(state, now);
        let read = state.oldest_read_at().map(|at| ago(at, now));
        let (last_failure, snapshot) = (state.last_failure.as_ref(), state.snapshot.as_deref());
        Self {
            version: env!("CARGO_PKG_VERSION"),
            refresh_seconds: if state.snapshot.is_some() { refresh } else { REFRESH.0 },
            rendered_at: format_timestamp(whole_second(now)),
            read: read.clone().filter(|_| banner.is_none()),
            stale: read.filter(|_| state.is_stale(now)),
            banner,
            warnings: Vec::new(),
            last_success: state.last_success_at.map(past),
            last_failure: last_failure
                .map(|poll| (past(poll.ended_at), name_failures(&poll.failed, snapshot))),
            next_poll: state.next_poll_at.map(next),
            interval: humantime::format_duration(state.timing.interval),
            monitors_projects: state.projects,
            duplicates: state
                .snapshot
                .as_deref()
                .map_or(0, |snapshot| snapshot.inventory.duplicates()),
            axis: Axis::new(now, dates.flatten()),
            anchors: anchors.collect(),
            named,
            scopes,
            clients,
            active,
            inactive,
            expired,
            summary,
        }
    }
}

impl Page<'_> {
    /// A name as HTML, linked to its row if that is shown.
    fn name(&self, text: &str, anchor: &str) -> String {
        let name = format!("<bdi>{}</bdi>", escape(text));
        if self.anchors.contains(anchor) {
            format!("<a href=\"#{}\">{name}</a>", escape(anchor))
        } else {
            name
        }
    }

    fn link(&self, to: &Link) -> String {
        self.name(&to.name, &to.anchor)
    }

    /// The class by which a row that the summary names is printed.
    fn print_class(&self, anchor: &str) -> &'static str {
        if self.named.contains(anchor) { " named" } else { "" }
    }

    /// A text as HTML, its marked names linked.
    fn linked(&self, marked: &Marked) -> String {
        let piece = |(text, anchor): (&str, Option<&str>)| match anchor {
            Some(anchor) => self.name(text, anchor),
            None => escape(text),
        };
        marked.pieces().map(piece).collect()
    }

    /// What keeps the first scope from stopping, where that scope is named, and what else is to be done.
    fn steps(&self) -> (Vec<&NextStep>, Vec<&NextStep>) {
        let is_named = self.summary.first_to_stop.as_ref().is_some_and(|it| it.is_one_place);
        self.summary.next_steps.iter().partition(|next| is_named && next.aim == Aim::FirstScope)
    }

    /// Where a certificate is active, as HTML.
    fn places(&self, row: &CertificateRow<'_>) -> String {
        let (links, more) = row.places();
        let more = (more > 0).then(|| format!("{more} more"));
        links.iter().map(|link| self.link(link)).chain(more).collect::<Vec<_>>().join(", ")
    }
}

/// The anchors of what the headline and the sentences below it name.
fn named<'a>(summary: &'a Summary<'_>) -> HashSet<&'a str> {
    let next_steps = summary.next_steps.iter().map(|next| &next.text);
    let findings = summary.findings.iter().map(|finding| &finding.text);
    let first_to_stop = summary.first_to_stop.iter().map(|first| &first.text);
    let texts = [&summary.headline].into_iter().chain(first_to_stop).chain(&summary.detail);
    let texts = texts.chain(next_steps).chain(findings);
    texts.flat_map(Marked::pieces).filter_map(|(_, anchor)| anchor).collect()
}

fn escape(text: &str) -> String {
    // Escaping a string cannot fail.
    filters::escape(text, filters::Html).map(|text| text.to_string()).unwrap_or_default()
}

/// The first rows of a table, and how many it has in all.
struct Rows<'a, T> {
    shown: &'a [T],
    total: usize,
    /// Of those that are shown.
    unprinted: usize,
}

impl<'a, T> Rows<'a, T> {
    fn new(rows: &'a [T], max: usize, is_printed: impl Fn(&T) -> bool) -> Self {
        let shown = &rows[..rows.len().min(max)];
        let others = shown.iter().skip(ALWAYS_PRINTED);
        let unprinted = others.filter(|row| !is_printed(row)).count();
        Self { shown, total: rows.len(), unprinted }
    }

    fn hidden(&self) -> usize {
        self.total - self.shown.len()
    }
}

/// A lead and a text.
type Warning = (&'static str, String);

/// What is amiss with the exporter itself, although what is shown is right.
fn warnings(app: &AppState, state: &PollState) -> Vec<Warning> {
    let config = (app.config_in_force.get() == 0).then(|| {
        (
            "A new configuration was refused.",
            "The previous one stays in use; the log says why.".into(),
        )
    });
    let web_config = app.metrics.is_refused().then(|| {
        let text = "The previous certificates and users stay in use; the log says why.";
        ("A change to the web configuration was refused.", text.into())
    });
    let tls = state.tls_fault.as_ref().map(|fault| {
        let text = format!("Those before stay in use, but a restart would lose them: {fault}.");
        ("The files for TLS to the API cannot be used.", text)
    });
    let state_file = state.state_file_fault.as_ref().map(|fault| {
        let text =
            format!("A restart would lose what has been read since the last write: {fault}.");
        ("The state file cannot be written.", text)
    });
    [config, web_config, tls, state_file].into_iter().flatten().collect()
}

/// An instant, and how far it is from now in words.
struct RelativeTime {
    distance: String,
    date: String,
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use regex::Regex;
    use serde_json::Value;

    use super::super::api::Polls as PollsDocument;
    use super::*;
    use crate::check;
    use crate::cli::Format;
    use crate::fixture::{DAY, NOW, certificate, group, lists, snapshot};
    use crate::inventory::{Certificate, Inventory, Lists, Project, Snapshot};
    use crate::poll_state::{FailedList, FailureReason, ListName, PollResult, PollTiming};

    /// After a poll, if one has ended, with this result.
    fn state(read: Option<Vec<Vec<Certificate>>>, result: Option<Vec<ListName>>) -> PollState {
        let timing =
            PollTiming { interval: Duration::from_secs(300), timeout: Duration::from_secs(240) };
        let mut state = PollState::new(Instant::now(), timing);
        state.snapshot = read.map(|read| snapshot(&read));
        state.projects = !state.snapshot.as_deref().is_some_and(Snapshot::lists_no_project);
        let failed = |list| FailedList {
            list,
            reason: FailureReason::Server,
            status: Some(503),
            request_id: None,
            message: "answered 503".into(),
        };
        if let Some(result) = result {
            let failed = result.into_iter().map(failed).collect();
            state.record(
                None,
                PollResult { ended_at: NOW as f64, duration: Duration::ZERO, failed },
            );
        }
        state
    }

    fn ending(id: &str, days: i64) -> Certificate {
        certificate(id).valid(days - 365..days)
    }

    /// Of these lists, read just now.
    fn state_of(lists: Lists, failed: Vec<ListName>) -> PollState {
        let projects_read_at = vec![NOW as f64; lists.projects.len()];
        let snapshot = Snapshot {
            inventory: Inventory::new_or_unchanged(None, lists, &group("^([a-z]+)-")),
            projects_read_at,
            ..Snapshot::clone(&snapshot(&[vec![]]))
        };
        let projects = !snapshot.lists_no_project();
        PollState { projects, snapshot: Some(Arc::new(snapshot)), ..state(None, Some(failed)) }
    }

    #[test]
    fn names_lead_to_rows_that_are_shown() {
        let links = Regex::new("href=\"#([^\"]*)").unwrap();
        let own = |days| vec![ending("far", days).named("far & <away>")];
        for (projects, is_shown) in [(3, true), (2 * MAX_SCOPES, false)] {
            let mut lists = vec![own(90); projects];
            lists[0] = vec![ending("cert_near", 3)];
            lists.push(vec![ending("cert_own", 99)]);
            let state = state(Some(lists), Some(vec![]));
            let summary = Summary::new(&state, NOW as f64, Thresholds::default());
            let page = Page::new(&summary, &state, NOW as f64).render().unwrap();
            for text in [
                "when <a href=\"#cert_near\"><bdi>cert_near</bdi></a> expires",
                "<td role=\"cell\" class=\"k\"><a href=\"#cert_near\">",
                "<tr role=\"row\" id=\"cert_far\"",
                "<a href=\"#cert_far\"><bdi>far &#38; &#60;away&#62;</bdi></a>",
            ] {
                assert!(page.contains(text), "{text}\n{page}");
            }
            let last = format!("proj_{}", projects - 1);
            assert!(page.contains(&format!("<bdi>{last}</bdi>")), "its certificate names it");
            assert_eq!(page.contains(&format!("href=\"#{last}\"")), is_shown);
            for link in links.captures_iter(&page) {
                let row = format!("id=\"{}\"", &link[1]);
                assert_eq!(page.matches(&row).count(), 1, "{row}");
            }
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of situations")]
    fn page_check_and_json_agree() {
        let link_tags = Regex::new("</?(a|bdi)\\b[^>]*>").unwrap();
        let labels = Regex::new("class=\"s\"><svg.*?</svg>(.*?)</td>").unwrap();
        let well = || Some(vec![vec![ending("a", 90)]]);
        let organization = |certificates: Vec<Certificate>| lists(&[certificates]);
        let mut malformed = organization(vec![ending("a", 90)]);
        Arc::make_mut(&mut malformed.organization).malformed.add("name");
        let mut hidden = organization(vec![]);
        Arc::make_mut(&mut hidden.organization).malformed.add("active");
        Arc::make_mut(&mut hidden.organization).hidden = 1;
        let mut unselected = organization(vec![ending("a", 90)]);
        unselected.project_faults.unselected = 2;
        let unread = || {
            let project = |id: &str| Project { id: id.into(), name: None, archived: false };
            Lists {
                unread: vec![project("p"), project("q")],
                ..organization(vec![ending("a", 90)])
            }
        };
        let mut unlisted = state(well(), Some(vec![ListName::Projects]));
        let unlisted_snapshot = Snapshot {
            projects_listed_at: None,
            ..Snapshot::clone(unlisted.snapshot.as_ref().unwrap())
        };
        unlisted.snapshot = Some(Arc::new(unlisted_snapshot));
        unlisted.projects = true;
        let stale = PollState {
            projects: false,
            snapshot: Some(Arc::new(Snapshot {
                organization_read_at: (NOW - DAY) as f64,
                ..Snapshot::clone(&snapshot(&well().unwrap()))
            })),
            ..state(None, None)
        };
        let superseded = [ending("a", 3).named("edge-2026"), ending("b", 300).named("edge-2027")];
        let enforcing =
            |certificates: Vec<Certificate>| state(Some(vec![certificates]), Some(vec![]));
        let of_organization = PollState { projects: false, ..enforcing(vec![ending("a", 90)]) };
        let not_enforced = PollState { projects: false, ..enforcing(vec![]) };
        let (covered, incomplete) =
            ("The organization is covered until ", "Not everything is known");
        for (name, state, status, color, badge, headline) in [
            ("ok", state(well(), Some(vec![])), "ok", "ok", "Healthy", covered),
            (
                "warning",
                enforcing(vec![ending("a", 20)]),
                "warning",
                "warning",
                "Act soon",
                "The organization is covered for only 20 more days",
            ),
            (
                "critical",
                enforcing(vec![ending("a", 3)]),
                "critical",
                "critical",
                "Act now",
                "The organization is covered for only 3 more days",
            ),
            (
                "refused",
                enforcing(vec![ending("a", -3)]),
                "critical",
                "critical",
                "Act now",
                "Requests from the organization are refused: no active certificate has been valid since ",
            ),
            (
                "only future anchors",
                enforcing(vec![certificate("a").valid(1..90)]),
                "critical",
                "critical",
                "Act now",
                "Requests from the organization are refused: no active certificate is valid before ",
            ),
            (
                "gap",
                enforcing(vec![ending("a", 20), certificate("b").valid(21..90)]),
                "warning",
                "warning",
                "Act soon",
                "The organization is covered for only 20 more days, until 4 February 2027, when a expires, and again from ",
            ),
            (
                "undated",
                enforcing(vec![certificate("a")]),
                "warning",
                "warning",
                "Act soon",
                "The organization is covered only by certificates without a known end.",
            ),
            (
                "not enforced",
                enforcing(vec![]),
                "ok",
                "off",
                "Not enforced",
                "Mutual TLS is not enforced at the organization: ",
            ),
            ("projects off", of_organization, "ok", "ok", "Healthy", covered),
            (
                "projects off, not enforced",
                not_enforced,
                "ok",
                "off",
                "Not enforced",
                "Mutual TLS is not enforced at the organization: ",
            ),
            (
                "superseded",
                enforcing(superseded.to_vec()),
                "warning",
                "warning",
                "Act soon",
                "edge-2026 (superseded by edge-2027) expires in 3 days.",
            ),
            (
                "malformed",
                state_of(malformed, vec![]),
                "warning",
                "warning",
                incomplete,
                "1 list entry could not be read in full.",
            ),
            (
                "malformed, perhaps active",
                state_of(hidden, vec![]),
                "warning",
                "warning",
                incomplete,
                "Whether the organization enforces mutual TLS is not known.",
            ),
            (
                "filters leave nothing",
                state_of(unselected, vec![]),
                "warning",
                "warning",
                incomplete,
                "The filters poll.project_include and poll.project_exclude leave out all 2 projects.",
            ),
            (
                "projects unread",
                state_of(
                    unread(),
                    vec![ListName::Project("p".into()), ListName::Project("q".into())],
                ),
                "warning",
                "warning",
                incomplete,
                "2 projects could not be read.",
            ),
            (
                "projects unread, then nothing",
                state_of(unread(), vec![ListName::Organization]),
                "warning",
                "warning",
                incomplete,
                "2 projects could not be read.",
            ),
            (
                "list of projects unread",
                unlisted,
                "warning",
                "warning",
                incomplete,
                "The list of projects has not been read yet.",
            ),
            (
                "failed, old snapshot",
                state(well(), Some(vec![ListName::Organization])),
                "warning",
                "warning",
                "Healthy when last seen",
                covered,
            ),
            (
                "failed, not enforced",
                state(Some(vec![vec![]]), Some(vec![ListName::Organization])),
                "warning",
                "warning",
                "Not enforced when last seen",
                "Mutual TLS is not enforced at the organization: ",
            ),
            ("stale", stale, "warning", "warning", "Healthy when last seen", covered),
            (
                "nothing yet",
                state(None, None),
                "unknown",
                "off",
                "Nothing known yet",
                "Waiting for the first poll to end.",
            ),
            (
                "nothing at all",
                state(None, Some(vec![ListName::Organization])),
                "unknown",
                "critical",
                "Nothing known yet",
                "Nothing is known: the list of certificates has not been read.",
            ),
        ] {
            let (shown, now, thresholds) = (Arc::new(state), NOW as f64, Thresholds::default());
            let summary = Summary::new(&shown, now, thresholds);
            assert!(
                summary.headline.to_string().starts_with(headline),
                "{name}: {}",
                summary.headline
            );
            let message = summary.message();
            let page = Page::new(&summary, &shown, now).render().unwrap();
            // Names within sentences are links.
            let page = link_tags.replace_all(&page, "");
            for text in [
                format!("<title>{badge}{} · ", summary.doubt),
                format!("<section class=\"hero {color}\""),
                format!("<h1 id=\"headline\">{}</h1>", summary.headline),
                summary.detail.iter().map(Marked::to_string).collect::<Vec<_>>().join(" "),
                Banner::new(&shown, now)
                    .map_or_else(String::new, |it| format!("<strong>{}</strong>", it.lead)),
            ] {
                assert!(page.contains(&text), "{name}: {text}\n{page}");
            }
            assert_eq!(
                page.contains("<div class=\"caveats\">\n<p class=\"banner "),
                !summary.caveats.is_empty(),
                "{name}"
            );

            let lower = page.to_lowercase();
            let is_offered =
                |state: &str| lower.contains(&format!("<option>{}</option>", state.to_lowercase()));
            for label in labels.captures_iter(&page).map(|found| found.get(1).unwrap().as_str()) {
                assert!(is_offered(label) || label.split(", ").all(is_offered), "{name}: {label}");
            }

            let report = |format| check::report(format, &summary, &shown, thresholds, now).unwrap();
            let word = status.to_uppercase();
            assert!(report(Format::Nagios).starts_with(&format!("{word} - {message}")), "{name}");
            let table = anstream::adapter::strip_str(&report(Format::Table)).to_string();
            assert!(table.contains(&format!("{word}  {message}\n")), "{name}: {table}");
            let json: Value = serde_json::from_str(&report(Format::Json)).unwrap();
            assert_eq!(
                (&json["status"], &json["message"]),
                (&status.into(), &message.as_str().into()),
                "{name}"
            );
            assert_eq!(
                json["exit_code"],
                ["ok", "warning", "critical", "unknown"]
                    .iter()
                    .position(|word| *word == status)
                    .unwrap(),
                "{name}"
            );
            let polls = serde_json::to_value(PollsDocument::new(&shown, now)).unwrap();
            assert_eq!(
                (&polls["status"], &polls["stale"]),
                (&status.into(), &(name == "stale").into()),
                "{name}"
            );
            // All count the same.
            let Some(scopes) = json["scopes"].as_array() else { continue };
            let certificates = json["certificates"].as_array().unwrap().len();
            let plural = |count: usize| if count == 1 { "" } else { "s" };
            for counted in [
                format!("<b>{certificates} certificate{}</b>", plural(certificates)),
                format!(
                    "{} active, {} scope{}",
                    summary.active(),
                    scopes.len(),
                    plural(scopes.len())
                ),
            ] {
                assert!(page.contains(&counted), "{name}: {counted}\n{page}");
            }
            let figures =
                format!("certificates={certificates};;;0 active={};;;0", summary.active());
            assert!(report(Format::Nagios).contains(&figures), "{name}: {figures}");
            assert_eq!(
                page.matches(">Not read yet</td>").count(),
                table.matches("Not read yet").count()
            );
            let unread = scopes.iter().filter(|scope| scope["read"] == false).count();
            assert_eq!(table.matches("Not read yet").count(), unread, "{name}: {table}");
            let off = "Projects are not monitored (set poll.projects = true to include them).";
            assert_eq!(message.contains(off), !shown.projects, "{name}");
        }
    }
}
