//! The last good snapshot across restarts, whatever has become of its file.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::api::{Answer, Api, With as _, certificate, certificates, organization, project};
use crate::binary::{KEY, Launch, assert_no_key};
use crate::wait::{DEADLINE, all, until};

const LAST_SUCCESS: &str = "openai_cert_exporter_last_success_timestamp_seconds";
const READ_AT: &str = "openai_project_last_success_timestamp_seconds";
const WRITE_FAILURES: &str = "openai_cert_exporter_state_write_failures_total";

/// Three certificates, and a project with one.
async fn api() -> Api {
    let mut has = organization(certificates(3));
    has.projects.push(project("proj_a", vec![certificate("cert_of_project")]));
    Api::of(has).await
}

/// A folder for the file, and how to start an exporter with it.
struct State {
    folder: TempDir,
}

impl State {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn quarantined(&self) -> PathBuf {
        self.folder.path().join("state.bad")
    }

    fn launch(&self, api: &Api) -> Launch {
        api.often().set("poll.state_file", self.path().to_str().unwrap())
    }

    fn content(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    /// Fails where the folder holds more than the file and what a write that was cut short may leave.
    fn assert_tidy(&self) {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(
            names.iter().all(|name| {
                name == "state" || name == "state.lock" || name.starts_with(".state-")
            }),
            "{names:?}"
        );
    }

    /// Changes the file, with a first line that fits.
    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let left = String::from_utf8(self.content()).unwrap();
        let (_, content) = left.split_once('\n').unwrap();
        let mut content: Value = serde_json::from_str(content).unwrap();
        change(&mut content);
        let content = content.to_string();
        let crc32 = crc32fast::hash(content.as_bytes());
        let header = json!({"version": 2, "bytes": content.len(), "crc32": crc32});
        std::fs::write(self.path(), format!("{header}\n{content}")).unwrap();
    }

    /// A file as an exporter has left it after a poll.
    async fn left_by_a_run(api: &Api) -> Self {
        let state = Self::new();
        let exporter = state.launch(api).start().await;
        exporter.page_after_polls(1).await;
        exporter.stop().await;
        state
    }
}

#[tokio::test]
async fn restart_in_an_outage_serves_what_was_known() {
    let (api, state) = (api().await, State::new());
    let launch = || state.launch(&api).projects();
    let exporter = launch().start().await;
    let before = exporter.page_when_up().await;
    assert_eq!(
        before.find("openai_project_certificate_active", &[("certificate_id", "cert_of_project")]),
        Some(1.0)
    );
    // Nothing comes of the first poll for as long as this test runs.
    api.answers(|_| Some(Answer::Late(10 * DEADLINE)));
    exporter.stop().await;

    let exporter = launch().start().await;
    let after = exporter.page().await;
    assert_eq!((after.polls(), after.is_up()), (0.0, false), "at once");
    assert_eq!(after.facts(), before.facts());
    let days = "openai_certificate_days_until_expiry";
    assert_eq!(
        after.of("cert_0000", days).map(f64::round),
        before.of("cert_0000", days).map(f64::round)
    );
    // The polls of the first run went on after its page was read.
    let (then, now) = (before.one(LAST_SUCCESS), after.one(LAST_SUCCESS));
    assert!((then..then + DEADLINE.as_secs_f64()).contains(&now), "{then} {now}");
    assert_eq!((exporter.status("/readyz").await, exporter.status("/healthz").await), (200, 200));
    assert_eq!(
        exporter.log_lines("serving the snapshot of an earlier run").len(),
        1,
        "{}",
        exporter.log()
    );

    // A third start, from a file that the second has not touched, says the same.
    exporter.stop().await;
    let again = launch().start().await.page().await;
    assert_eq!((again.facts(), again.series(READ_AT)), (after.facts(), after.series(READ_AT)));
    assert_eq!(again.one(LAST_SUCCESS), now);
}

#[tokio::test]
async fn failed_polls_leave_the_file_and_a_success_moves_it_on() {
    let api = api().await;
    let state = State::left_by_a_run(&api).await;
    let left = state.content();
    api.answers(|_| Some(Answer::status(503)));
    let exporter = state.launch(&api).start().await;
    let failing = exporter.page_after_polls(3).await;
    assert_eq!((failing.is_up(), failing.certificates().len()), (false, 3));
    assert_eq!(state.content(), left);

    api.answers_well();
    let success = exporter.page_when_up().await;
    assert!(success.one(LAST_SUCCESS) > failing.one(LAST_SUCCESS));
    assert_ne!(state.content(), left, "who saw the success finds it on disk");
}

#[tokio::test]
async fn file_of_the_future_is_as_old_as_the_process_at_least() {
    let api = api().await;
    let state = State::left_by_a_run(&api).await;
    let years = 3.0 * 365.0 * 86_400.0;
    state.edit(|content| {
        for field in ["last_success_at", "organization_read_at"] {
            content[field] = json!(content[field].as_f64().unwrap() + years);
        }
    });
    api.answers(|_| Some(Answer::status(500)));
    let exporter = state.launch(&api).start().await;
    let page = exporter.page_after_polls(1).await;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let read_at = page.find("openai_mtls_read_timestamp_seconds", &[("scope", "organization")]);
    assert!(page.one(LAST_SUCCESS) <= now && read_at.unwrap() <= now, "{}", page.text);
    let lines = exporter.log_lines("the state file is dated in the future");
    assert!(lines.len() == 1 && lines[0].contains("WARN"), "{}", exporter.log());
    until("what is shown is stale", async || {
        let polls = exporter.get("/api/v1/polls").await.text().await.unwrap();
        let polls: Value = serde_json::from_str(&polls).unwrap();
        (polls["stale"] == json!(true)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn file_is_its_owners_alone_and_holds_no_key() {
    let api = Api::listing(vec![certificate("cert_telling").named(&format!("it is {KEY}"))]).await;
    let state = State::new();
    // What a write that was killed has left behind, open to everybody.
    let leftover = state.folder.path().join(".state-x1Y2z3.tmp");
    std::fs::write(&leftover, "half").unwrap();
    std::fs::set_permissions(&leftover, std::fs::Permissions::from_mode(0o666)).unwrap();
    let exporter = state.launch(&api).under("umask 0").start().await;
    exporter.page_after_polls(2).await;
    exporter.stop().await;
    assert_eq!(std::fs::metadata(state.path()).unwrap().mode() & 0o7777, 0o600);
    assert_no_key("the state file", &String::from_utf8_lossy(&state.content()));
    state.assert_tidy();
}

#[tokio::test]
async fn file_that_cannot_be_used_is_set_aside_and_stops_nothing() {
    let (api, other_api) = (api().await, api().await);
    let good = State::left_by_a_run(&api).await.content();
    let other_url = State::left_by_a_run(&other_api).await.content();
    let text = String::from_utf8(good.clone()).unwrap();
    let middle = good.len() / 2;
    let flipped = [&good[..middle], &[good[middle] ^ 1], &good[middle + 1..]].concat();
    let cases = [
        ("empty", Vec::new(), "no valid first line"),
        ("cut in the middle", good[..middle].to_vec(), "truncated or damaged"),
        ("longer by a byte", [&good[..], b"\n"].concat(), "truncated or damaged"),
        ("one bit another", flipped, "truncated or damaged"),
        ("zeros, as after a crash of the machine", vec![0; good.len()], "no valid first line"),
        (
            "a later version",
            text.replacen("\"version\":2", "\"version\":3", 1).into_bytes(),
            "it has version 3",
        ),
        ("another API's", other_url, "it is of another api.base_url"),
        ("a key in it", format!("{KEY}\n").into_bytes(), "no valid first line"),
    ];
    api.answers(|_| Some(Answer::status(500)));
    all(cases, async |(what, content, fault)| {
        let state = State::new();
        std::fs::write(state.path(), &content).unwrap();
        // As of an earlier time; there is one name, so it makes way.
        std::fs::write(state.quarantined(), "older").unwrap();
        let path = state.path().display().to_string();
        let check = Launch::bare(&["check-config"]).env("OPENAI_ADMIN_KEY", KEY);
        let check = check.env("OPENAI_BASE_URL", &api.base_url()).set("poll.state_file", &path);
        let checked = check.until_it_ends().await;
        let said = format!("# poll.state_file: {path} would be set aside: ");
        let line = checked.stdout.lines().find(|line| line.starts_with(&said));
        assert!(line.is_some_and(|line| line.contains(fault)), "{what}: {}", checked.stdout);
        assert_eq!(checked.code(), Some(0), "{what}: {}", checked.stderr);
        let exporter = state.launch(&api).start().await;
        let warnings = exporter.log_lines("the state file is not used and is set aside");
        assert_eq!(warnings.len(), 1, "{what}: {}", exporter.log());
        assert!(
            warnings[0].contains("WARN") && warnings[0].contains(fault),
            "{what}: {warnings:?}"
        );
        assert_eq!(std::fs::read(state.quarantined()).unwrap(), content, "{what}");
        let page = exporter.page_after_polls(1).await;
        assert_eq!((page.certificates().len(), page.find(LAST_SUCCESS, &[])), (0, None), "{what}");
        assert_eq!(exporter.status("/readyz").await, 503, "{what}");
        exporter.stop().await;
        assert!(!state.path().exists(), "{what}");
    })
    .await;
}

#[tokio::test]
async fn path_that_cannot_be_written_stops_no_poll_and_is_counted() {
    let api = api().await;
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("a_file"), "").unwrap();
    // A file system that is read-only for everybody.
    let sealed = Path::new("/proc/state").to_owned();
    let cases = [path("missing/state"), path("a_file/state"), sealed];
    all(cases, async |state_file| {
        let what = state_file.display().to_string();
        let check = Launch::bare(&["check-config"]).env("OPENAI_ADMIN_KEY", KEY);
        let checked = check.set("poll.state_file", &what).until_it_ends().await;
        let fault = format!("openai-cert-exporter: poll.state_file: {what} cannot be written: ");
        assert_eq!((checked.code(), &*checked.stdout), (Some(1), ""), "{what}");
        assert!(checked.stderr.starts_with(&fault), "{}", checked.stderr);

        let exporter = api.often().set("poll.state_file", &what).start().await;
        let page = exporter
            .page_when("writes fail, and polls do not", |page| page.one(WRITE_FAILURES) >= 3.0)
            .await;
        assert_eq!((page.is_up(), page.certificates().len()), (true, 3), "{what}");
        assert_eq!(page.one(WRITE_FAILURES), page.polls(), "{what}");
        assert!(!exporter.log_lines("the state file cannot be written").is_empty(), "{what}");
        let shown = exporter.get("/").await.text().await.unwrap();
        assert!(shown.contains("The state file cannot be written."), "{what}: {shown}");
        assert!(shown.contains(&format!("{what}: ")), "{what}: {shown}");
        assert_eq!(exporter.status("/healthz").await, 200, "{what}");
    })
    .await;
}

#[tokio::test]
async fn path_of_something_else_ends_the_start_and_is_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("a_folder")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(path("a_pipe")).status().unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink("/dev/null", path("a_device")).unwrap();
    for name in ["a_folder", "a_pipe", "a_device"] {
        let state_file = path(name).display().to_string();
        for arguments in [&["--web.listen-address=127.0.0.1:0"][..], &["check-config"]] {
            let launch = Launch::bare(arguments).env("OPENAI_ADMIN_KEY", KEY);
            let ended = launch.set("poll.state_file", &state_file).until_it_ends().await;
            let message = format!("poll.state_file: {state_file} is not a regular file\n");
            assert_eq!(ended.stderr, format!("openai-cert-exporter: {message}"));
            assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""));
        }
        assert!(!std::fs::metadata(path(name)).unwrap().is_file(), "{name}");
    }
}

#[tokio::test]
async fn file_that_may_not_be_read_is_not_replaced() {
    let api = api().await;
    let state = State::left_by_a_run(&api).await;
    let left = state.content();
    let permit = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    permit(state.folder.path(), 0o777);
    permit(&state.folder.path().join("state.lock"), 0o666);
    permit(&state.path(), 0o000);
    let unprivileged = "setpriv --reuid=54321 --regid=54321 --clear-groups";
    let shell = format!("if [ $(id -u) = 0 ]; then exec {unprivileged} \"$0\" \"$@\"; fi; true");
    let fault = "it cannot be read, so it is not replaced";
    let exporter = state.launch(&api).under(&shell).start().await;
    let page = exporter.page_after_polls(1).await;
    assert!(page.is_up() && page.one(WRITE_FAILURES) >= 1.0, "{}", exporter.log());
    exporter.line_saying(fault).await;
    let check = Launch::bare(&["check-config"]).env("OPENAI_ADMIN_KEY", KEY).under(&shell);
    let check = check.set("poll.state_file", state.path().to_str().unwrap()).until_it_ends().await;
    let path = state.path().display().to_string();
    assert_eq!(
        check.stderr,
        format!("openai-cert-exporter: poll.state_file: {path} cannot be written: {fault}\n")
    );
    permit(&state.path(), 0o600);
    assert_eq!(state.content(), left);
}

#[tokio::test]
async fn file_of_another_process_is_read_and_not_written() {
    let (api, state) = (api().await, State::new());
    let first = state.launch(&api).start().await;
    first.page_when_up().await;
    let check = Launch::bare(&["check-config"]).env("OPENAI_ADMIN_KEY", KEY);
    let check = check.set("poll.state_file", state.path().to_str().unwrap());
    assert_eq!(check.until_it_ends().await.code(), Some(0));

    // By another name, and of another API: the first one's file is not set aside.
    let link = state.folder.path().join("link");
    std::os::unix::fs::symlink("state", &link).unwrap();
    let other_api = Api::listing(certificates(1)).await;
    let second = other_api.often().set("poll.state_file", link.to_str().unwrap()).start().await;
    let told = second.line_saying("read, but not written").await;
    assert!(told.contains("WARN") && told.contains("another process uses it"), "{told}");
    let page = second.page_after_polls(2).await;
    assert!(page.is_up() && page.one(WRITE_FAILURES) >= 2.0, "{}", second.log());
    assert!(!state.quarantined().exists());

    first.stop().await;
    until("the second one writes", async || {
        String::from_utf8_lossy(&state.content()).contains(&other_api.base_url()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn write_that_breaks_off_for_want_of_room_leaves_the_file_before_it() {
    let api = api().await;
    let state = State::left_by_a_run(&api).await;
    // Files may grow to some kilobytes at most, in units of 512 or 1,024 bytes, and the next snapshot is larger.
    api.now_lists(certificates(300));
    let exporter = state.launch(&api).under("ulimit -f 8").start().await;
    let page = exporter
        .page_when("writes fail, and polls do not", |page| page.one(WRITE_FAILURES) >= 2.0)
        .await;
    assert_eq!((page.is_up(), page.certificates().len()), (true, 300));
    exporter.stop().await;
    state.assert_tidy();

    api.answers(|_| Some(Answer::status(500)));
    let exporter = state.launch(&api).start().await;
    assert_eq!(exporter.page().await.certificates().len(), 3, "as it was written last");
}

#[tokio::test]
async fn name_that_cannot_be_resolved_leaves_what_was_known() {
    let state = State::left_by_a_run(&api().await).await;
    // The same, as if it came from a host that has had a name.
    let unnamed = "http://exporter-test.invalid/v1";
    state.edit(|content| content["base_url"] = json!(unnamed));

    let launch = Launch::often(unnamed).set("poll.state_file", state.path().to_str().unwrap());
    let launch = launch
        .set("api.insecure_http", "true")
        .set("api.request_timeout", "5s")
        .set("api.max_retries", "2");
    // Whoever is asked for names may not answer.
    let exporter = launch.env("RES_OPTIONS", "timeout:1 attempts:1").start().await;
    let page = exporter.page_after_polls(1).await;
    assert_eq!(page.failures().get("network"), Some(&1.0), "{:?}", page.failures());
    let tries = page
        .series("openai_cert_exporter_api_requests_total")
        .iter()
        .map(|sample| sample.value)
        .sum::<f64>();
    assert!(tries <= 3.0 * 2.0, "{tries} tries in the poll that is over and the one under way");
    assert_eq!((page.is_up(), page.certificates().len()), (false, 3));
    assert_eq!((exporter.status("/healthz").await, exporter.status("/readyz").await), (200, 200));
    let log = exporter.log();
    assert!(log.contains("exporter-test.invalid") || log.contains("dns error"), "{log}");
}

#[tokio::test]
async fn folder_that_comes_back_is_written_to_again() {
    let (api, state) = (api().await, State::new());
    let (folder, away) = (state.folder.path().join("inner"), state.folder.path().join("away"));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("state");
    let exporter = api.often().set("poll.state_file", path.to_str().unwrap()).start().await;
    exporter.page_after_polls(1).await;
    std::fs::rename(&folder, &away).unwrap();
    exporter.page_when("a write fails", |page| page.one(WRITE_FAILURES) >= 1.0).await;
    let is_said = async || {
        let page = exporter.get("/").await.text().await.unwrap();
        page.contains("The state file cannot be written.")
    };
    until("the status page says so", async || is_said().await.then_some(())).await;
    std::fs::rename(&away, &folder).unwrap();
    std::fs::remove_file(&path).unwrap();
    until("it is written again", async || path.is_file().then_some(())).await;
    until("the banner is gone", async || (!is_said().await).then_some(())).await;
}

/// A sample: the moments of the kills are spread over a poll and the write after it, but nothing makes sure that each step of
/// a write is met.
#[tokio::test]
async fn kill_at_sampled_moments_loses_nothing() {
    const SERIES: u64 = 4;
    const KILLS: u64 = 8;
    // Large enough for a write to take its time.
    let api = Api::listing(certificates(200)).await;
    all(0..SERIES, async |series| {
        let state = State::new();
        let launch = || state.launch(&api).without_arg("--log.level=trace");
        let mut running = launch().start().await;
        let mut last_success = running.page_when_up().await.one(LAST_SUCCESS);
        for kill in 0..KILLS {
            sleep(Duration::from_millis((series * KILLS + kill) * 37 % 160)).await;
            running.signal(Signal::KILL);
            running.ended().await;
            running = launch().start().await;
            assert_eq!(running.status("/readyz").await, 200, "{}", running.log());
            let page = running.page().await;
            assert_eq!(page.certificates().len(), 200);
            assert!(
                page.one(LAST_SUCCESS) >= last_success,
                "{} after {last_success}",
                page.one(LAST_SUCCESS)
            );
            last_success = page.one(LAST_SUCCESS);
            assert_eq!(running.log_lines("is set aside"), [""; 0]);
            assert_eq!(
                running.log_lines("serving the snapshot of an earlier run").len(),
                1,
                "{}",
                running.log()
            );
        }
        running.stop().await;
        state.assert_tidy();
    })
    .await;
}
