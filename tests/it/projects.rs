//! How projects are polled: which are asked for and how, what becomes of those that fail, and how hard the API is pressed.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fleet::{Asked, Fleet, Has, Instead, List, anchor, project, project_with, status};
use crate::harness::{Exporter, KEY, Launch, all, until};
use crate::page::Page;
use crate::upstream::{certificate, certificate_with, certificates, page};

const ACTIVE: &str = "openai_project_certificate_active";
const READ_AT: &str = "openai_project_last_success_timestamp_seconds";
const POLLS: &str = "openai_cert_exporter_polls_total";
const UP: &str = "openai_cert_exporter_up";

/// Identifiers of the projects that are shown.
fn shown(page: &Page) -> Vec<&str> {
    page.labels(READ_AT, "project_id")
}

fn read_at(page: &Page, project: &str) -> Option<f64> {
    page.find(READ_AT, &[("project_id", project)])
}

/// The certificates that are shown of a project.
fn certificates_of<'a>(page: &'a Page, project: &str) -> Vec<&'a str> {
    let series = page.series(ACTIVE).into_iter().filter(|sample| sample.label("project_id") == project);
    series.map(|sample| sample.label("certificate_id")).collect()
}

/// What one poll of this organization shows.
async fn polled(has: Has) -> Page {
    let fleet = Fleet::of(has).await;
    fleet.once().start().await.page_after_polls(1).await
}

/// The page after at least `count` more polls than are over now.
async fn page_after_more_polls(exporter: &Exporter, count: f64) -> Page {
    let enough = exporter.page().await.one(POLLS) + count;
    exporter.page_when("more polls are over", |page| page.one(POLLS) >= enough).await
}

/// Which requests something happens to.
type Which = fn(&Asked) -> bool;

#[tokio::test]
async fn every_list_is_read_whole() {
    let mut has = Has { certificates: certificates(3), ..Has::default() };
    for number in 0..250 {
        let own = (0..number % 4).map(|own| certificate(&format!("cert_{number}_{own}"))).collect();
        has = has.with(&format!("proj_{number:03}"), own);
    }
    has = has.with("proj_large", (0..205).map(|own| certificate(&format!("cert_large_{own:03}"))).collect());
    let fleet = Fleet::of(has).await;
    let page = fleet.once().start().await.page_after_polls(1).await;

    assert_eq!(shown(&page).len(), 251);
    assert_eq!(page.series(ACTIVE).len(), 250 / 4 * (1 + 2 + 3) + 1 + 205);
    assert_eq!(certificates_of(&page, "proj_large").len(), 205);
    assert_eq!(page.certificates().len(), 3, "the organization's list alone");
    for family in ["enforced", "active_certificates", "runway_end_timestamp_seconds", "unknown_expiry_certificates"] {
        assert_eq!(page.series(&format!("openai_mtls_{family}")).len(), 1 + 251, "{family}");
    }
    assert_eq!(page.one(UP), 1.0);
    assert_eq!(page.one("openai_cert_exporter_vanished_projects"), 0.0);
    for (endpoint, requests) in [("certificates", 1.0), ("projects", 3.0), ("project_certificates", 253.0)] {
        let labels = [("endpoint", endpoint), ("code", "200")];
        assert_eq!(page.find("openai_cert_exporter_api_requests_total", &labels), Some(requests), "{endpoint}");
    }

    let asked = fleet.asked();
    assert_eq!(asked[0].list, List::Certificates, "the organization's list comes first");
    let queries = |list: &List| -> Vec<Vec<(String, String)>> {
        asked.iter().filter(|asked| asked.list == *list).map(|asked| asked.query.clone()).collect()
    };
    let pairs = |given: &[(&str, &str)]| -> Vec<(String, String)> {
        given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    };
    // The list of projects has no order to ask for.
    let all = [("limit", "100"), ("include_archived", "false")];
    let after = |id| [&all[..], &[("after", id)]].concat();
    assert_eq!(
        queries(&List::Projects),
        [pairs(&all), pairs(&after("proj_099")), pairs(&after("proj_199"))],
        "pages of projects"
    );
    let all = [("limit", "100"), ("order", "asc")];
    let after = |id| [&all[..], &[("after", id)]].concat();
    assert_eq!(
        queries(&List::Of("proj_large".into())),
        [pairs(&all), pairs(&after("cert_large_099")), pairs(&after("cert_large_199"))]
    );
}

#[tokio::test]
async fn projects_are_polled_only_where_that_is_asked_for() {
    let fleet = Fleet::of(Has::projects(3)).await;
    let page = Launch::once(&fleet.base_url()).start().await.page_after_polls(1).await;
    assert_eq!(fleet.asked().len(), 1);
    assert_eq!(shown(&page), [""; 0]);
    assert_eq!(page.labels("openai_mtls_enforced", "scope"), ["organization"]);
}

#[tokio::test]
async fn archived_projects_are_left_out() {
    let mut has = Has::projects(1);
    has.projects.extend([
        project_with("archived", json!({"status": "archived", "archived_at": 1_700_000_000})),
        project_with("only status", json!({"status": "archived"})),
        project_with("only date", json!({"archived_at": 1_700_000_000})),
        project_with("of the future", json!({"status": "dormant"})),
        json!({"id": "bare"}),
    ]);
    let fleet = Fleet::of(has).await;
    let page = fleet.once().start().await.page_after_polls(1).await;
    assert_eq!(shown(&page), ["bare", "of the future", "proj_000"]);
    assert!(fleet.asked().iter().all(|asked| !asked.is_of("archived")), "it is asked for");
    assert_eq!(page.one("openai_cert_exporter_malformed_certificates"), 0.0);
    assert_eq!(page.find(READ_AT, &[("project_id", "bare"), ("project_name", "")]).map(|at| at > 1.7e9), Some(true));
}

/// A failure of one project's list, and the reason as counted.
fn failures() -> Vec<(&'static str, Instead, &'static str)> {
    let endless = page(&[certificate("again")], true).to_string();
    let half = page(&certificates(1), true).to_string();
    vec![
        ("forbidden", status(403), "forbidden"),
        ("broken", status(500), "server"),
        ("refused", status(422), "client"),
        ("told to wait", Instead::Status(429, vec![("retry-after-ms", "1".into())]), "rate_limited"),
        ("garbage", Instead::Body("<html>".into()), "decode"),
        ("no list", Instead::Body("{}".into()), "decode"),
        ("without end", Instead::Body(endless), "pagination"),
        ("half of it", Instead::Body(half), "pagination"),
        ("slow", Instead::Late(Duration::from_secs(60)), "timeout"),
    ]
}

#[tokio::test]
async fn a_project_that_fails_keeps_its_last_list_while_others_go_on() {
    all(failures(), async |(what, instead, reason)| {
        let fleet = Fleet::of(Has::projects(6)).await;
        let exporter = fleet.often().set("api.request_timeout", "300ms").start().await;
        let before = exporter.page_after_polls(1).await;
        assert_eq!(before.one(UP), 1.0, "{what}");

        // Two fail for one reason; everything changes, the certificates at the organization and at every project.
        fleet.rule(move |asked| (asked.is_of("proj_001") || asked.is_of("proj_004")).then(|| instead.clone()));
        fleet.change(|has| {
            has.certificates = certificates(2);
            has.of_projects.values_mut().for_each(|own| own.push(certificate("another")));
        });
        let failing = exporter.page_when(what, |page| page.one(UP) == 0.0 && page.certificates().len() == 2).await;
        let later = page_after_more_polls(&exporter, 2.0).await;
        for page in [&failing, &later] {
            assert_eq!(shown(page).len(), 6, "{what}");
            for (project, stands) in [("proj_000", false), ("proj_001", true), ("proj_004", true), ("proj_005", false)]
            {
                let own = format!("cert_of_{project}");
                let expected = if stands { vec![own.as_str()] } else { vec!["another", &own] };
                assert_eq!(certificates_of(page, project), expected, "{what}: {project}");
            }
        }
        let stood = read_at(&later, "proj_001").unwrap();
        assert_eq!(stood, read_at(&failing, "proj_001").unwrap(), "{what}: it stands still");
        assert!(read_at(&later, "proj_000").unwrap() > stood, "{what}");
        // The organization's new anchors count at a project whose own list stands still.
        let scope = [("scope", "project"), ("project_id", "proj_001")];
        assert_eq!(later.find("openai_mtls_active_certificates", &scope), Some(3.0), "{what}");
        // Once a poll, however many projects fail.
        assert_eq!(later.failures().keys().copied().collect::<Vec<_>>(), [reason], "{what}");
        let counted = |page: &Page| page.failures()[reason];
        assert_eq!(counted(&later) - counted(&failing), later.one(POLLS) - failing.one(POLLS), "{what}");
        let success = "openai_cert_exporter_last_success_timestamp_seconds";
        assert_eq!(later.one(success), failing.one(success), "{what}");
        assert_eq!(exporter.status("/readyz").await, 200, "{what}");
        assert_eq!(exporter.status("/healthz").await, 200, "{what}");

        fleet.no_rule();
        let after = exporter.page_when("all is well again", |page| page.one(UP) == 1.0).await;
        assert_eq!(certificates_of(&after, "proj_001"), ["another", "cert_of_proj_001"], "{what}");
    })
    .await;
}

#[tokio::test]
async fn a_project_that_has_never_been_read_says_nothing() {
    let fleet = Fleet::ruled(Has::projects(3), |asked| asked.is_of("proj_001").then(|| status(403))).await;
    let exporter = fleet.often().start().await;
    let page = exporter.page_after_polls(2).await;
    assert_eq!(shown(&page), ["proj_000", "proj_002"]);
    assert_eq!(page.labels("openai_mtls_enforced", "project_id"), ["", "proj_000", "proj_002"]);
    assert_eq!(page.one(UP), 0.0);
    assert_eq!(exporter.status("/readyz").await, 200, "what could be read is shown");
    let lines = exporter.log_lines("lists not read");
    assert!(lines[0].contains("proj_001") && lines[0].contains("403"), "{}", lines[0]);
}

#[tokio::test]
async fn without_the_list_of_projects_all_of_them_stay() {
    let later_page = |asked: &Asked| asked.list == List::Projects && asked.query("after").is_some();
    let any_page = |asked: &Asked| asked.list == List::Projects;
    let cases: [(&str, Which, Instead, &str); 4] = [
        ("forbidden", any_page, status(403), "forbidden"),
        ("gone", any_page, status(404), "client"),
        ("broken off", later_page, status(500), "server"),
        ("without end", later_page, Instead::Body(page(&[project("proj_000")], true).to_string()), "pagination"),
    ];
    all(cases, async |(what, matches, instead, reason)| {
        let fleet = Fleet::of(Has::projects(30)).await;
        let exporter = fleet.often().set("api.page_size", "20").start().await;
        let before = exporter.page_after_polls(1).await;
        assert_eq!((before.one(UP), shown(&before).len()), (1.0, 30), "{what}");
        fleet.rule(move |asked| matches(asked).then(|| instead.clone()));
        exporter.page_when(what, |page| page.one(UP) == 0.0).await;
        fleet.change(|has| {
            has.certificates = certificates(2);
            has.projects.truncate(25);
            has.of_projects.values_mut().for_each(Vec::clear);
        });
        let page = page_after_more_polls(&exporter, 2.0).await;
        assert_eq!(page.certificates().len(), 2, "{what}: the organization's list was read");
        assert_eq!(shown(&page), shown(&before), "{what}");
        assert_eq!(page.series(ACTIVE), before.series(ACTIVE), "{what}");
        assert_eq!(page.failures().keys().copied().collect::<Vec<_>>(), [reason], "{what}");
        assert_eq!(exporter.status("/readyz").await, 200, "{what}");
        fleet.no_rule();
        exporter.page_when("all is well again", |page| shown(page).len() == 25).await;
    })
    .await;
}

#[tokio::test]
async fn without_the_organizations_list_nothing_changes() {
    let fleet = Fleet::of(Has::projects(3)).await;
    let exporter = fleet.often().start().await;
    exporter.page_after_polls(1).await;
    fleet.rule(|asked| (asked.list == List::Certificates).then(|| status(500)));
    let failing = exporter.page_when("a poll fails", |page| page.one(UP) == 0.0).await;
    fleet.change(|has| *has = Has::projects(5));
    let sent = fleet.asked().len();
    let later = page_after_more_polls(&exporter, 2.0).await;
    for family in [ACTIVE, READ_AT, "openai_mtls_enforced"] {
        assert_eq!(later.series(family), failing.series(family), "{family}");
    }
    let asked = fleet.asked();
    assert!(asked.len() > sent && asked[sent..].iter().all(|asked| asked.list == List::Certificates), "more was sent");
}

#[tokio::test]
async fn a_project_that_vanished_is_dropped_and_counted() {
    let fleet = Fleet::of(Has::projects(4)).await;
    let exporter = fleet.often().start().await;
    assert_eq!(shown(&exporter.page_after_polls(1).await).len(), 4);
    fleet.rule(|asked| (asked.is_of("proj_001") || asked.is_of("proj_002")).then(|| status(404)));
    let vanished = "openai_cert_exporter_vanished_projects";
    let page = exporter.page_when("projects vanish", |page| page.one(vanished) == 2.0).await;
    assert_eq!(shown(&page), ["proj_000", "proj_003"]);
    assert_eq!(page.labels("openai_mtls_enforced", "project_id"), ["", "proj_000", "proj_003"]);
    assert_eq!((page.one(UP), page.failures()), (1.0, [].into()), "it is no failure");
    fleet.no_rule();
    exporter.page_when("they are there again", |page| page.one(vanished) == 0.0 && shown(page).len() == 4).await;
}

#[tokio::test]
async fn series_follow_projects() {
    let fleet = Fleet::of(Has::projects(3)).await;
    let exporter = fleet.often().start().await;
    exporter.page_after_polls(1).await;
    fleet.change(|has| {
        has.projects[0]["name"] = "another name".into();
        has.projects.remove(1);
        *has = has.clone().with("proj_new", vec![certificate_with("cert_new", json!({"active": false}))]);
    });
    let page = exporter.page_when("the new one is shown", |page| shown(page).contains(&"proj_new")).await;
    assert_eq!(shown(&page), ["proj_000", "proj_002", "proj_new"]);
    let families = [ACTIVE, READ_AT, "openai_mtls_enforced", "openai_mtls_active_certificates"];
    for family in families {
        let of = |id: &str| {
            let series = page.series(family).into_iter().filter(|sample| sample.label("project_id") == id);
            series.map(|sample| sample.label("project_name")).collect::<Vec<_>>()
        };
        assert_eq!(of("proj_000"), ["another name"], "{family}");
        assert_eq!(of("proj_001"), [""; 0], "{family}");
        assert_eq!(of("proj_new"), ["name of proj_new"], "{family}");
    }
    let labels = [("project_id", "proj_new"), ("certificate_id", "cert_new"), ("certificate_name", "name of cert_new")];
    assert_eq!(page.find(ACTIVE, &labels), Some(0.0));
    for said in ["project renamed", "project removed", "project added"] {
        assert_eq!(exporter.log_lines(said).len(), 1, "{said}");
    }
}

#[tokio::test]
async fn an_identifier_is_escaped_in_a_path() {
    let hostile = [
        "a/../b",
        "a b",
        "a?limit=1#x",
        "%2e%2e",
        "%00",
        "a\\b",
        "é😀",
        "a+b&c=d;e",
        "tab\tin it",
        "line\nin it",
        "carriage\rin it",
        ".\t.",
        "\u{7f}",
        "...",
    ];
    let has = hostile.iter().fold(Has::default(), |has, id| has.with(id, vec![anchor("cert", true, (None, None))]));
    let fleet = Fleet::of(has).await;
    let page = fleet.once().start().await.page_after_polls(1).await;
    let asked: BTreeSet<_> = fleet
        .asked()
        .into_iter()
        .filter_map(|asked| match asked.list {
            List::Of(id) => Some(id),
            _ => None,
        })
        .collect();
    assert_eq!(asked, hostile.iter().map(ToString::to_string).collect());
    assert_eq!(shown(&page).into_iter().collect::<BTreeSet<_>>(), hostile.into());
    assert_eq!(page.one(UP), 1.0);
}

#[tokio::test]
async fn names_are_shown_whatever_is_in_them() {
    let names = ["", "a\"b", "back\\slash", "two\nlines", "tab\t\r", "}", "é😀\u{202e}", "NUL\0", &"x".repeat(5_000)];
    let mut has = Has::projects(names.len());
    for (project, name) in has.projects.iter_mut().zip(names) {
        project["name"] = name.into();
    }
    has.projects.push(project_with("with the key", json!({"name": format!("<{KEY}>")})));
    has.projects.push(project_with("without", json!({"name": null})));
    let page = polled(has).await;
    let mut expected: Vec<_> = names.map(|name| name.replace('\0', "\u{fffd}")).into();
    expected.extend(["<[redacted]>".into(), String::new()]);
    assert_eq!(page.labels(READ_AT, "project_name"), expected);
    assert_eq!(page.labels("openai_mtls_enforced", "project_name")[1..], expected);
}

#[tokio::test]
async fn entries_of_projects_are_read_one_by_one() {
    let mut has = Has::projects(3);
    has.projects.insert(0, json!(7));
    has.projects.insert(2, json!({"name": "no identifier"}));
    has.projects.insert(1, project_with("x", json!({"id": ""})));
    has.projects.insert(1, project(".."));
    has.projects.insert(1, project("."));
    has.projects.insert(1, project_with("numbered", json!({"name": 7})));
    has.projects.insert(1, project_with("dated", json!({"archived_at": "yesterday"})));
    // Twice, the later one under another name, and a third time on a page of its own.
    has.projects.insert(1, project_with("proj_002", json!({"name": "the earlier one"})));
    has.of_projects.get_mut("proj_000").unwrap().extend([json!({"id": 7}), certificate("twice"), certificate("twice")]);
    let fleet = Fleet::of(has).await;
    let exporter = fleet.once().set("api.page_size", "10").start().await;
    let page = exporter.page_after_polls(1).await;
    assert_eq!(shown(&page), ["proj_000", "proj_001", "proj_002"]);
    assert_eq!(page.find(READ_AT, &[("project_name", "the earlier one")]), None);
    assert_eq!(certificates_of(&page, "proj_000"), ["cert_of_proj_000", "twice"]);
    assert_eq!(page.one("openai_cert_exporter_malformed_certificates"), 8.0);
    assert_eq!(page.one("openai_cert_exporter_duplicate_certificates"), 2.0);
    assert_eq!(page.one(UP), 1.0);
    let asked = fleet.asked();
    assert_eq!(asked.iter().filter(|asked| asked.is_of("proj_002")).count(), 1, "once, though listed twice");
}

#[tokio::test]
async fn patterns_choose_projects_by_name_and_identifier() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = |text: &str| {
        let path = folder.path().join(format!("{}.toml", text.len()));
        std::fs::write(&path, format!("[poll]\n{text}\n")).unwrap();
        format!("--config.file={}", path.display())
    };
    let from_file = |text: &'static str| (text, Some(file(text)), None, None);
    let cases = [
        (from_file("project_include = \"prod\""), vec!["proj_1", "proj_2"]),
        (from_file("project_include = [\"^prod\", \"^proj_4$\"]"), vec!["proj_1", "proj_2", "proj_4"]),
        (from_file("project_exclude = [\"prod\", \"(?i)SAND\"]"), vec!["proj_4"]),
        (from_file("project_exclude = \"_[12]$\""), vec!["proj_3", "proj_4"]),
        (from_file("project_include = []\nproject_exclude = []"), vec!["proj_1", "proj_2", "proj_3", "proj_4"]),
        (from_file("project_include = [\"prod\"]\nproject_exclude = [\"eu\"]"), vec!["proj_1"]),
        (("environment", None, Some("^prod-us$|_3"), None), vec!["proj_1", "proj_3"]),
        (("environment", None, Some("proj"), Some("prod|_4")), vec!["proj_3"]),
        (("environment", None, Some("prod, eu"), None), vec![]),
    ];
    all(cases, async |((what, file, include, exclude), expected)| {
        let mut has = Has::projects(0);
        for (id, name) in [
            ("proj_1", json!("prod-us")),
            ("proj_2", json!("prod-eu")),
            ("proj_3", json!("sandbox")),
            ("proj_4", Value::Null),
        ] {
            has.projects.push(project_with(id, json!({"name": name})));
        }
        let fleet = Fleet::of(has).await;
        let mut launch = fleet.once();
        if let Some(file) = file {
            launch = launch.arg(&file);
        }
        for (key, value) in [("poll.project_include", include), ("poll.project_exclude", exclude)] {
            if let Some(value) = value {
                launch = launch.set(key, value);
            }
        }
        let page = launch.start().await.page_after_polls(1).await;
        assert_eq!(shown(&page), expected, "{what}");
        let asked = fleet.asked().iter().filter(|asked| asked.is_of_a_project()).count();
        assert_eq!(asked, expected.len(), "{what}: nothing is asked of the others");
        assert_eq!(page.one("openai_cert_exporter_vanished_projects"), 0.0, "{what}");
    })
    .await;
}

#[tokio::test]
async fn as_many_requests_as_allowed_are_under_way() {
    all([None, Some(1), Some(7), Some(32)], async |concurrency| {
        let bound = concurrency.unwrap_or(4);
        // Nothing is answered before the bound is reached. It is passed by then, or while late answers are awaited.
        let fleet = Fleet::ruled(Has::projects(150), move |asked| {
            asked.is_of_a_project().then_some(match asked.number % 2 {
                0 => Instead::Together(bound),
                _ => Instead::Late(Duration::from_millis(10)),
            })
        })
        .await;
        let mut launch = fleet.once();
        if let Some(concurrency) = concurrency {
            launch = launch.set("poll.concurrency", &concurrency.to_string());
        }
        let page = launch.start().await.page_after_polls(1).await;
        assert_eq!((page.one(UP), shown(&page).len()), (1.0, 150), "{bound}");
        assert_eq!(fleet.most_at_once(), bound);
    })
    .await;
}

#[tokio::test]
async fn a_429_holds_back_every_request() {
    let wait = Duration::from_millis(1_500);
    for header in [("retry-after-ms", "1500"), ("retry-after", "1.5")] {
        // Request 20 is answered with a wait while others are under way.
        let fleet = Fleet::ruled(Has::projects(60), move |asked| match asked.number {
            20 => Some(Instead::Status(429, vec![(header.0, header.1.into())])),
            _ => asked.is_of_a_project().then_some(Instead::Late(Duration::from_millis(50))),
        })
        .await;
        let exporter = fleet.once().set("api.max_retries", "1").start().await;
        let page = exporter.page_after_polls(1).await;
        assert_eq!((page.one(UP), shown(&page).len()), (1.0, 60));
        assert_eq!(page.one("openai_cert_exporter_api_retries_total"), 1.0);
        let asked = fleet.asked();
        let told = asked[20].at;
        // Those that were sent before the answer was known are no more than the others that may be under way.
        let meanwhile = asked[21..].iter().filter(|asked| asked.at < told + wait).count();
        assert!(meanwhile <= 3, "{meanwhile} requests were sent during the wait");
        assert_eq!(fleet.most_at_once(), 4, "as many as before go on afterwards");
    }
}

/// An API that lets so many requests through in each window of time, and asks for patience until the next.
fn limited(requests: usize, window: Duration, tell: bool) -> impl Fn(&Asked) -> Option<Instead> {
    let spent: Mutex<Option<(Instant, usize)>> = Mutex::new(None);
    move |asked| {
        let mut spent = spent.lock().unwrap();
        let (start, count) = match *spent {
            Some((start, count)) if asked.at < start + window => (start, count),
            _ => (asked.at, 0),
        };
        *spent = Some((start, count + 1));
        let left = start + window - asked.at;
        let wait = tell.then(|| ("retry-after-ms", (left.as_millis() + 1).to_string()));
        (count >= requests).then(|| Instead::Status(429, wait.into_iter().collect()))
    }
}

#[tokio::test]
async fn a_storm_of_429s_is_weathered() {
    let window = Duration::from_millis(100);
    for (requests, tell) in [(4, true), (20, true), (20, false)] {
        let fleet = Fleet::ruled(Has::projects(100), limited(requests, window, tell)).await;
        let page = fleet.once().set("api.max_retries", "3").start().await.page_after_polls(1).await;
        assert_eq!((page.one(UP), shown(&page).len()), (1.0, 100), "{requests}: {:?}", page.failures());
        assert!(fleet.most_at_once() <= 4);
    }
}

#[tokio::test]
async fn one_projects_wish_to_be_left_alone_does_not_hold_the_others() {
    // Overload of one project's shard, say. Only a 429 speaks of the key, and so of every request.
    let hour = || vec![("retry-after", "3600".to_owned())];
    let rule = move |asked: &Asked| asked.is_of("proj_001").then(|| Instead::Status(503, hour()));
    let fleet = Fleet::ruled(Has::projects(3), rule).await;
    let exporter = fleet.often().set("api.max_retries", "3").start().await;
    let page = exporter.page_after_polls(3).await;
    assert_eq!(shown(&page), ["proj_000", "proj_002"]);
    assert_eq!(page.failures().keys().copied().collect::<Vec<_>>(), ["rate_limited"]);
}

#[tokio::test]
async fn a_429_of_a_project_holds_the_next_poll_too() {
    let first = Mutex::new(true);
    let fleet = Fleet::ruled(Has::projects(3), move |asked| {
        let first = asked.is_of_a_project() && std::mem::take(&mut *first.lock().unwrap());
        first.then(|| Instead::Status(429, vec![("retry-after", "2".into())]))
    })
    .await;
    let exporter = fleet.often().set("poll.timeout", "1s").set("poll.concurrency", "1").start().await;
    let page = exporter.page_after_polls(1).await;
    assert_eq!(page.failures(), [("rate_limited", 1.0)].into());
    assert!(page.one("openai_cert_exporter_last_poll_duration_seconds") < 1.0, "it waits for nothing");
    assert_eq!(fleet.asked().len(), 3, "nothing is sent after it");
    until("the next poll", async || (fleet.asked().len() > 3).then_some(())).await;
    let asked = fleet.asked();
    assert!(asked[3].at - asked[2].at >= Duration::from_secs(2));
}

#[tokio::test]
async fn after_a_401_nothing_more_is_sent() {
    for (code, reason) in [("invalid_api_key", "unauthorized"), ("certificate_required", "mtls_required")] {
        let rule = move |asked: &Asked| (asked.number >= 10).then_some(Instead::Unauthorized(code));
        let fleet = Fleet::ruled(Has::projects(50), rule).await;
        let exporter = fleet.once().set("poll.concurrency", "1").set("api.max_retries", "3").start().await;
        let page = exporter.page_after_polls(1).await;
        assert_eq!(fleet.asked().len(), 11);
        assert_eq!(page.failures(), [(reason, 1.0)].into(), "what was not asked fails for the same reason");
        assert_eq!(shown(&page).len(), 8, "what had been read before is shown");
    }
}

#[tokio::test]
async fn what_was_read_by_the_deadline_is_published() {
    // Three pages of projects; the list of them goes on while reads of projects stand still.
    let fleet = Fleet::ruled(Has::projects(250), |asked| {
        let late = matches!(&asked.list, List::Of(id) if id.as_str() >= "proj_010");
        late.then_some(Instead::Late(Duration::from_secs(60)))
    })
    .await;
    let exporter = fleet.once().set("poll.timeout", "3s").start().await;
    let page = exporter.page_after_polls(1).await;
    assert_eq!(shown(&page), (0..10).map(|number| format!("proj_{number:03}")).collect::<Vec<_>>());
    assert_eq!(page.failures(), [("timeout", 1.0)].into());
    assert_eq!(page.one(UP), 0.0);
    assert_eq!(exporter.status("/readyz").await, 200);
    assert_eq!(fleet.asked().iter().filter(|asked| asked.list == List::Projects).count(), 3);
}

#[tokio::test]
async fn a_broken_list_of_projects_is_tried_again_ahead_of_projects() {
    let failed = Mutex::new(false);
    let fleet = Fleet::ruled(Has::projects(150), move |asked| match &asked.list {
        List::Projects if asked.query("after").is_some() => {
            let first = !std::mem::replace(&mut *failed.lock().unwrap(), true);
            first.then(|| status(503))
        }
        List::Of(_) => Some(Instead::Late(Duration::from_secs(60))),
        _ => None,
    })
    .await;
    let launch = fleet.once().set("api.max_retries", "1").set("poll.concurrency", "2").set("poll.timeout", "3s");
    let page = launch.start().await.page_after_polls(1).await;
    assert_eq!(page.failures(), [("timeout", 1.0)].into(), "that of the projects");
    assert_eq!(fleet.asked().iter().filter(|asked| asked.list == List::Projects).count(), 3);
}
