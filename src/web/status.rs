//! What is known, for people: one page that says in a sentence how things stand, and then shows everything on a line of
//! time.

use std::sync::LazyLock;

use askama::Template;
use axum::extract::State as Shared;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::task::spawn_blocking;

use super::AppState;
use super::entity::{Entity, NOSNIFF};
use super::timeline::Axis;
use crate::inventory::{
    Anchor, Attempt, Overview, ScopeState, Severity, Snapshot, Standing, State, Thresholds, UnixSeconds, date_and_time,
    end_in_words, legible, legible_name, length_in_words, unix_now,
};

/// The page loads its own style, script and icon, and nothing else; nobody may put it into theirs.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src \
                              'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Rows beyond these are left to the JSON, so that the page stays below a megabyte whatever upstream calls things.
const MAX_SCOPE_BYTES: usize = 250_000;
const MAX_CERTIFICATE_BYTES: usize = 700_000;
/// Of the projects at which a certificate is active, as many are named.
const NAMED_PROJECTS: usize = 2;
/// The script looks again at half the interval of the polls, within these bounds, in seconds; until there is something
/// to see, as often as it may.
const REFRESH: (f64, f64) = (2.0, 60.0);

static STYLESHEET: LazyLock<Entity> = LazyLock::new(|| Entity::new("text/css", include_str!("status.css")));
static SCRIPT: LazyLock<Entity> = LazyLock::new(|| Entity::new("text/javascript", include_str!("status.js")));
static ICON: LazyLock<Entity> = LazyLock::new(|| Entity::new("image/svg+xml", include_str!("status.svg")));

pub(super) async fn stylesheet(headers: HeaderMap) -> Response {
    STYLESHEET.answer(&headers)
}

pub(super) async fn script(headers: HeaderMap) -> Response {
    SCRIPT.answer(&headers)
}

pub(super) async fn icon(headers: HeaderMap) -> Response {
    ICON.answer(&headers)
}

pub(super) async fn page(Shared(app): Shared<AppState>) -> Response {
    let state = app.state.borrow().clone();
    // Making it takes long for many certificates, and others wait for this thread.
    let page = spawn_blocking(move || render(&state, unix_now())).await;
    let Ok(Ok(page)) = page else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be made\n").into_response();
    };
    let headers: [(HeaderName, HeaderValue); 6] = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY)),
        (X_CONTENT_TYPE_OPTIONS, NOSNIFF),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, page).into_response()
}

/// A colour with an icon; the state is always in words beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Ok,
    Warning,
    Critical,
    Off,
}

impl From<Severity> for Tone {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Ok => Self::Ok,
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        }
    }
}

impl std::fmt::Display for Tone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Off => "off",
        })
    }
}

#[derive(Template)]
#[template(path = "status.html", config = "src/web/askama.toml")]
struct Page {
    version: &'static str,
    refresh_seconds: f64,
    made_at: String,
    tone: Tone,
    badge: &'static str,
    headline: String,
    detail: String,
    banner: Option<Banner>,
    polls: Polls,
    tables: Option<Tables>,
}

/// Why what is shown may not be how things are.
struct Banner {
    tone: Tone,
    lead: String,
    text: String,
}

struct Polls {
    success: Option<Moment>,
    failure: Option<(Moment, String)>,
    next: Option<Moment>,
    interval: String,
    note: Option<String>,
}

/// An instant, and how far it is from now in words.
struct Moment {
    distance: String,
    date: String,
}

struct Tables {
    grid: String,
    scale: String,
    scopes: Rows,
    active: Rows,
    inactive: Rows,
}

/// Rows that have been rendered, and how many have not.
#[derive(Default)]
struct Rows {
    html: String,
    shown: usize,
    hidden: usize,
}

impl Rows {
    /// Renders what fits; the rest is only counted.
    fn fill<'a, T: 'a, R: Template>(
        items: impl Iterator<Item = &'a T>,
        max_bytes: usize,
        row: impl Fn(&T) -> R,
    ) -> askama::Result<Self> {
        let mut filled = Self::default();
        for item in items {
            if filled.html.len() >= max_bytes {
                filled.hidden += 1;
                continue;
            }
            row(item).render_into(&mut filled.html)?;
            filled.html.push('\n');
            filled.shown += 1;
        }
        Ok(filled)
    }

    fn total(&self) -> usize {
        self.shown + self.hidden
    }
}

#[derive(Template)]
#[template(path = "scope-row.html", config = "src/web/askama.toml")]
struct ScopeRow {
    tone: Tone,
    state: &'static str,
    name: Option<String>,
    id: Option<String>,
    note: Option<String>,
    line: String,
    left: String,
    end: Option<String>,
}

#[derive(Template)]
#[template(path = "certificate-row.html", config = "src/web/askama.toml")]
struct CertificateRow {
    tone: Tone,
    state: &'static str,
    name: Option<String>,
    id: String,
    line: String,
    left: String,
    end: Option<String>,
    /// None for one that is active nowhere, which has no successor either.
    active_at: Option<String>,
    successor: Option<String>,
}

fn render(state: &State, now: f64) -> askama::Result<String> {
    let outdated = state.is_stale(now);
    let mut page = Page {
        version: env!("CARGO_PKG_VERSION"),
        refresh_seconds: REFRESH.0,
        made_at: date_and_time(second(now)),
        tone: Tone::Off,
        badge: "Nothing known yet",
        headline: "Waiting for the first poll to end.".into(),
        detail: "Until a poll has read the whole list of certificates, nothing can be said of them.".into(),
        banner: banner(state, outdated, now),
        polls: Polls::new(state, now),
        tables: None,
    };
    if let Some(snapshot) = state.snapshot.as_deref() {
        page.refresh_seconds = (state.pace.interval.as_secs_f64() / 2.0).clamp(REFRESH.0, REFRESH.1);
        let overview = Overview::new(snapshot, now, Thresholds::default());
        // What was well once is no longer known to be.
        page.tone = overview.severity.max(if outdated { Severity::Warning } else { Severity::Ok }).into();
        page.badge = match (overview.severity, outdated) {
            (Severity::Ok, false) => "All well",
            (Severity::Warning, false) => "Act in time",
            (Severity::Critical, false) => "Act now",
            (Severity::Ok, true) => "All was well when last seen",
            (Severity::Warning, true) => "Act in time, and what is shown is stale",
            (Severity::Critical, true) => "Act now, and what is shown is stale",
        };
        page.tables = Some(Tables::new(state, &overview, now)?);
        page.headline = overview.headline;
        page.detail = overview.detail;
    } else if state.failing() {
        page.tone = Tone::Critical;
        page.headline = "Nothing is known: no poll has succeeded yet.".into();
    }
    page.render()
}

#[expect(clippy::cast_possible_truncation, reason = "the whole second that has begun")]
fn second(instant: f64) -> UnixSeconds {
    instant.floor() as UnixSeconds
}

fn ago(instant: f64, now: f64) -> String {
    format!("{} ago", length_in_words((now - instant).max(0.0)))
}

fn banner(state: &State, outdated: bool, now: f64) -> Option<Banner> {
    let failing = state.last_failure.as_ref().filter(|_| state.failing());
    let cause = failing.map_or_else(
        || "No poll has ended since.".into(),
        |failure| format!("The last poll failed {}: {}.", ago(failure.ended_at, now), fault(failure)),
    );
    match state.oldest_read_at() {
        Some(read_at) if outdated => {
            let age = length_in_words((now - read_at).max(0.0));
            let part = if state.snapshot_at.is_some_and(|at| at > read_at) { "part of what" } else { "what" };
            Some(Banner { tone: Tone::Critical, lead: format!("Stale: {part} is shown is {age} old."), text: cause })
        }
        Some(read_at) if failing.is_some() => {
            let text = format!("What is shown was read {}, or later.", ago(read_at, now));
            Some(Banner { tone: Tone::Warning, lead: cause, text })
        }
        Some(_) => None,
        None => failing.map(|_| Banner { tone: Tone::Critical, lead: cause, text: String::new() }),
    }
}

/// The reasons as they are counted, and what was said of one.
fn fault(attempt: &Attempt) -> String {
    let reasons: Vec<_> = attempt.failures.iter().map(|reason| reason.as_str()).collect();
    match &attempt.fault {
        Some(fault) => format!("{} ({})", reasons.join(", "), fault),
        None => reasons.join(", "),
    }
}

impl Moment {
    fn past(instant: f64, now: f64) -> Self {
        Self { distance: ago(instant, now), date: date_and_time(second(instant)) }
    }

    fn future(instant: f64, now: f64) -> Self {
        let distance = format!("in {}", length_in_words((instant - now).max(0.0)));
        Self { distance, date: date_and_time(second(instant)) }
    }
}

impl Polls {
    fn new(state: &State, now: f64) -> Self {
        Self {
            success: state.last_success_at.map(|at| Moment::past(at, now)),
            failure: state.last_failure.as_ref().map(|failure| (Moment::past(failure.ended_at, now), fault(failure))),
            next: state.next_poll_at.map(|at| Moment::future(at, now)),
            interval: humantime::format_duration(state.pace.interval).to_string(),
            note: state.snapshot.as_deref().and_then(note),
        }
    }
}

/// What the lists had that is not shown as it stood there; of what could not be read the overview tells.
fn note(snapshot: &Snapshot) -> Option<String> {
    match snapshot.duplicates() {
        0 => None,
        1 => Some("1 list entry came twice and is shown once".into()),
        many => Some(format!("{many} list entries came twice and are shown once")),
    }
}

impl Tables {
    fn new(state: &State, overview: &Overview<'_>, now: f64) -> askama::Result<Self> {
        let instants = overview
            .anchors
            .iter()
            .flat_map(|anchor| [anchor.certificate.valid_at, anchor.certificate.expires_at])
            .flatten();
        let axis = Axis::new(now, instants);
        // A list is late where the others have been read anew and a poll's time has passed since.
        let late = state.pace.interval.as_secs_f64() * 2.0 + state.pace.timeout.as_secs_f64();
        let rows = |active: bool, max_bytes| {
            let anchors = overview.anchors.iter().filter(|anchor| anchor.is_active() == active);
            Rows::fill(anchors, max_bytes, |anchor| CertificateRow::new(anchor, &axis, now))
        };
        let active = rows(true, MAX_CERTIFICATE_BYTES)?;
        let inactive = rows(false, MAX_CERTIFICATE_BYTES.saturating_sub(active.html.len()))?;
        let scopes =
            Rows::fill(overview.scopes.iter(), MAX_SCOPE_BYTES, |scope| ScopeRow::new(scope, &axis, late, now))?;
        Ok(Self { grid: axis.grid(), scale: axis.scale(), scopes, active, inactive })
    }
}

/// A name, unless there is none or one of blanks only.
fn shown(name: Option<&str>) -> Option<String> {
    name.filter(|name| !name.trim().is_empty()).map(|name| legible(name).into_owned())
}

impl ScopeRow {
    fn new(state: &ScopeState<'_>, axis: &Axis, late: f64, now: f64) -> Self {
        let enforced = state.standing != Standing::NotEnforced;
        let end = state.standing.runway_end();
        Self {
            tone: if enforced { state.severity.into() } else { Tone::Off },
            state: state.label(),
            name: state.project.map_or_else(|| Some("Organization".into()), |project| shown(project.name.as_deref())),
            id: state.project.map(|project| legible(&project.id).into_owned()),
            note: state
                .read_at
                .filter(|read_at| now - read_at > late)
                .map(|read_at| format!("as it was {}", ago(read_at, now))),
            line: axis.line(state.scope.coverage().iter().map(|(begin, end)| (Some(*begin), Some(*end)))),
            left: if enforced { end_in_words(end, now) } else { "–".into() },
            end: end.map(date_and_time),
        }
    }
}

impl CertificateRow {
    fn new(anchor: &Anchor<'_>, axis: &Axis, now: f64) -> Self {
        let certificate = anchor.certificate;
        let severity = anchor.severity(now, Thresholds::default());
        Self {
            tone: if anchor.is_active() { severity.into() } else { Tone::Off },
            state: anchor.label(now, Thresholds::default()),
            name: shown(certificate.name.as_deref()),
            id: legible(&certificate.id).into_owned(),
            line: axis.line(std::iter::once((certificate.valid_at, certificate.expires_at))),
            left: end_in_words(certificate.expires_at, now),
            end: certificate.expires_at.map(date_and_time),
            active_at: anchor.places(NAMED_PROJECTS),
            successor: anchor
                .successor
                .map(|successor| legible_name(successor.name.as_deref(), &successor.id).into_owned()),
        }
    }
}
