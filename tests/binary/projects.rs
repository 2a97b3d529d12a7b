//! How projects are polled: which are asked for and how, what becomes of those that fail, and how hard the API is pressed.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{
    Answer, Api, DemoProject, List, Organization, Request, With as _, certificate, certificates,
    entry, list_page, organization, project, projects,
};
use crate::binary::KEY;
use crate::page::Page;
use crate::wait::{all, until};

const ACTIVE: &str = "openai_project_certificate_active";
const READ_AT: &str = "openai_project_last_success_timestamp_seconds";
const VANISHED: &str = "openai_cert_exporter_vanished_projects";

/// Identifiers of the projects that are shown.
fn shown(page: &Page) -> Vec<&str> {
    page.labels(READ_AT, "project_id")
}

fn read_at(page: &Page, project: &str) -> Option<f64> {
    page.find(READ_AT, &[("project_id", project)])
}

/// The certificates that are shown of a project.
fn certificates_of<'a>(page: &'a Page, project: &str) -> Vec<&'a str> {
    let series =
        page.series(ACTIVE).into_iter().filter(|sample| sample.label("project_id") == project);
    series.map(|sample| sample.label("certificate_id")).collect()
}

/// What the first poll of an API shows.
async fn polled(api: &Api) -> Page {
    api.once().projects().start().await.page_after_polls(1).await
}

/// A list of projects with these entries.
fn listed(entries: &[Value]) -> Answer {
    Answer::body(&list_page(entries, false))
}

#[tokio::test]
async fn every_list_is_read_whole() {
    let mut has = organization(certificates(3));
    has.projects = (0..110)
        .map(|number| {
            let own =
                (0..number % 4).map(|own| certificate(&format!("cert_{number}_{own}"))).collect();
            project(&format!("proj_{number:03}"), own)
        })
        .collect();
    has.projects.push(project(
        "proj_large",
        (0..205).map(|own| certificate(&format!("cert_large_{own:03}"))).collect(),
    ));
    let api = Api::of(has).await;
    let page = polled(&api).await;

    assert_eq!(shown(&page).len(), 111);
    assert_eq!(page.series(ACTIVE).len(), 110 / 4 * (1 + 2 + 3) + 1 + 205);
    assert_eq!(certificates_of(&page, "proj_large").len(), 205);
    assert_eq!(page.certificates().len(), 3, "the organization's list alone");
    for family in [
        "enforced",
        "active_certificates",
        "runway_end_timestamp_seconds",
        "unknown_expiry_certificates",
    ] {
        assert_eq!(page.series(&format!("openai_mtls_{family}")).len(), 1 + 111, "{family}");
    }
    assert_eq!((page.is_up(), page.one(VANISHED)), (true, 0.0));
    for (endpoint, requests) in
        [("certificates", 1.0), ("projects", 2.0), ("project_certificates", 113.0)]
    {
        let labels = [("endpoint", endpoint), ("code", "200")];
        assert_eq!(
            page.find("openai_cert_exporter_api_requests_total", &labels),
            Some(requests),
            "{endpoint}"
        );
    }

    let requests = api.requests();
    assert_eq!(requests[0].list, List::Certificates, "the organization's list comes first");
    let queries = |list: &List| -> Vec<Vec<(String, String)>> {
        requests
            .iter()
            .filter(|request| request.list == *list)
            .map(|request| request.query.clone())
            .collect()
    };
    let pairs = |given: &[(&str, &str)]| -> Vec<(String, String)> {
        given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    };
    // The list of projects has no order to ask for.
    let all = [("limit", "100"), ("include_archived", "false")];
    let after = |id| [&all[..], &[("after", id)]].concat();
    // As the demo lists them: the latest first.
    assert_eq!(queries(&List::Projects), [pairs(&all), pairs(&after("proj_011"))]);
    let all = [("limit", "100"), ("order", "asc")];
    let after = |id| [&all[..], &[("after", id)]].concat();
    assert_eq!(
        queries(&List::Of("proj_large".into())),
        [pairs(&all), pairs(&after("cert_large_099")), pairs(&after("cert_large_199"))]
    );
}

#[tokio::test]
async fn projects_are_polled_only_where_that_is_asked_for() {
    let api = Api::of(projects(3)).await;
    let page = api.once().start().await.page_after_polls(1).await;
    assert_eq!(api.count(), 1);
    assert_eq!(shown(&page), [""; 0]);
    assert_eq!(page.labels("openai_mtls_enforced", "scope"), ["organization"]);
}

#[tokio::test]
async fn archived_projects_are_left_out() {
    let api = Api::of(projects(2)).await.answering(|request| {
        (request.list == List::Projects).then(|| {
            listed(&[
                json!({"id": "proj_000", "status": "dormant"}),
                json!({"id": "archived", "status": "archived", "archived_at": 1_700_000_000}),
                json!({"id": "only status", "status": "archived"}),
                json!({"id": "only date", "archived_at": 1_700_000_000}),
                json!({"id": "proj_001"}),
            ])
        })
    });
    let page = polled(&api).await;
    assert_eq!(shown(&page), ["proj_000", "proj_001"]);
    assert!(api.requests().iter().all(|request| !request.is_of("archived")), "it is asked for");
    assert_eq!(page.malformed(), 0.0);
    assert!(read_at(&page, "proj_001").unwrap() > 1.7e9);
}

#[tokio::test]
async fn project_that_fails_keeps_its_last_list_while_others_go_on() {
    let endless = Answer::body(&list_page(&[entry("again")], true));
    let cases = [
        ("forbidden", Answer::status(403), "forbidden"),
        ("broken", Answer::status(500), "server"),
        ("told to wait", Answer::status(429).header("retry-after-ms", "1"), "rate_limited"),
        ("garbage", Answer::body("<html>"), "decode"),
        ("without end", endless, "pagination"),
        ("slow", Answer::Late(Duration::from_secs(60)), "timeout"),
    ];
    all(cases, async |(what, answer, reason)| {
        let api = Api::of(projects(6)).await;
        let exporter = api.often().projects().set("api.request_timeout", "300ms").start().await;
        let before = exporter.page_after_polls(1).await;
        assert!(before.is_up(), "{what}");

        // Two fail for one reason; everything changes, the certificates at the organization and at every project.
        let fails = |request: &Request| request.is_of("proj_001") || request.is_of("proj_004");
        api.answers(move |request| fails(request).then(|| answer.clone()));
        api.change(|has| {
            has.certificates = certificates(2);
            has.projects
                .iter_mut()
                .for_each(|project| project.certificates.push(certificate("another")));
        });
        let failing =
            exporter.page_when(what, |page| !page.is_up() && page.certificates().len() == 2).await;
        let later = exporter.page_after_more_polls(2).await;
        for page in [&failing, &later] {
            assert_eq!(shown(page).len(), 6, "{what}");
            for (project, stands) in
                [("proj_000", false), ("proj_001", true), ("proj_004", true), ("proj_005", false)]
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
        assert_eq!(later.reasons(), [reason], "{what}");
        let counted = |page: &Page| page.failures()[reason];
        assert_eq!(counted(&later) - counted(&failing), later.polls() - failing.polls(), "{what}");
        let success = "openai_cert_exporter_last_success_timestamp_seconds";
        assert_eq!(later.one(success), failing.one(success), "{what}");
        assert_eq!(
            (exporter.status("/readyz").await, exporter.status("/healthz").await),
            (200, 200),
            "{what}"
        );

        api.answers_well();
        let after = exporter.page_when_up().await;
        assert_eq!(certificates_of(&after, "proj_001"), ["another", "cert_of_proj_001"], "{what}");
    })
    .await;
}

#[tokio::test]
async fn project_that_has_never_been_read_says_nothing() {
    let api = Api::of(projects(3))
        .await
        .answering(|request| request.is_of("proj_001").then(|| Answer::status(403)));
    let exporter = api.often().projects().start().await;
    let page = exporter.page_after_polls(2).await;
    assert_eq!(shown(&page), ["proj_000", "proj_002"]);
    assert_eq!(page.labels("openai_mtls_enforced", "project_id"), ["", "proj_000", "proj_002"]);
    assert!(!page.is_up());
    assert_eq!(exporter.status("/readyz").await, 200, "what could be read is shown");
    let lines = exporter.log_lines("lists not read");
    assert!(lines[0].contains("proj_001") && lines[0].contains("403"), "{}", lines[0]);
}

#[tokio::test]
async fn without_the_list_of_projects_all_of_them_stay() {
    let any_page: fn(&Request) -> bool = |request| request.list == List::Projects;
    let later_page: fn(&Request) -> bool =
        |request| request.list == List::Projects && request.query("after").is_some();
    let endless = Answer::body(&list_page(&[json!({"id": "proj_000"})], true));
    let cases = [
        ("forbidden", any_page, Answer::status(403), "forbidden"),
        ("gone", any_page, Answer::status(404), "client"),
        ("broken off", later_page, Answer::status(500), "server"),
        ("without end", later_page, endless, "pagination"),
    ];
    all(cases, async |(what, is_hit, answer, reason)| {
        let api = Api::of(projects(30)).await;
        let exporter = api.often().projects().set("api.page_size", "20").start().await;
        let before = exporter.page_after_polls(1).await;
        assert_eq!((before.is_up(), shown(&before).len()), (true, 30), "{what}");
        api.answers(move |request| is_hit(request).then(|| answer.clone()));
        exporter.page_when(what, |page| !page.is_up()).await;
        api.change(|has| {
            has.certificates = certificates(2);
            has.projects.truncate(25);
            has.projects.iter_mut().for_each(|project| project.certificates.clear());
        });
        let page = exporter.page_after_more_polls(2).await;
        assert_eq!(page.certificates().len(), 2, "{what}: the organization's list was read");
        assert_eq!(shown(&page), shown(&before), "{what}");
        assert_eq!(page.series(ACTIVE), before.series(ACTIVE), "{what}");
        assert_eq!(page.reasons(), [reason], "{what}");
        assert_eq!(exporter.status("/readyz").await, 200, "{what}");
        api.answers_well();
        exporter.page_when("all is well again", |page| shown(page).len() == 25).await;
    })
    .await;
}

#[tokio::test]
async fn without_the_organizations_list_nothing_changes() {
    let api = Api::of(projects(3)).await;
    let exporter = api.often().projects().start().await;
    exporter.page_after_polls(1).await;
    api.answers(|request| (request.list == List::Certificates).then(|| Answer::status(500)));
    let failing = exporter.page_when("a poll fails", |page| !page.is_up()).await;
    api.change(|has| *has = projects(5));
    let sent = api.count();
    let later = exporter.page_after_more_polls(2).await;
    for family in [ACTIVE, READ_AT, "openai_mtls_enforced"] {
        assert_eq!(later.series(family), failing.series(family), "{family}");
    }
    let requests = api.requests();
    let since = &requests[sent..];
    assert!(
        !since.is_empty() && since.iter().all(|request| request.list == List::Certificates),
        "more was sent"
    );
}

#[tokio::test]
async fn project_that_the_api_denies_stays_until_it_is_no_longer_listed() {
    let api = Api::of(projects(4)).await;
    let exporter = api.often().projects().start().await;
    let before = exporter.page_after_polls(1).await;
    let is_gone = |request: &Request| request.is_of("proj_001") || request.is_of("proj_002");
    api.answers(move |request| is_gone(request).then(|| Answer::status(404)));
    let page = exporter.page_when("projects vanish", |page| page.one(VANISHED) == 2.0).await;
    assert_eq!(page.series(ACTIVE), before.series(ACTIVE), "what was known of them stays");
    assert_eq!((page.is_up(), page.reasons()), (false, vec!["projects"]));
    let lines = exporter.log_lines("WARN");
    assert!(
        lines.iter().any(|line| line.contains("proj_001") && line.contains("404")),
        "{lines:?}"
    );

    api.change(|has| drop(has.projects.drain(1..3)));
    let page = exporter.page_when("they are listed no longer", Page::is_up).await;
    assert_eq!((shown(&page), page.one(VANISHED)), (vec!["proj_000", "proj_003"], 0.0));
    assert_eq!(page.labels("openai_mtls_enforced", "project_id"), ["", "proj_000", "proj_003"]);
}

#[tokio::test]
async fn other_404_is_no_answer_about_the_project() {
    let first_page: fn(&Request) -> bool = |request| request.query("after").is_none();
    let later_page: fn(&Request) -> bool = |request| request.query("after").is_some();
    let html = || Answer::Http(404, vec![], "<html>default backend - 404</html>".into());
    let json = || Answer::Http(404, vec![], r#"{"message":"no route"}"#.into());
    let cases = [
        ("a load balancer's", first_page, html()),
        ("a gateway's", first_page, json()),
        ("a cursor's", later_page, Answer::status(404)),
    ];
    all(cases, async |(what, is_hit, answer)| {
        let mut has = projects(2);
        has.projects[1].certificates.push(certificate("second"));
        let api = Api::of(has).await;
        let exporter = api.often().projects().set("api.page_size", "1").start().await;
        let before = exporter.page_after_polls(1).await;
        assert!(before.is_up(), "{what}");
        api.answers(move |request| {
            (request.is_of("proj_001") && is_hit(request)).then(|| answer.clone())
        });
        let page = exporter.page_when(what, |page| !page.is_up()).await;
        assert_eq!((page.reasons(), page.one(VANISHED)), (vec!["client"], 0.0), "{what}");
        assert_eq!(page.series(ACTIVE), before.series(ACTIVE), "{what}");
    })
    .await;
}

#[tokio::test]
async fn poll_that_finds_every_project_gone_has_failed() {
    let api = Api::of(projects(2))
        .await
        .answering(|request| request.is_of_a_project().then(|| Answer::status(404)));
    let page = polled(&api).await;
    assert_eq!((page.is_up(), page.reasons(), page.one(VANISHED)), (false, vec!["projects"], 2.0));
    assert_eq!(shown(&page), [""; 0]);
}

#[tokio::test]
async fn series_follow_projects() {
    let api = Api::of(projects(3)).await;
    let exporter = api.often().projects().start().await;
    exporter.page_after_polls(1).await;
    api.change(|has| {
        has.projects[0].name = Some("another name".into());
        has.projects.remove(1);
        has.projects.push(project("proj_new", vec![certificate("cert_new").inactive()]));
    });
    let page =
        exporter.page_when("the new one is shown", |page| shown(page).contains(&"proj_new")).await;
    assert_eq!(shown(&page), ["proj_000", "proj_002", "proj_new"]);
    for family in [ACTIVE, READ_AT, "openai_mtls_enforced", "openai_mtls_active_certificates"] {
        let of = |id: &str| {
            let series =
                page.series(family).into_iter().filter(|sample| sample.label("project_id") == id);
            series.map(|sample| sample.label("project_name")).collect::<Vec<_>>()
        };
        assert_eq!(of("proj_000"), ["another name"], "{family}");
        assert_eq!(of("proj_001"), [""; 0], "{family}");
        assert_eq!(of("proj_new"), ["name of proj_new"], "{family}");
    }
    let labels = [
        ("project_id", "proj_new"),
        ("certificate_id", "cert_new"),
        ("certificate_name", "name of cert_new"),
    ];
    assert_eq!(page.find(ACTIVE, &labels), Some(0.0));
    for said in ["project renamed", "project removed", "project added"] {
        exporter.line_saying(said).await;
        assert_eq!(exporter.log_lines(said).len(), 1, "{said}");
    }
}

#[tokio::test]
async fn identifier_is_escaped_in_a_path() {
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
    let projects = hostile.iter().map(|id| project(id, vec![certificate("cert")])).collect();
    let api = Api::of(Organization { projects, ..Organization::default() }).await;
    let page = polled(&api).await;
    let asked = api.requests().into_iter().filter_map(|request| match request.list {
        List::Of(id) => Some(id),
        _ => None,
    });
    assert_eq!(asked.collect::<BTreeSet<_>>(), hostile.iter().map(ToString::to_string).collect());
    assert_eq!(shown(&page).into_iter().collect::<BTreeSet<_>>(), hostile.into());
    assert!(page.is_up());
}

#[tokio::test]
async fn names_are_shown_whatever_is_in_them() {
    let names = [
        "",
        "a\"b",
        "back\\slash",
        "two\nlines",
        "tab\t\r",
        "}",
        "é😀\u{202e}",
        "NUL\0",
        &"x".repeat(5_000),
    ];
    let names =
        names.map(|name| Some(name.to_owned())).into_iter().chain([Some(format!("<{KEY}>")), None]);
    let mut has = projects(11);
    for (project, name) in has.projects.iter_mut().zip(names.clone()) {
        project.name = name;
    }
    let page = polled(&Api::of(has).await).await;
    let shown = |name: Option<String>| {
        let name = name.unwrap_or_default().replace('\0', "\u{fffd}").replace(KEY, "[redacted]");
        if name.len() > 512 { format!("{}…", &name[..509]) } else { name }
    };
    let expected: Vec<_> = names.map(shown).collect();
    assert_eq!(page.labels(READ_AT, "project_name"), expected);
    assert_eq!(page.labels("openai_mtls_enforced", "project_name")[1..], expected);
}

#[tokio::test]
async fn entries_of_projects_are_read_one_by_one() {
    let api = Api::of(projects(3)).await.answering(|request| match &request.list {
        List::Projects => Some(listed(&[
            json!(7),
            json!({"id": "proj_000"}),
            json!({"name": "no identifier"}),
            json!({"id": ""}),
            json!({"id": ".."}),
            json!({"id": "."}),
            json!({"id": "numbered", "name": 7}),
            json!({"id": "dated", "archived_at": "yesterday"}),
            json!({"id": "proj_002", "name": "the earlier one"}),
            json!({"id": "proj_001"}),
            json!({"id": "proj_002", "name": "the later one"}),
        ])),
        List::Of(id) if id == "proj_000" => Some(Answer::body(&list_page(
            &[json!({"id": 7}), entry("twice"), entry("other"), entry("twice")],
            false,
        ))),
        List::Of(id) if matches!(&**id, "numbered" | "dated") => Some(listed(&[])),
        _ => None,
    });
    let page = polled(&api).await;
    assert_eq!(shown(&page), ["dated", "numbered", "proj_000", "proj_001", "proj_002"]);
    assert_eq!(page.labels(READ_AT, "project_name"), ["", "", "", "", "the later one"]);
    assert_eq!(certificates_of(&page, "proj_000"), ["other", "twice"]);
    assert_eq!((page.is_up(), page.malformed()), (true, 8.0));
    assert_eq!(page.one("openai_cert_exporter_duplicate_certificates"), 2.0);
    let asked = api.requests().iter().filter(|request| request.is_of("proj_002")).count();
    assert_eq!(asked, 1, "once, though listed twice");
}

#[tokio::test]
async fn patterns_choose_projects_by_name_and_identifier() {
    let (include, exclude) = ("poll.project_include", "poll.project_exclude");
    let cases = [
        (vec![(include, "^prod-us$|_3")], vec!["proj_1", "proj_3"]),
        (vec![(include, "proj"), (exclude, "prod|_4")], vec!["proj_3"]),
        (vec![(exclude, "(?i)SAND")], vec!["proj_1", "proj_2", "proj_4"]),
        // A list as in a file.
        (vec![(exclude, "[\"sandbox\", '_4$']")], vec!["proj_1", "proj_2"]),
        (vec![(include, "['[13]$']")], vec!["proj_1", "proj_3"]),
        (vec![(exclude, "[]")], vec!["proj_1", "proj_2", "proj_3", "proj_4"]),
        (vec![(include, "prod, eu")], vec![]),
    ];
    all(cases, async |(patterns, expected)| {
        let with_name = |(id, name): (&str, Option<&str>)| DemoProject {
            name: name.map(Into::into),
            ..project(id, vec![])
        };
        let names = [Some("prod-us"), Some("prod-eu"), Some("sandbox"), None];
        let projects = ["proj_1", "proj_2", "proj_3", "proj_4"]
            .into_iter()
            .zip(names)
            .map(with_name)
            .collect();
        let api = Api::of(Organization { projects, ..Organization::default() }).await;
        let launch = patterns
            .iter()
            .fold(api.once().projects(), |launch, (key, pattern)| launch.set(key, pattern));
        let page = launch.start().await.page_after_polls(1).await;
        assert_eq!((shown(&page), page.one(VANISHED)), (expected.clone(), 0.0), "{patterns:?}");
        let asked = api.requests().iter().filter(|request| request.is_of_a_project()).count();
        assert_eq!(asked, expected.len(), "{patterns:?}: nothing is asked of the others");
    })
    .await;
}

#[tokio::test]
async fn lists_of_patterns_in_a_file_choose_where_any_of_them_fits() {
    let folder = tempfile::TempDir::new().unwrap();
    let api = Api::of(projects(4)).await;
    for (text, expected) in [
        ("project_include = [\"000$\", \"^proj_003$\"]", vec!["proj_000", "proj_003"]),
        ("project_include = \"00[0-2]\"\nproject_exclude = [\"1$\", \"2$\"]", vec!["proj_000"]),
        (
            "project_include = []\nproject_exclude = []",
            vec!["proj_000", "proj_001", "proj_002", "proj_003"],
        ),
    ] {
        let path = folder.path().join("exporter.toml");
        std::fs::write(&path, format!("[poll]\n{text}\n")).unwrap();
        let launch = api.once().projects().arg(&format!("--config.file={}", path.display()));
        assert_eq!(shown(&launch.start().await.page_after_polls(1).await), expected, "{text}");
    }
}

#[tokio::test]
async fn pattern_that_matches_no_project_is_told_once() {
    let api = Api::of(projects(3)).await;
    let launch = api.often().projects().set("poll.project_include", "['^proj_', '^prdo-']");
    let exporter = launch.set("poll.project_exclude", "['_001$', '^sandbx']").start().await;
    assert_eq!(shown(&exporter.page_after_polls(3).await), ["proj_000", "proj_002"]);
    let lines = exporter.log_lines("matches no project that is listed");
    let told = |key: &str, pattern: &str| {
        lines.iter().filter(|line| line.contains(key) && line.contains(pattern)).count()
    };
    assert_eq!(told("poll.project_include", "^prdo-"), 1, "{lines:?}");
    assert_eq!(told("poll.project_exclude", "^sandbx"), 1, "{lines:?}");
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[tokio::test]
async fn new_patterns_apply_though_the_list_of_projects_cannot_be_read() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("exporter.toml");
    std::fs::write(&path, "").unwrap();
    let api = Api::of(projects(3)).await;
    let launch = api.often().projects().arg(&format!("--config.file={}", path.display()));
    let exporter = launch.start().await;
    assert_eq!(shown(&exporter.page_after_polls(1).await).len(), 3);
    api.answers(|request| (request.list == List::Projects).then(|| Answer::status(403)));
    std::fs::write(&path, "[poll]\nproject_exclude = \"_001$\"\n").unwrap();
    exporter.signal(Signal::HUP);
    let is_left_out = |page: &Page| shown(page) == ["proj_000", "proj_002"];
    exporter.page_when("the excluded project is gone", is_left_out).await;
}

#[tokio::test]
async fn as_many_requests_as_allowed_are_under_way() {
    all([None, Some(1), Some(7), Some(32)], async |concurrency| {
        let bound = concurrency.unwrap_or(4);
        // Nothing is answered before the bound is reached. It is passed by then, or while late answers are awaited.
        let api = Api::of(projects(70)).await.answering(move |request| {
            request.is_of_a_project().then_some(match request.number % 2 {
                0 => Answer::Together(bound),
                _ => Answer::Late(Duration::from_millis(10)),
            })
        });
        let mut launch = api.once().projects();
        if let Some(concurrency) = concurrency {
            launch = launch.set("poll.concurrency", &concurrency.to_string());
        }
        let page = launch.start().await.page_after_polls(1).await;
        assert_eq!((page.is_up(), shown(&page).len()), (true, 70), "{bound}");
        assert_eq!(api.most_at_once(), bound);
    })
    .await;
}

#[tokio::test]
async fn a_429_holds_back_every_request() {
    let wait = Duration::from_millis(700);
    all([("retry-after-ms", "700"), ("retry-after", "0.7")], async |(name, value)| {
        // Request 20 is answered with a wait while others are under way.
        let api = Api::of(projects(40)).await.answering(move |request| match request.number {
            20 => Some(Answer::status(429).header(name, value)),
            _ => request.is_of_a_project().then_some(Answer::Late(Duration::from_millis(50))),
        });
        let exporter = api.once().projects().set("api.max_retries", "1").start().await;
        let page = exporter.page_after_polls(1).await;
        assert_eq!((page.is_up(), shown(&page).len()), (true, 40));
        assert_eq!(page.one("openai_cert_exporter_api_retries_total"), 1.0);
        let requests = api.requests();
        let told = requests[20].at;
        // Those that were sent before the answer was known are no more than the others that may be under way.
        let meanwhile = requests[21..].iter().filter(|request| request.at < told + wait).count();
        assert!(meanwhile <= 3, "{meanwhile} requests were sent during the wait");
        assert_eq!(api.most_at_once(), 4, "as many as before go on afterwards");
    })
    .await;
}

/// An API that lets so many requests through in each window of time, and asks for patience until the next.
fn limited(requests: usize, window: Duration, tells: bool) -> impl Fn(&Request) -> Option<Answer> {
    let spent: Mutex<Option<(Instant, usize)>> = Mutex::new(None);
    move |request| {
        let mut spent = spent.lock().unwrap();
        let (start, count) = match *spent {
            Some((start, count)) if request.at < start + window => (start, count),
            _ => (request.at, 0),
        };
        *spent = Some((start, count + 1));
        let left = (start + window - request.at).as_millis() + 1;
        let answer = Answer::status(429);
        let answer =
            if tells { answer.header("retry-after-ms", &left.to_string()) } else { answer };
        (count >= requests).then_some(answer)
    }
}

#[tokio::test]
async fn storm_of_429s_is_weathered() {
    all([(4, true), (20, true), (20, false)], async |(requests, tells)| {
        let limited = limited(requests, Duration::from_millis(100), tells);
        let api = Api::of(projects(60)).await.answering(limited);
        let page = api
            .once()
            .projects()
            .set("api.max_retries", "3")
            .start()
            .await
            .page_after_polls(1)
            .await;
        assert_eq!(
            (page.is_up(), shown(&page).len()),
            (true, 60),
            "{requests}: {:?}",
            page.failures()
        );
        assert!(api.most_at_once() <= 4);
    })
    .await;
}

#[tokio::test]
async fn wait_of_one_project_does_not_hold_the_others() {
    // Overload of one project's shard, say. Only a 429 speaks of the key, and so of every request.
    let hour = |request: &Request| {
        request.is_of("proj_001").then(|| Answer::status(503).header("retry-after", "3600"))
    };
    let api = Api::of(projects(3)).await.answering(hour);
    let exporter = api.often().projects().set("api.max_retries", "3").start().await;
    let page = exporter.page_after_polls(3).await;
    assert_eq!(shown(&page), ["proj_000", "proj_002"]);
    assert_eq!(page.reasons(), ["rate_limited"]);
}

#[tokio::test]
async fn a_429_of_a_project_holds_the_next_poll_too() {
    let first = Mutex::new(true);
    let api = Api::of(projects(3)).await.answering(move |request| {
        let first = request.is_of_a_project() && std::mem::take(&mut *first.lock().unwrap());
        first.then(|| Answer::status(429).header("retry-after-ms", "1500"))
    });
    let exporter =
        api.often().projects().set("poll.timeout", "1s").set("poll.concurrency", "1").start().await;
    let page = exporter.page_after_polls(1).await;
    assert_eq!(page.failures(), [("rate_limited", 1.0)].into());
    assert!(
        page.one("openai_cert_exporter_last_poll_duration_seconds") < 1.0,
        "it waits for nothing"
    );
    assert_eq!(api.count(), 3, "nothing is sent after it");
    until("the next poll", async || (api.count() > 3).then_some(())).await;
    let requests = api.requests();
    assert!(requests[3].at - requests[2].at >= Duration::from_millis(1_500));
}

#[tokio::test]
async fn after_a_401_nothing_more_is_sent() {
    for (code, reason) in
        [("invalid_api_key", "unauthorized"), ("certificate_required", "mtls_required")]
    {
        let rejected =
            move |request: &Request| (request.number >= 10).then(|| Answer::error(401, Some(code)));
        let api = Api::of(projects(50)).await.answering(rejected);
        let launch = api.once().projects().set("poll.concurrency", "1").set("api.max_retries", "3");
        let page = launch.start().await.page_after_polls(1).await;
        assert_eq!(api.count(), 11);
        assert_eq!(
            page.failures(),
            [(reason, 1.0)].into(),
            "what was not asked fails for the same reason"
        );
        assert_eq!(shown(&page).len(), 8, "what had been read before is shown");
    }
}

#[tokio::test]
async fn lists_read_by_the_deadline_are_published() {
    let mut has = projects(120);
    // The latest is listed first, so that these ten come before the others.
    has.projects.reverse();
    let api = Api::of(has).await.answering(|request| {
        let is_late = matches!(&request.list, List::Of(id) if id.as_str() >= "proj_010");
        is_late.then_some(Answer::Late(Duration::from_secs(60)))
    });
    let exporter = api.once().projects().set("poll.timeout", "1500ms").start().await;
    let page = exporter.page_after_polls(1).await;
    assert_eq!(shown(&page), (0..10).map(|number| format!("proj_{number:03}")).collect::<Vec<_>>());
    assert_eq!((page.failures(), page.is_up()), ([("timeout", 1.0)].into(), false));
    assert_eq!(exporter.status("/readyz").await, 200);
    assert_eq!(api.requests().iter().filter(|request| request.list == List::Projects).count(), 2);
}
