//! One poll, as cron, CI and monitoring plugins run it: the exit code, what is printed, and the file that is replaced.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{
    Answer, Api, DAY, DemoCertificate, List, Request, Then, With as _, certificate, certificates,
    entry_with, list_page, now, organization, project,
};
use crate::binary::{Ended, KEY, Launch};
use crate::page::Page;
use crate::script::{Script, error};
use crate::wait::{DEADLINE, until};

/// A certificate that ends in so many days, and a minute, so that it still does when it is looked at.
fn ending(id: &str, days: i64) -> DemoCertificate {
    certificate(id).dated(Some(1_700_000_000), Some(now() + days * DAY + 60))
}

/// Valid from a day later than those of [`ending`].
fn renewed(id: &str, days: i64) -> DemoCertificate {
    let DemoCertificate { valid_at, expires_at, .. } = ending(id, days);
    certificate(id).dated(valid_at.map(|begin| begin + DAY), expires_at)
}

fn launch(base_url: &str, arguments: &[&str]) -> Launch {
    let launch = Launch::bare(&["check"])
        .env("OPENAI_ADMIN_KEY", KEY)
        .env("OPENAI_BASE_URL", base_url)
        .set("api.max_retries", "0");
    arguments.iter().fold(launch, |launch, argument| launch.arg(argument))
}

async fn check(list: Vec<DemoCertificate>, arguments: &[&str]) -> Ended {
    let api = Api::listing(list).await;
    launch(&api.base_url(), arguments).until_it_ends().await
}

#[tokio::test]
async fn exit_code_is_that_of_the_worst() {
    for (list, arguments, code, why) in [
        (vec![], vec![], 0, "mutual TLS is not enforced"),
        (vec![ending("a", 40)], vec![], 0, "enough is left"),
        (vec![ending("a", 20)], vec![], 1, "less than 30 days"),
        (vec![ending("a", 5)], vec![], 2, "less than 7 days"),
        (vec![ending("a", -1)], vec![], 2, "expired"),
        (
            vec![ending("a", 5)],
            vec!["--critical=1d", "--warning", "4days"],
            0,
            "shorter thresholds",
        ),
        (vec![ending("a", 40)], vec!["--warning=60d", "--critical=50d"], 2, "longer ones"),
        (vec![ending("a", 40), ending("b", 5).inactive()], vec![], 0, "one that is active nowhere"),
        (
            vec![ending("a", 400).named("edge-2"), ending("b", 5).named("edge-v1")],
            vec![],
            2,
            "no generation",
        ),
        (
            vec![renewed("a", 400).named("edge-2027"), ending("b", 5).named("edge-2026")],
            vec![],
            1,
            "superseded",
        ),
    ] {
        let ended = check(list, &arguments).await;
        assert_eq!(
            (ended.code(), ended.stderr.as_str()),
            (Some(code), ""),
            "{why}:\n{}",
            ended.stdout
        );
    }
}

#[tokio::test]
async fn exit_code_is_3_where_nobody_knows() {
    let refusing = Script::of([error(503, None)]).await;
    for output in ["table", "json", "nagios", "prometheus"] {
        let ended = launch(&refusing.base_url(), &["--output", output]).until_it_ends().await;
        assert_eq!(ended.code(), Some(3), "{output}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        let failure = format!("{} answered 503 Service Unavailable", refusing.address());
        assert!(said.contains(&failure), "{output}: {said}");
        let unknown = "Nothing is known: the list of certificates has not been read.";
        assert!(said.contains(unknown), "{output}: {said}");
    }
    for arguments in [
        &["check"][..],
        &["check", "--output=nagios"],
        &["check", "--demo", "--label=a=b"],
        &["check", "--demo", "--output=prometheus", "--label=certificate_id=b"],
        &["check", "--output=xml"],
        &["check", "--demo", "--warning=soon"],
        &["check", "--demo", "--timeout=1000000000y"],
        &["check", "--demo", "--warning=1d", "--critical=2d"],
        &["check", "--demo", "--config.file=/nonexistent"],
        &["check", "--demo", "--output-file=/nonexistent/file"],
    ] {
        let ended = Launch::bare(arguments).until_it_ends().await;
        assert_eq!(ended.code(), Some(3), "{arguments:?}");
        assert!(!format!("{}{}", ended.stdout, ended.stderr).is_empty(), "{arguments:?}");
    }
    let help = Launch::bare(&["check", "--help"]).until_it_ends().await;
    assert_eq!(help.code(), Some(0));
}

/// A key that is missing, and arguments that cannot be parsed.
#[tokio::test]
async fn check_that_cannot_begin_says_so_in_its_format() {
    for (arguments, fault) in [
        (&[][..], "api.admin_key: no admin key is given"),
        (&["--warning=soon", "--nonsense"], "invalid value 'soon' for '--warning <TIME>'"),
    ] {
        let run = async |output: &str| {
            let launch = Launch::bare(&["check"]);
            let launch = arguments.iter().fold(launch, |launch, argument| launch.arg(argument));
            let ended = launch.arg("--output").arg(output).until_it_ends().await;
            assert_eq!(ended.code(), Some(3), "{output}");
            (ended.stdout, ended.stderr)
        };
        let (stdout, stderr) = run("nagios").await;
        assert!(stdout.starts_with(&format!("UNKNOWN - {fault}")), "{stdout}");
        assert_eq!((stdout.lines().count(), stderr.as_str()), (1, ""));
        let (stdout, stderr) = run("json").await;
        let document: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((&document["status"], &document["exit_code"]), (&json!("unknown"), &json!(3)));
        assert!(document["message"].as_str().unwrap().starts_with(fault), "{document}");
        assert_eq!(stderr, "");
        let (stdout, stderr) = run("prometheus").await;
        assert!(!Page::parse(&stdout).unwrap().is_up());
        assert!(stderr.contains(fault), "{stderr}");
        let (stdout, stderr) = run("table").await;
        assert!(stdout.is_empty() && stderr.contains(fault), "{stdout}{stderr}");
    }
}

#[tokio::test]
async fn check_ends_within_its_own_time() {
    let api = Api::listing(certificates(1)).await;
    api.answers(|_| Some(Answer::Late(10 * DEADLINE)));
    let launch = launch(&api.base_url(), &["--output=nagios", "--timeout=300ms"]);
    // Neither of these shortens or prolongs it.
    let ended =
        launch.set("poll.timeout", "1h").set("api.request_timeout", "10m").until_it_ends().await;
    assert_eq!(ended.code(), Some(3));
    let limit = "did not send a complete response before the poll timed out (--timeout)";
    assert!(ended.stdout.contains(limit), "{}", ended.stdout);
}

#[tokio::test]
async fn check_that_a_signal_ends_says_so() {
    let api = Api::of_bytes("", Then::Hold).await;
    let textfile = Textfile::new();
    let flag = format!("--output-file={}", textfile.path().display());
    for (count, signal, arguments) in [
        (0, Signal::TERM, &["--output=nagios"][..]),
        (1, Signal::INT, &["--output=json"]),
        (2, Signal::TERM, &["--output=prometheus", &flag]),
    ] {
        let is_asked = until("the request is there", async || (api.count() > count).then_some(()));
        let ended = launch(&api.base_url(), arguments).until_signal(signal, is_asked).await;
        let told = std::fs::read_to_string(textfile.path()).unwrap_or(ended.stdout);
        assert_eq!(ended.status.code(), Some(3), "{told}");
        let is_told = match count {
            0 => told.starts_with("UNKNOWN - interrupted by SIGTERM"),
            1 => told.contains("interrupted by SIGINT") && told.contains("\"exit_code\": 3"),
            _ => told.contains("\nopenai_cert_exporter_up 0\n"),
        };
        assert!(is_told, "{told}{}", ended.stderr);
    }
}

#[test]
fn reader_that_has_seen_enough_changes_no_exit_code() {
    for (arguments, code) in [(&["check", "--demo"][..], 2), (&["check-config"], 0)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_openai-cert-exporter"));
        command.args(arguments).env_clear().env("OPENAI_ADMIN_KEY", KEY);
        let ended = command.stdin(Stdio::null()).stdout(writer).output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{arguments:?}");
    }
}

#[tokio::test]
async fn plugin_prints_one_line_with_performance_data() {
    let hostile = ending("a", 20).named("a|b'=c\nCRITICAL - \u{1b}[31m\u{202e}");
    let ended = check(vec![hostile], &["--output=nagios"]).await;
    let line = ended.stdout.strip_suffix('\n').unwrap();
    assert!(!line.contains(char::is_control) && !line.contains('\u{202e}'), "{line:?}");
    let (message, performance) = line.split_once(" | ").unwrap();
    assert!(
        message.starts_with("WARNING - The organization is covered for only 20 more days, until "),
        "{message}"
    );
    assert!(!message.contains('|') && !performance.contains('|'), "{line}");
    let figures: Vec<(&str, Vec<&str>)> = performance
        .split(' ')
        .map(|figure| figure.split_once('=').unwrap())
        .map(|(name, values)| (name, values.split(';').collect()))
        .collect();
    let names: Vec<&str> = figures.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["runway_days", "expiry_days", "certificates", "active", "expired"]);
    for (_, values) in &figures[..2] {
        let days: f64 = values[0].parse().unwrap();
        assert!((19.99..20.01).contains(&days), "{performance}");
        assert_eq!(values[1..], ["30:", "7:"]);
    }
    assert_eq!(figures[2].1[0], "1");
}

#[tokio::test]
async fn table_is_sorted_aligned_and_plain_in_a_pipe() {
    let list = vec![
        ending("id-late", 300).named("東京"),
        ending("id-soon", 3).named("a name that is much longer"),
        ending("id-gone", -3).inactive(),
        ending("id-hostile", 100).named("x\u{1b}[2J\ny"),
    ];
    let ended = check(list, &[]).await;
    let (_, verdict) = ended.stdout.split_once("\n\nCRITICAL  ").unwrap();
    assert!(verdict.contains("expires in 3 days"), "{verdict}");
    assert!(!ended.stdout.contains('\u{1b}'), "{}", ended.stdout);
    let lines: Vec<&str> =
        ended.stdout.lines().skip_while(|line| !line.contains("CERTIFICATE")).take(5).collect();
    let order: Vec<&str> = ["id-soon", "id-hostile", "id-late", "id-gone"].into();
    for (line, id) in lines[1..].iter().zip(&order) {
        assert!(line.contains(id), "{line}");
    }
    assert_eq!(lines.len(), 1 + order.len(), "one line each:\n{}", ended.stdout);
    // Every character of these lines is one column wide.
    let column = lines[0].find("ID").unwrap();
    assert_eq!(
        (lines[1].rfind("id-soon"), lines[4].rfind("id-gone")),
        (Some(column), Some(column)),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn json_is_the_document_with_a_verdict() {
    let ended = check(vec![ending("a", 20)], &["--output=json"]).await;
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&document["status"], &document["exit_code"]), (&json!("warning"), &json!(1)));
    assert!(
        document["message"]
            .as_str()
            .unwrap()
            .starts_with("The organization is covered for only 20 more days")
    );
    assert_eq!(document["certificates"][0]["id"], "a");
    assert_eq!(document["scopes"][0]["scope"], "organization");
    assert_eq!(document["failures"], json!([]));
}

const LAST_POLL: &str = "openai_cert_exporter_last_poll_timestamp_seconds";

/// A folder for a textfile, and the runs that write it.
struct Textfile {
    folder: TempDir,
}

impl Textfile {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("certificates.prom")
    }

    /// A run, and the file after it.
    async fn after(&self, launch: Launch) -> (Ended, Page) {
        let flag = format!("--output-file={}", self.path().display());
        let ended = launch.arg("--output=prometheus").arg(&flag).until_it_ends().await;
        assert_eq!(ended.stdout, "");
        let text = std::fs::read_to_string(self.path()).unwrap();
        // The node exporter serves its own figures of these names, and refuses a file that has them too.
        assert!(!text.contains("process_") && !text.contains("go_"), "{text}");
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        assert_eq!(files.count(), 1, "nothing is left behind");
        (ended, Page::parse(&text).unwrap())
    }
}

#[tokio::test]
async fn textfile_tells_of_its_last_run_and_keeps_what_was_known() {
    let api = Api::listing(certificates(3)).await;
    let textfile = Textfile::new();
    let (ended, good) = textfile.after(launch(&api.base_url(), &[])).await;
    assert_eq!((ended.code(), ended.stderr.as_str(), good.is_up()), (Some(0), "", true));
    assert_eq!(good.series("openai_certificate_days_until_expiry").len(), 3);
    let mode = std::fs::metadata(textfile.path()).unwrap().permissions().mode();
    assert_ne!(mode & 0o044, 0, "others can read it");

    let kept = good.facts();

    // A poll that fails, twice, and runs that cannot even begin.
    api.answers(|_| Some(Answer::status(500)));
    let polled = || launch(&api.base_url(), &[]);
    let no_key = || polled().without_env("OPENAI_ADMIN_KEY");
    for (run, fault, reason) in [
        (polled(), "500 Internal Server Error", "server"),
        (polled(), "500 Internal Server Error", "server"),
        (no_key(), "no admin key is given", "credentials"),
        (polled().arg("--nonsense"), "unexpected argument '--nonsense'", "credentials"),
        (
            polled().set("api.ca_file", "/nonexistent"),
            "api.ca_file: /nonexistent cannot be read",
            "credentials",
        ),
    ] {
        let before = now() as f64;
        let (ended, failed) = textfile.after(run).await;
        assert_eq!(ended.code(), Some(3));
        assert!(ended.stderr.contains(fault), "{}", ended.stderr);
        assert_eq!((failed.is_up(), failed.reasons()), (false, vec![reason]));
        assert!(failed.one(LAST_POLL) >= before, "{fault}");
        assert_eq!(failed.facts(), kept, "{fault}");
        assert_eq!(failed.series("openai_certificate_days_until_expiry").len(), 3, "{fault}");
    }
    api.answers_well();
    let (_, again) = textfile.after(polled()).await;
    assert!(again.is_up());
}

#[tokio::test]
async fn textfile_of_a_partial_poll_has_what_was_read_and_what_was_known_of_the_rest() {
    let mut has = organization(certificates(1));
    has.projects.push(project("proj_a", vec![certificate("a")]));
    has.projects.push(project("proj_b", vec![certificate("b")]));
    let api = Api::of(has).await;
    let of_b = |request: &Request| request.is_of("proj_b").then(|| Answer::status(500));
    api.answers(of_b);
    let textfile = Textfile::new();
    let polled = || launch(&api.base_url(), &[]).projects();
    let (_, page) = textfile.after(polled()).await;
    assert_eq!((page.is_up(), page.reasons()), (false, vec!["server"]));
    let active = "openai_project_certificate_active";
    assert_eq!(page.find(active, &[("project_id", "proj_a")]), Some(1.0));
    assert_eq!(page.find(active, &[("project_id", "proj_b")]), None, "never read");

    api.answers_well();
    let (_, good) = textfile.after(polled()).await;
    // Which certificate of a project is superseded rests on all lists.
    let facts = |page: &Page| -> Vec<String> {
        let facts = page.facts().into_iter();
        facts
            .filter(|line| !line.starts_with("openai_certificate_superseded"))
            .map(Into::into)
            .collect()
    };
    let of_projects =
        |request: &Request| (request.list == List::Projects).then(|| Answer::status(500));
    let faults: [fn(&Request) -> Option<Answer>; 2] = [of_b, of_projects];
    for fault in faults {
        api.answers(fault);
        let (_, page) = textfile.after(polled()).await;
        assert!(!page.is_up());
        assert_eq!(facts(&page), facts(&good));
    }
    api.now_lists(vec![]);
    api.answers(of_projects);
    let (_, page) = textfile.after(polled()).await;
    assert_eq!(page.certificates().len(), 0, "what was read counts");
    assert_eq!(page.find(active, &[("project_id", "proj_a")]), Some(1.0));
}

#[tokio::test]
async fn failed_poll_is_told_on_standard_output_too() {
    let refusing = Script::of([error(500, None)]).await;
    let ended = launch(&refusing.base_url(), &["--output=prometheus"]).until_it_ends().await;
    let page = Page::parse(&ended.stdout).unwrap();
    assert_eq!((page.is_up(), page.reasons()), (false, vec!["server"]));
}

/// Without its labels it could be that of another organization.
#[tokio::test]
async fn textfile_that_cannot_be_labelled_stays_as_it_is_and_that_is_said() {
    let api = Api::listing(certificates(1)).await;
    let textfile = Textfile::new();
    let (_, before) = textfile.after(launch(&api.base_url(), &["--label=a=b"])).await;
    let label = "--label must be NAME=VALUE";
    for (label, fault) in [
        ("certificate_id=x", label),
        ("no-value", label),
        // A run that fails at something else too.
        ("a-b=x", "unexpected argument"),
    ] {
        let flag = format!("--label={label}");
        let run = launch(&api.base_url(), &[&flag]).without_env("OPENAI_ADMIN_KEY");
        let run = if fault == "unexpected argument" { run.arg("--nonsense") } else { run };
        let (ended, after) = textfile.after(run).await;
        assert_eq!((ended.code(), &after.text), (Some(3), &before.text), "{label}");
        assert!(ended.stderr.contains(fault), "{}", ended.stderr);
        assert!(ended.stderr.ends_with("; the output file was not updated\n"), "{}", ended.stderr);
    }
    assert_eq!(api.requests().len(), 1, "nothing is asked in vain");
}

#[tokio::test]
async fn textfile_that_is_replaced_keeps_its_mode_also_behind_a_link() {
    let api = Api::listing(certificates(1)).await;
    let (textfile, target) = (Textfile::new(), TempDir::new().unwrap());
    let file = target.path().join("certificates.prom");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&file, textfile.path()).unwrap();
    let (_, page) = textfile.after(launch(&api.base_url(), &[])).await;
    assert!(page.is_up());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn two_organizations_share_a_folder_by_their_labels() {
    let textfile = Textfile::new();
    let api = Api::listing(certificates(2)).await;
    let run = |labels: &[&str]| launch(&api.base_url(), labels);
    let labels = ["--label=organization=acme", "--label", "stage=\"x\""];
    let (_, page) = textfile.after(run(&labels)).await;
    let of_acme = [("organization", "acme"), ("stage", "\"x\"")];
    for line in page.text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.contains(r#"{organization="acme",stage="\"x\"""#), "{line}");
    }
    assert_eq!(page.find("openai_cert_exporter_up", &of_acme), Some(1.0));
    assert_eq!(page.certificates().len(), 2);

    api.answers(|_| Some(Answer::status(500)));
    let (_, failed) = textfile.after(run(&labels)).await;
    assert_eq!(failed.certificates().len(), 2, "its own are kept");
    let long = format!("--label=organization={}", "é".repeat(300));
    let (_, other) = textfile.after(run(&[&long])).await;
    let cut = format!("{}…", "é".repeat(254));
    assert_eq!(other.find("openai_cert_exporter_up", &[("organization", &cut)]), Some(0.0));
    let (_, other) = textfile.after(run(&["--label=organization=other"])).await;
    assert_eq!(other.certificates().len(), 0, "another one's are not");
}

#[tokio::test]
async fn state_file_of_the_daemon_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let api = Api::listing(certificates(1)).await;
    let launch = launch(&api.base_url(), &[]).set("poll.state_file", path.to_str().unwrap());
    assert_eq!(launch.until_it_ends().await.code(), Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn logs_are_told_to_who_asks_for_them() {
    let ended = check(certificates(1), &["--log.level=info"]).await;
    assert!(ended.stderr.contains("poll succeeded"), "{}", ended.stderr);
}

#[tokio::test]
async fn entry_that_contradicts_itself_is_a_warning() {
    let details = |days: i64| json!({"valid_at": 5, "expires_at": now() + days * DAY});
    let twice =
        [300, 100].map(|days| entry_with("a", json!({"certificate_details": details(days)})));
    let api = Script::of_pages(&[list_page(&twice, false)]).await;
    let ended = launch(&api.base_url(), &[]).until_it_ends().await;
    assert_eq!(ended.code(), Some(1), "{}", ended.stdout);
    assert!(ended.stdout.contains("1 list entry could not be read in full"), "{}", ended.stdout);
}
