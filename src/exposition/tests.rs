//! The page against the library: text and gzip are byte for byte what its encoder makes of the same state and second,
//! whatever came before.

mod reference;
mod sequences;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::time::{Duration, Instant};

use flate2::bufread::GzDecoder;
use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts};
use regex::Regex;

use super::*;
use crate::clients::{
    AnchorContent, Assessment, Chain, Client, ClientFile, Contents, FailedFile, FileKind,
    Signatures,
};
use crate::fixture::{DAY, NOW, authority, certificate, group, lists};
use crate::inventory::{Certificate, Inventory, Lists, Snapshot};
use crate::poll_state::{FailedList, FailureReason, ListName, PollResult, PollTiming};
use reference::Reference;
use sequences::Step;

/// An exposition, and all that its page depends on.
struct Scraped {
    exposition: Exposition,
    state: Arc<PollState>,
    now: f64,
    pattern: &'static str,
    requests: IntCounterVec,
    lines: IntCounter,
    /// Without series at first. Its name is between those of two metrics that share a fragment.
    between: IntCounterVec,
    process: IntCounter,
}

impl Scraped {
    fn new() -> Self {
        let timing =
            PollTiming { interval: Duration::from_secs(300), timeout: Duration::from_secs(240) };
        let vector = |name, label| {
            IntCounterVec::new(Opts::new(name, "A \\ and\na line."), &[label]).unwrap()
        };
        let mut scraped = Self {
            exposition: Exposition::of_state_only(),
            state: Arc::new(PollState::new(Instant::now(), timing)),
            now: NOW as f64,
            pattern: "^([a-z])",
            requests: vector("openai_cert_exporter_api_requests_total", "code"),
            lines: IntCounter::new("openai_cert_exporter_log_lines_dropped_total", "Lines.")
                .unwrap(),
            between: vector("openai_certificate_between_total", "x"),
            process: IntCounter::new("process_cpu_seconds_total", "Seconds.").unwrap(),
        };
        scraped.exposition.registry = scraped.registry();
        scraped
    }

    fn registry(&self) -> Registry {
        let registry = Registry::new();
        let vectors = [&self.requests, &self.between]
            .map(|vector| Box::new(vector.clone()) as Box<dyn Collector>);
        let counters = [&self.lines, &self.process]
            .map(|counter| Box::new(counter.clone()) as Box<dyn Collector>);
        vectors
            .into_iter()
            .chain(counters)
            .for_each(|collector| registry.register(collector).unwrap());
        registry
    }

    fn polled(&mut self, snapshot: Option<Arc<Snapshot>>, failed: &[FailureReason]) {
        let failed = failed.iter().map(|reason| FailedList {
            list: ListName::Organization,
            reason: *reason,
            status: None,
            request_id: None,
            message: "".into(),
        });
        let duration = Duration::from_millis(1_234);
        let result = PollResult { ended_at: self.now, duration, failed: failed.collect() };
        let state = Arc::make_mut(&mut self.state);
        state.clock_offset = Some(-0.25);
        state.record(snapshot, result);
    }

    /// A poll has read these lists, each project's so many seconds ago.
    fn read(&mut self, lists: Lists, ago: &[f64]) {
        let projects_read_at =
            (0..lists.projects.len()).map(|n| self.now - ago.get(n).unwrap_or(&0.0)).collect();
        let before = self.state.snapshot.as_ref().map(|snapshot| &snapshot.inventory);
        let inventory = Inventory::new_or_unchanged(before, lists, &group(self.pattern));
        let snapshot = Snapshot {
            inventory,
            organization_read_at: self.now,
            projects_listed_at: Some(self.now),
            projects_read_at,
        };
        self.polled(Some(Arc::new(snapshot)), &[]);
    }

    fn lists(&self) -> Option<Lists> {
        self.state.snapshot.as_ref().map(|snapshot| snapshot.inventory.lists().clone())
    }

    fn text(&self) -> String {
        self.exposition.text(&self.state, self.now).unwrap().collect()
    }

    fn compressed(&self) -> Bytes {
        self.exposition.gzip(&self.state, self.now).unwrap()
    }

    fn gzip(&self) -> String {
        gunzip(&self.compressed())
    }

    /// Fails with the first line that differs; the whole page would bury it.
    #[track_caller]
    fn check(&self) {
        let registry = self.registry();
        registry.register(Box::new(Reference::new(&self.state, whole_second(self.now)))).unwrap();
        let expected = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for (how, page) in [("text", self.text()), ("gzip", self.gzip())] {
            let mut lines = page.split('\n').zip(expected.split('\n'));
            assert_eq!(lines.find(|(line, expected)| line != expected), None, "{how}");
            assert_eq!(page.len(), expected.len(), "{how}");
        }
    }
}

fn gunzip(member: &[u8]) -> String {
    let (mut decoder, mut text) = (GzDecoder::new(member), String::new());
    decoder.read_to_string(&mut text).unwrap();
    assert!(decoder.into_inner().is_empty(), "more than one member");
    text
}

/// The value of a series, by all that stands before it.
fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn head_comes_with_the_first_certificate_of_the_first_of_many_projects() {
    let mut scraped = Scraped::new();
    let mut read = vec![vec![]; 2_002];
    scraped.read(lists(&read), &[]);
    scraped.check();
    read[1].push(certificate("cert_new"));
    scraped.read(lists(&read), &[]);
    scraped.check();
    let head = "# TYPE openai_project_certificate_active gauge\nopenai_project_certificate_active{project_id=\"proj_0\"";
    assert!(scraped.gzip().contains(head));
}

#[test]
fn page_of_many_projects_is_what_the_library_writes() {
    let mut scraped = Scraped::new();
    let of_project = |project: i64| -> Vec<Certificate> {
        let id = |n: i64| format!("cert_{project}_{n}");
        (0..10).map(|n| certificate(&id(n)).named("ca-2026").valid(-n..project + n)).collect()
    };
    let mut read: Vec<_> = (0..=2_001).map(of_project).collect();
    scraped.read(lists(&read), &[]);
    scraped.check();
    scraped.now += 1_000.5 * DAY as f64;
    scraped.check();
    read.remove(1_000);
    scraped.read(lists(&read), &[1.0]);
    scraped.check();
}

/// Which texts are written anew, by their lifetimes.
#[test]
fn text_is_kept_for_its_lifetime() {
    let keys = |scraped: &Scraped| -> Vec<_> {
        let (state, now) = (&scraped.state, whole_second(scraped.now));
        runs().map(|run| key(run, &[], state, now)).collect()
    };
    let read = |last: i64| {
        lists(&[vec![certificate("a").valid(-1..1), certificate("b").valid(-1..last)], vec![]])
    };
    let mut scraped = Scraped::new();
    scraped.read(read(9), &[]);
    let day = DAY as f64;
    let all = ["Facts", "Second", "State"];
    for (step, expected) in [
        (Step::Pass(0.5), &[][..]),
        (Step::Pass(1.0), &["Second"]),
        (Step::Pass(2.0 * day), &all),
        (Step::Pass(-2.0 * day), &all),
        (Step::Fail(vec![FailureReason::Server]), &["State"]),
        (Step::ReadAgain(vec![5.0]), &["State"]),
        (Step::Read(read(9), vec![]), &["State"]),
        (Step::Read(read(8), vec![]), &all),
        (Step::Regroup("(-)"), &all),
    ] {
        let before = keys(&scraped);
        scraped.take(step.clone());
        let now = keys(&scraped);
        let changed =
            runs().zip(before.iter().zip(&now)).filter(|(_, (before, now))| before != now);
        let changed: BTreeSet<_> = changed
            .filter_map(|(run, _)| Some(format!("{:?}", run.first()?.series.lifetime())))
            .collect();
        assert_eq!(changed.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{step:?}");
    }
}

#[test]
fn clock_that_jumps_is_followed_both_ways() {
    let (first, second) =
        (certificate("first").valid(-100..10), certificate("second").valid(20..40));
    let mut scraped = Scraped::new();
    scraped.read(lists(&[vec![first, second]]), &[]);
    // (Days off, days left of the first, anchors that are valid, days from then to the end of the runway.)
    for (off, left, anchors, runway) in [
        (0, 10.0, 1.0, Some(10)),
        (15, -5.0, 0.0, Some(10)),
        (30, -20.0, 1.0, Some(40)),
        (0, 10.0, 1.0, Some(10)),
        (-50, 60.0, 1.0, Some(10)),
        (50, -40.0, 0.0, Some(40)),
        (-200, 210.0, 0.0, None),
        (36_500, -36_490.0, 0.0, Some(40)),
        (-36_500, 36_510.0, 0.0, None),
        (0, 10.0, 1.0, Some(10)),
    ] {
        scraped.now = (NOW + off * DAY) as f64 + 0.4;
        for (how, page) in [("text", scraped.text()), ("gzip", scraped.gzip())] {
            let days = "openai_certificate_days_until_expiry{certificate_id=\"first\",certificate_name=\"\"}";
            let of_scope = |name: &str| {
                value(
                    &page,
                    &format!(
                        "openai_mtls_{name}{{scope=\"organization\",project_id=\"\",project_name=\"\"}}"
                    ),
                )
            };
            assert_eq!(value(&page, days), Some(left), "{off} days off, {how}");
            assert_eq!(of_scope("active_certificates"), Some(anchors), "{off} days off, {how}");
            let end = runway.map(|days| (NOW + days * DAY) as f64);
            assert_eq!(of_scope("runway_end_timestamp_seconds"), end, "{off} days off, {how}");
        }
    }
}

#[test]
fn scrapes_of_one_state_within_a_second_share_a_page() {
    let mut scraped = Scraped::new();
    let mut last = scraped.compressed();
    for (step, is_shared) in [
        (Step::Pass(0.9), true),
        (Step::Pass(0.1), false),
        (Step::Pass(0.5), true),
        (Step::Fail(vec![]), false),
        (Step::Pass(0.0), true),
    ] {
        scraped.take(step.clone());
        let page = scraped.compressed();
        assert_eq!(page.as_ptr() == last.as_ptr(), is_shared, "{step:?}");
        last = page;
    }
}

#[test]
fn text_comes_in_pieces() {
    let mut scraped = Scraped::new();
    let read: Vec<_> =
        (0..300).map(|n| vec![certificate(&format!("cert_{n}")).named(&"x".repeat(500))]).collect();
    scraped.read(lists(&read), &[]);
    let pieces: Vec<_> = scraped
        .exposition
        .text(&scraped.state, scraped.now)
        .unwrap()
        .map(|piece| piece.len())
        .collect();
    assert!(
        pieces.len() > 10 && pieces.iter().all(|length| (1..20_000).contains(length)),
        "{pieces:?}"
    );
}

#[test]
fn this_process_is_shown_only_where_asked() {
    let state = Scraped::new().state;
    let families = |exposition: Exposition| -> Vec<String> {
        let page: String = exposition.text(&state, 0.0).unwrap().collect();
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        types.map(str::to_owned).collect()
    };
    let all = families(Exposition::new(Registry::new()).unwrap());
    assert!(all.is_sorted(), "{all:?}");
    for name in ["openai_cert_exporter_build_info", "process_start_time_seconds"] {
        assert!(all.iter().any(|family| family == name), "{all:?}");
    }
    for family in families(Exposition::of_state_only()) {
        assert!(METRICS.iter().any(|metric| metric.name == family), "{family}");
    }
}

#[test]
fn table_is_sorted_and_free_of_what_would_be_escaped() {
    assert!(METRICS.is_sorted_by(|a, b| a.name < b.name));
    for metric in METRICS {
        assert!(!metric.help.is_empty() && !metric.help.contains(['\\', '\n']), "{}", metric.name);
        assert_eq!(metric.kind == "counter", metric.name.ends_with("_total"), "{}", metric.name);
    }
}

#[test]
fn name_type_and_help_text_of_each_family() {
    let mut heads = String::new();
    for metric in METRICS {
        metric.write_head(&mut heads);
    }
    insta::assert_snapshot!(heads);
}

/// Metrics of the table in the README, each with its labels where they are named.
fn documented() -> BTreeMap<&'static str, Option<&'static str>> {
    let readme = include_str!("../../README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("Metrics\n")).unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let names = cells.flat_map(|cell| cell.split('`').step_by(2));
    names
        .map(|name| {
            name.split_once('{')
                .map_or((name, None), |(name, labels)| (name, labels.strip_suffix('}')))
        })
        .collect()
}

#[test]
fn readme_names_every_metric_and_no_other() {
    // Of the registry.
    const OTHERS: [&str; 12] = [
        "openai_cert_exporter_api_request_duration_seconds",
        "openai_cert_exporter_api_requests_total",
        "openai_cert_exporter_api_retries_total",
        "openai_cert_exporter_api_tls_last_reload_successful",
        "openai_cert_exporter_build_info",
        "openai_cert_exporter_client_certificate_not_after_timestamp_seconds",
        "openai_cert_exporter_config_last_reload_success_timestamp_seconds",
        "openai_cert_exporter_config_last_reload_successful",
        "openai_cert_exporter_log_lines_dropped_total",
        "openai_cert_exporter_web_certificate_not_after_timestamp_seconds",
        "openai_cert_exporter_web_config_last_reload_successful",
        "process_*",
    ];
    let mut documented = documented();
    assert_eq!(OTHERS.map(|name| documented.remove(name).is_some()), [true; OTHERS.len()]);
    assert!(
        METRICS.iter().map(|metric| metric.name).eq(documented.keys().copied()),
        "{documented:?}"
    );
    for metric in METRICS {
        let labels = documented[metric.name];
        assert!(
            labels.is_none_or(|labels| labels == metric.series.labels().join(",")),
            "{} {labels:?}",
            metric.name
        );
    }
}

/// A client with certificates to these days from now, and issuers.
fn client(
    name: &str,
    projects: Option<&str>,
    certificates: &[String],
    issuers: &[String],
) -> Client {
    let file = |kind: FileKind, number: usize, pem: &String| ClientFile {
        path: format!("/{name}/{number}").into(),
        kind,
        chain: Arc::new(match kind {
            FileKind::Certificate => Chain::from_pem(pem.as_bytes()).unwrap(),
            FileKind::Issuer => Chain::of_issuer_pem(pem.as_bytes()).unwrap(),
        }),
    };
    let of = |kind, pems: &[String]| -> Vec<_> {
        pems.iter().enumerate().map(|(number, pem)| file(kind, number, pem)).collect()
    };
    let files = [of(FileKind::Certificate, certificates), of(FileKind::Issuer, issuers)].concat();
    let failed = vec![FailedFile { path: "/x".into(), message: "is empty".into() }];
    let projects = projects.map(|pattern| vec![Regex::new(pattern).unwrap()]);
    Client { name: name.into(), projects, files, failed }
}

#[test]
fn clients_are_on_the_page_as_they_are_at_its_second() {
    let ((root, issue), (other, issue_otherwise)) = (authority("root"), authority("other"));
    let certificates = [issue(10), issue(20), issue_otherwise(5)];
    let clients = vec![
        client("a", None, &certificates, &[root.clone(), other.clone()]),
        client("b \"x\"", Some("^proj_[01]$"), &certificates[1..], &[]),
        client("c", None, &[], &[other]),
    ];
    let several = AnchorContent::from_pem(&[&*root, &root].concat());
    let contents = Arc::new(Contents::from([("one".into(), Arc::new(several))]));
    let mut scraped = Scraped::new();
    let read = [
        vec![certificate("one").dated(None, Some(NOW + 15 * DAY)), certificate("two").inactive()],
        vec![certificate("one")],
        vec![certificate("two")],
    ];
    scraped.read(lists(&read), &[]);
    let signatures = Signatures::default();
    let show = |scraped: &mut Scraped, clients: Vec<Client>| {
        let inventory = scraped.state.snapshot.as_ref().map(|snapshot| &snapshot.inventory);
        let before = scraped.state.clients.clone();
        let clients = Assessment::new_or_unchanged(
            before.as_ref(),
            clients,
            &contents,
            inventory,
            &signatures,
        );
        Arc::make_mut(&mut scraped.state).clients = Some(clients);
    };
    show(&mut scraped, clients.clone());
    scraped.check();
    let before = scraped.state.clients.clone();
    show(&mut scraped, clients.clone());
    assert_eq!(before.as_ref().map(Arc::as_ptr), scraped.state.clients.as_ref().map(Arc::as_ptr));
    let accepted = r#"openai_client_certificate_accepted{client="a",file="/a/0",scope="organization",project_id="",project_name=""} "#;
    assert!(scraped.text().contains(&format!("{accepted}1\n")), "{}", scraped.text());
    scraped.now += (10 * DAY) as f64;
    scraped.check();
    assert!(scraped.text().contains(&format!("{accepted}0\n")));
    scraped.read(lists(&read[..2]), &[]);
    show(&mut scraped, clients[..2].to_vec());
    scraped.check();
    assert!(!scraped.text().contains(r#"client="c""#));
}
