//! One poll, as cron, CI and monitoring plugins run it: the exit code, what is printed, and the file that is replaced.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::api::{Api, DAY, DemoCertificate, With as _, certificate, certificates, now};
use crate::binary::{Ended, KEY, Launch};
use crate::page::Page;
use crate::script::{Script, error};

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
        let failure = format!("server ({} answered 503 Service Unavailable)", refusing.address());
        assert!(said.contains(&failure), "{output}: {said}");
    }
    for arguments in [
        &["check"][..],
        &["check", "--output=nagios"],
        &["check", "--output=xml"],
        &["check", "--demo", "--warning=soon"],
        &["check", "--demo", "--warning=1d", "--critical=2d"],
        &["check", "--demo", "--config.file=/nonexistent"],
        &["check", "--demo", "--output-file=/nonexistent/file"],
    ] {
        let ended = Launch::bare(arguments).until_it_ends().await;
        assert_eq!(ended.code(), Some(3), "{arguments:?}");
        assert!(!format!("{}{}", ended.stdout, ended.stderr).is_empty(), "{arguments:?}");
    }
    let plugin = Launch::bare(&["check", "--output=nagios"]).until_it_ends().await;
    assert!(plugin.stdout.starts_with("UNKNOWN - api.admin_key: "), "{}", plugin.stdout);
    let help = Launch::bare(&["check", "--help"]).until_it_ends().await;
    assert_eq!(help.code(), Some(0));
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
    assert!(ended.stdout.starts_with("CRITICAL  "), "{}", ended.stdout);
    assert!(!ended.stdout.contains('\u{1b}'), "{}", ended.stdout);
    let lines: Vec<&str> =
        ended.stdout.lines().skip_while(|line| !line.contains("CERTIFICATE")).collect();
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

/// What the check of the demo shows on a terminal: its output, and what is said beside it.
fn on_a_terminal(environment: &[(&str, &str)]) -> (String, String) {
    let terminal = || {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let path = ptsname(&controller, Vec::new()).unwrap();
        let terminal = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        (File::from(controller), terminal)
    };
    let read = |mut controller: File| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            // The end of a terminal is an error.
            let _ = controller.read_to_end(&mut text);
            String::from_utf8(text).unwrap()
        })
    };
    let ((shown, stdout), (beside, stderr)) = (terminal(), terminal());
    let mut child = {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openai-cert-exporter"));
        command
            .args(["check", "--demo"])
            .env_clear()
            .env("TERM", "xterm")
            .envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap()
    };
    let (shown, beside) = (read(shown), read(beside));
    assert_eq!(child.wait().unwrap().code(), Some(2));
    (shown.join().unwrap(), beside.join().unwrap())
}

#[test]
fn terminal_gets_colour_and_a_spinner() {
    let (shown, beside) = on_a_terminal(&[]);
    assert!(shown.starts_with("\u{1b}[1m\u{1b}[31mCRITICAL"), "{}", &shown[..shown.len().min(200)]);
    assert!(beside.contains("polling: ") && beside.contains(" read"), "{beside:?}");
    assert!(beside.ends_with("\r\u{1b}[2K"), "the line is left empty: {beside:?}");
    let (plain, _) = on_a_terminal(&[("NO_COLOR", "1")]);
    assert!(
        plain.starts_with("CRITICAL") && !plain.contains('\u{1b}'),
        "{}",
        &plain[..plain.len().min(200)]
    );
    let (_, silent) = on_a_terminal(&[("TERM", "dumb")]);
    assert_eq!(silent, "");
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

#[tokio::test]
async fn file_is_replaced_whole_and_only_once_every_list_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certificates.prom");
    let flag = format!("--output-file={}", path.display());
    let ended = check(certificates(3), &["--output=prometheus", &flag]).await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(0), ""));
    let text = std::fs::read_to_string(&path).unwrap();
    let page = Page::parse(&text).unwrap();
    assert_eq!(page.series("openai_certificate_days_until_expiry").len(), 3);
    // The node exporter serves its own figures of these names, and refuses a file that has them too.
    assert!(!text.contains("process_") && !text.contains("go_"), "{text}");
    assert_ne!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o044,
        0,
        "others can read it"
    );

    let refusing = Script::of([error(500, None)]).await;
    let ended = launch(&refusing.base_url(), &["--output=prometheus", &flag]).until_it_ends().await;
    assert_eq!(ended.code(), Some(3));
    assert!(ended.stderr.contains("The last poll failed: server"), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "a failed poll takes nothing away");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
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
