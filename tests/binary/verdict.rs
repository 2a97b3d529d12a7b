//! What page, JSON, `check` and log conclude, where not everything could be seen: never that all is well.

use serde_json::Value;

use crate::api::{Answer, Api, List, Request, With as _, certificate, project, projects};
use crate::binary::{Exporter, Launch};
use crate::status_page::without_links;

/// What the page and the JSON say, once a poll has ended.
struct Said {
    page: String,
    polls: Value,
    scopes: Vec<Value>,
}

async fn said(exporter: &Exporter) -> Said {
    exporter.page_after_polls(1).await;
    let text = async |path: &str| exporter.get(path).await.text().await.unwrap();
    let json = async |path: &str| serde_json::from_str::<Value>(&text(path).await).unwrap();
    let (polls, document) = (json("/api/v1/polls").await, json("/api/v1/certificates").await);
    let page = without_links(&text("/").await);
    let scopes = document["scopes"].as_array().unwrap().clone();
    Said { page, polls, scopes }
}

/// A check under the same circumstances as `launch`: its exit code, and what it prints as a table.
async fn check(api: &Api, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let launch = Launch::bare(&["check"])
        .env("OPENAI_ADMIN_KEY", crate::binary::KEY)
        .env("OPENAI_BASE_URL", &api.base_url())
        .set("api.max_retries", "0");
    let launch = settings.iter().fold(launch, |launch, (key, value)| launch.set(key, value));
    let ended = launch.until_it_ends().await;
    (ended.code(), ended.stdout)
}

fn with(launch: Launch, settings: &[(&str, &str)]) -> Launch {
    settings.iter().fold(launch, |launch, (key, value)| launch.set(key, value))
}

/// Two projects and an organization of which nothing ends soon.
async fn api() -> Api {
    let mut has = projects(2);
    has.certificates.push(certificate("cert_of_organization"));
    Api::of(has).await
}

const PROJECTS: (&str, &str) = ("poll.projects", "true");

#[tokio::test]
async fn what_was_never_read_is_a_warning_everywhere() {
    let list: fn(&Request) -> bool = |request| request.list == List::Projects;
    let one: fn(&Request) -> bool = |request| request.is_of("proj_001");
    for (what, fails, told, failed, unread) in [
        (
            "the list of projects",
            list,
            "The list of projects has not been read yet",
            "the list of projects",
            0,
        ),
        (
            "a project",
            one,
            "Project name of proj_001 could not be read",
            "project name of proj_001",
            1,
        ),
    ] {
        let forbidden = Answer::status(403).header("x-request-id", "req_7");
        let api = api().await.answering(move |request| fails(request).then(|| forbidden.clone()));
        let exporter = api.once().projects().start().await;
        let Said { page, polls, scopes } = said(&exporter).await;
        assert_eq!((&polls["status"], &polls["up"]), (&"warning".into(), &false.into()), "{what}");
        assert!(page.contains("<title>Not everything is known ·"), "{what}: {page}");
        let reason = format!("{failed} ({}", api.address);
        let hint =
            "answered 403 Forbidden; the key needs the permission api.mtls.read; request ID req_7)";
        for told in [told, &reason, hint] {
            assert!(page.contains(told), "{what}: {told}: {page}");
        }
        assert_eq!(page.matches(">Not read yet</td>").count(), unread, "{what}");
        let at_least =
            page.matches("<i>covered by the organization until 2 October 2096 at least</i>");
        assert_eq!(at_least.count(), unread, "{what}: {page}");
        assert_eq!(scopes.iter().filter(|scope| scope["read"] == false).count(), unread, "{what}");
        let log = exporter.line_saying("poll failed in part").await;
        assert!(log.contains("verdict=\"warning\""), "{log}");
        // While the list of projects is unread, nobody knows how many projects are.
        let count = log.split_whitespace().find(|field| field.starts_with("unread="));
        assert_eq!(count, (unread == 1).then_some("unread=1"), "{log}");

        let (code, table) = check(&api, &[PROJECTS]).await;
        assert_eq!(code, Some(1), "{what}: {table}");
        assert!(table.contains(told) && table.contains(&reason), "{what}: {table}");
        assert_eq!(table.matches("Not read yet").count(), unread, "{what}: {table}");
    }
}

#[tokio::test]
async fn what_was_never_read_is_known_to_be_so_after_a_restart_in_an_outage() {
    let list: fn(&Request) -> bool = |request| request.list == List::Projects;
    let one: fn(&Request) -> bool = |request| request.is_of("proj_001");
    for (fails, told) in [
        (list, "The list of projects has not been read yet"),
        (one, "Project name of proj_001 could not be read"),
    ] {
        let folder = tempfile::TempDir::new().unwrap();
        let state = folder.path().join("state");
        let api = api().await.answering(move |request| fails(request).then(|| Answer::status(500)));
        let launch = || api.once().projects().set("poll.state_file", state.to_str().unwrap());
        let exporter = launch().start().await;
        exporter.page_after_polls(1).await;
        exporter.stop().await;
        api.answers(|_| Some(Answer::status(500)));
        let Said { page, polls, scopes } = said(&launch().start().await).await;
        assert_eq!(polls["status"], "warning");
        assert!(page.contains(told), "{page}");
        assert!(page.contains("<title>Not everything is known ·"), "{page}");
        let unread = usize::from(told.starts_with("Project"));
        assert_eq!(scopes.iter().filter(|scope| scope["read"] == false).count(), unread);
        assert_eq!(page.matches(">Not read yet</td>").count(), unread);
    }
}

#[tokio::test]
async fn nothing_is_claimed_of_projects_that_are_not_polled() {
    let not_monitored = "Projects are not monitored (set poll.projects = true to include them).";
    for (certificates, badge, headline) in [
        (vec![certificate("a")], "Healthy", "The organization is covered until "),
        (vec![], "Not enforced", "Mutual TLS is not enforced at the organization: "),
    ] {
        let mut has = projects(2);
        has.certificates = certificates;
        let api = Api::of(has).await;
        let Said { page, polls, scopes } = said(&api.once().start().await).await;
        assert_eq!((&polls["status"], scopes.len()), (&"ok".into(), 1));
        assert!(page.contains(&format!("<title>{badge} ·")), "{page}");
        assert!(page.contains(headline) && page.contains(not_monitored), "{page}");
        let lower = page.to_lowercase();
        assert!(
            !lower.contains("everything") && !lower.contains("no certificate is active."),
            "{page}"
        );
        let (code, table) = check(&api, &[]).await;
        assert_eq!(code, Some(0), "{table}");
        assert!(table.contains(headline) && table.contains(not_monitored), "{table}");
        let (_, all) = check(&api, &[PROJECTS]).await;
        assert!(!all.contains("monitored"), "{all}");
    }
}

#[tokio::test]
async fn filters_that_leave_nothing_are_a_warning_everywhere() {
    let api = api().await;
    let told = "poll.project_include and poll.project_exclude leave out all 2 projects";
    for settings in [
        [PROJECTS, ("poll.project_include", "^prod-")],
        [PROJECTS, ("poll.project_exclude", "[\"proj_\"]")],
    ] {
        let exporter = with(api.often(), &settings).start().await;
        let Said { page, polls, .. } = said(&exporter).await;
        assert_eq!((&polls["status"], &polls["up"]), (&"warning".into(), &true.into()));
        assert!(page.contains(told), "{page}");
        exporter.page_after_polls(3).await;
        let lines = exporter.log_lines("leave out every project");
        assert!(lines.len() == 1 && lines[0].contains("WARN"), "{lines:?}");
        let (code, table) = check(&api, &settings).await;
        assert_eq!(code, Some(1), "{table}");
        assert!(table.contains(told), "{table}");
    }
    let (code, table) = check(&api, &[PROJECTS, ("poll.project_include", "proj_001")]).await;
    assert_eq!((code, table.contains("leave out")), (Some(0), false), "{table}");
}

#[tokio::test]
async fn what_comes_first_is_named_first_whatever_it_is() {
    let mut has = projects(0);
    has.certificates = vec![certificate("long").valid(-1..200), certificate("soon").valid(-9..3)];
    has.projects.push(project("proj_a", vec![certificate("own").valid(-9..1)]));
    let api = Api::of(has).await;
    let Said { page, .. } = said(&api.once().projects().start().await).await;
    assert!(page.contains("<h1 id=\"headline\">name of own expires in "), "{page}");
    assert!(page.contains("<span>name of soon expires in "), "{page}");
    let (code, table) = check(&api, &[PROJECTS]).await;
    assert!(table.contains("\nCRITICAL  name of own expires in 23 hours. "), "{table}");
    assert_eq!(code, Some(2));
}

#[tokio::test]
async fn restored_list_keeps_its_age_while_others_are_read_anew() {
    let folder = tempfile::TempDir::new().unwrap();
    let state = folder.path().join("state");
    let api = api().await;
    let launch = || api.often().projects().set("poll.state_file", state.to_str().unwrap());
    let exporter = launch().start().await;
    exporter.page_when_up().await;
    api.answers(|request| request.is_of("proj_001").then(|| Answer::status(500)));
    exporter.page_when("a poll fails", |page| !page.is_up()).await;
    exporter.stop().await;

    let exporter = launch().start().await;
    exporter.page_after_polls(3).await;
    let Said { page, polls, .. } = said(&exporter).await;
    assert_eq!((&polls["status"], &polls["stale"]), (&"warning".into(), &true.into()));
    assert!(page.contains("<title>Healthy when last seen ·"), "{page}");
    assert!(page.contains("<strong>Stale: part of what is shown is "), "{page}");
    assert!(page.contains(">as it was "), "{page}");
    let read_at = |scope: &[(&str, &str)], page: &crate::page::Page| {
        page.find("openai_mtls_read_timestamp_seconds", scope).unwrap()
    };
    let page = exporter.page().await;
    let old = read_at(&[("scope", "project"), ("project_id", "proj_001")], &page);
    let fresh = read_at(&[("scope", "organization")], &page);
    #[expect(clippy::cast_precision_loss, reason = "an instant of this century")]
    let oldest = polls["oldest_read_at_unix"].as_i64().unwrap() as f64;
    assert!(old < fresh && (oldest - old.floor()).abs() < 0.5, "{oldest} {old} {fresh}");
}
