//! Where configuration comes from, what is refused, and with which words.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::binary::{Ended, KEY, Launch, variable};
use crate::script::{Script, text};
use crate::wait::all;

/// A configuration file that goes when it is dropped.
struct File {
    _folder: TempDir,
    path: PathBuf,
}

impl File {
    fn with(text: impl AsRef<[u8]>) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("exporter.toml");
        std::fs::write(&path, text).unwrap();
        Self { _folder: folder, path }
    }

    fn flag(&self) -> String {
        format!("--config.file={}", self.path.display())
    }
}

fn check_config() -> Launch {
    Launch::bare(&["check-config"]).env("OPENAI_ADMIN_KEY", KEY)
}

/// Expects the start to end with this one message, and nothing besides.
fn assert_refused(what: &str, ended: &Ended, message: &str) {
    assert_eq!(ended.stderr, format!("openai-cert-exporter: {message}\n"), "{what}");
    assert_eq!(ended.stdout, "", "{what}");
    assert_eq!(ended.code(), Some(1), "{what}");
}

/// The line of the effective configuration for a key: its value, and where that came from.
fn setting(ended: &Ended, key: &str) -> (String, String) {
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let line = ended.stdout.lines().find(|line| line.split(' ').next() == Some(key));
    let (setting, origin) =
        line.unwrap_or_else(|| panic!("no {key} in:\n{}", ended.stdout)).rsplit_once('#').unwrap();
    (setting.split_once(" = ").unwrap().1.trim().into(), origin.trim().into())
}

fn owned(value: &str, origin: &str) -> (String, String) {
    (value.into(), origin.into())
}

#[tokio::test]
async fn later_layers_win() {
    let file =
        File::with("[api]\nbase_url = \"http://127.0.0.1:1/file\"\n[log]\nlevel = \"warn\"\n");
    let origin = format!("file {}", file.path.display());
    let expect = async |launch: Launch, key: &str, value: &str, origin: &str| {
        assert_eq!(setting(&launch.until_it_ends().await, key), owned(value, origin));
    };
    let with = |layers: usize| {
        let mut launch = check_config();
        if layers > 0 {
            launch = launch.arg(&file.flag());
        }
        if layers > 1 {
            launch =
                launch.env("OPENAI_BASE_URL", "http://127.0.0.1:1/short").set("log.level", "error");
        }
        if layers > 2 {
            launch = launch.set("api.base_url", "http://127.0.0.1:1/long").arg("--log.level=debug");
        }
        launch
    };
    expect(with(0), "api.base_url", "\"https://api.openai.com/v1\"", "default").await;
    expect(with(1), "api.base_url", "\"http://127.0.0.1:1/file\"", &origin).await;
    expect(
        with(2),
        "api.base_url",
        "\"http://127.0.0.1:1/short\"",
        "environment variable OPENAI_BASE_URL",
    )
    .await;
    let long = "environment variable OPENAI_CERT_EXPORTER__API__BASE_URL";
    expect(with(3), "api.base_url", "\"http://127.0.0.1:1/long\"", long).await;
    expect(with(0), "log.level", "\"info\"", "default").await;
    expect(with(1), "log.level", "\"warn\"", &origin).await;
    expect(
        with(2),
        "log.level",
        "\"error\"",
        "environment variable OPENAI_CERT_EXPORTER__LOG__LEVEL",
    )
    .await;
    expect(with(3), "log.level", "\"debug\"", "flag --log.level").await;
    // What one layer does not say is left as it was, also within a section.
    expect(with(3), "api.page_size", "100", "default").await;

    let other = check_config().set("api.admin_key", "another-key");
    let key = "environment variable OPENAI_CERT_EXPORTER__API__ADMIN_KEY";
    expect(other, "api.admin_key", "\"[redacted]\"", key).await;
    let twice = check_config().arg("--web.listen-address=:1").arg("--web.listen-address=[::1]:2");
    expect(twice, "web.listen_address", "[\":1\", \"[::1]:2\"]", "flag --web.listen-address").await;
    for addresses in ["[::1]:2", "[::1]:2,:1", "[\"[::1]:2\", ':1']"] {
        let ended = check_config().set("web.listen_address", addresses).until_it_ends().await;
        assert_eq!(ended.code(), Some(0), "{addresses}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn flag_may_stand_before_and_after_the_command() {
    for arguments in [["--log.level=warn", "check-config"], ["check-config", "--log.level=warn"]] {
        let ended = Launch::bare(&arguments).env("OPENAI_ADMIN_KEY", KEY).until_it_ends().await;
        assert_eq!(setting(&ended, "log.level").0, "\"warn\"");
    }
}

#[tokio::test]
async fn effective_configuration_is_valid_toml_and_tells_no_secret() {
    let ended = check_config().until_it_ends().await;
    assert_eq!(ended.code(), Some(0));
    assert_eq!(ended.stderr, "");
    assert_eq!(setting(&ended, "api.admin_key").0, "\"[redacted]\"");
    assert!(ended.stdout.ends_with("\n# The configuration is valid\n"), "{}", ended.stdout);
    // Every key that has a default is there, and nothing else but the key.
    let shown: toml::Table = toml::from_str(&ended.stdout).unwrap();
    let defaults: toml::Table = toml::from_str(include_str!("../../config/default.toml")).unwrap();
    for (section, values) in &defaults {
        for (key, value) in values.as_table().unwrap() {
            assert_eq!(shown[section].get(key), Some(value), "{section}.{key}");
        }
    }
    let count = |table: &toml::Table| {
        table.values().map(|section| section.as_table().unwrap().len()).sum::<usize>()
    };
    assert_eq!(count(&shown), count(&defaults) + 1);
    let file = File::with(format!("[api]\nadmin_key = \"{KEY}\"\n"));
    let ended = Launch::bare(&["check-config", &file.flag()]).until_it_ends().await;
    assert_eq!(
        setting(&ended, "api.admin_key"),
        owned("\"[redacted]\"", &format!("file {}", file.path.display()))
    );
}

#[tokio::test]
async fn shipped_files_are_valid() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    let ended =
        check_config().arg(&format!("--config.file={folder}/default.toml")).until_it_ends().await;
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    // The example names a file that a test has not: everything else in it is right if that is all that is said.
    let ended = Launch::bare(&["check-config", &format!("--config.file={folder}/example.toml")])
        .until_it_ends()
        .await;
    let file = "/run/secrets/openai/admin-key";
    let fault =
        format!("the admin key file {file} cannot be read: No such file or directory (os error 2)");
    assert_refused(
        "example",
        &ended,
        &format!("api.admin_key_file: {fault} (file {folder}/example.toml)"),
    );
}

#[tokio::test]
async fn admin_key_that_looks_like_something_else_is_text() {
    let names = ["OPENAI_ADMIN_KEY", "OPENAI_CERT_EXPORTER__API__ADMIN_KEY"].into_iter().cycle();
    let keys = ["12345", "007", "true", "1.5", "[1]", "null", "  trimmed\n"];
    all(keys.into_iter().zip(names), async |(key, name)| {
        let api = Script::of([text(r#"{"data":[],"has_more":false}"#)]).await;
        let launch = api.once().without_env("OPENAI_ADMIN_KEY").env(name, key);
        assert!(launch.start().await.page_after_polls(1).await.is_up(), "{key}");
        assert_eq!(
            api.requests().await[0].headers["authorization"],
            format!("Bearer {}", key.trim())
        );
    })
    .await;
}

#[tokio::test]
async fn variables_that_kubernetes_sets_are_ignored() {
    let mut launch = check_config();
    for (name, value) in [
        ("OPENAI_CERT_EXPORTER_SERVICE_HOST", "10.0.0.1"),
        ("OPENAI_CERT_EXPORTER_SERVICE_PORT", "10099"),
        ("OPENAI_CERT_EXPORTER_SERVICE_PORT_HTTP", "10099"),
        ("OPENAI_CERT_EXPORTER_PORT", "tcp://10.0.0.1:10099"),
        ("OPENAI_CERT_EXPORTER_PORT_10099_TCP", "tcp://10.0.0.1:10099"),
        ("OPENAI_CERT_EXPORTER_PORT_10099_TCP_ADDR", "10.0.0.1"),
        ("OPENAI_API_KEY", "another's"),
        ("OPENAI_CERT_EXPORTER__API__PAGE_SIZE", ""), // set to nothing
    ] {
        launch = launch.env(name, value);
    }
    let ended = launch.until_it_ends().await;
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(
        !ended.stdout.contains("environment variable OPENAI_CERT_EXPORTER"),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn unknown_keys_are_refused_by_name() {
    let api = "base_url, admin_key, admin_key_file, ca_file, client_cert_file, client_key_file, page_size, request_timeout, max_retries, insecure_http";
    let poll =
        "interval, timeout, projects, concurrency, state_file, project_include, project_exclude";
    let sections = "api, poll, certificates, web, log, clients";
    for (text, key, known) in [
        ("[api]\nadmin-key = \"x\"", "api.admin-key", api),
        ("[poll]\nintervall = \"5m\"", "poll.intervall", poll),
        ("[polling]\ninterval = \"5m\"", "polling", sections),
        ("interval = \"5m\"", "interval", sections),
        ("[web]\nport = 1", "web.port", "listen_address, config_file, probe_listen_address"),
        // What may be the admin key in the wrong place.
        (&format!("[api]\n{KEY} = 1"), "api.<not a name>", api),
    ] {
        let file = File::with(text);
        let ended = check_config().arg(&file.flag()).until_it_ends().await;
        let origin = format!("file {}", file.path.display());
        assert_refused(text, &ended, &format!("{key}: unknown key; there are: {known} ({origin})"));
    }
    for (key, named, known) in [
        ("api.nonsense", "api.nonsense", api),
        ("nonsense.key", "nonsense", sections),
        ("nonsense", "nonsense", sections),
        ("", "<not a name>", sections),
        (".key", "<not a name>", sections),
        ("api.", "api.<not a name>", api),
    ] {
        let ended = check_config().set(key, "1").until_it_ends().await;
        let origin = format!("environment variable {}", variable(key));
        assert_refused(
            key,
            &ended,
            &format!("{named}: unknown key; there are: {known} ({origin})"),
        );
    }
}

const URL: &str = "must be a URL such as \"https://api.openai.com/v1\"";
const HTTPS: &str =
    "must be https, since the host is not this machine and api.insecure_http is not set";
const PAGE_SIZE: &str = "must be a whole number from 1 to 100";
const RETRIES: &str = "must be a whole number from 0 to 10";
const REQUEST_TIMEOUT: &str = "must be a duration from 10ms to 10m, such as \"90s\"";
const DURATION: &str = "must be a duration from 100ms to 1day, such as \"90s\"";
const ADDRESSES: &str =
    "must be an address such as \"0.0.0.0:10099\" or \":10099\", or a list of them";
const BOOLEAN: &str = "must be true or false";
const LEVEL: &str = "must be one of error, warn, info, debug, trace";
const FORMAT: &str = "must be text or json";
const PATTERNS: &str = "must be a regular expression that is not empty, or a list of them; what begins with [ is read as a \
                        list, such as [\"^prod-\"]";
const GROUP: &str = "must be a regular expression with a group, such as \"^(.+)-[0-9]{4}$\"";
const SECTION: &str = "must be a section";
const TEXT: &str = "must be a string";

#[tokio::test]
async fn bad_value_in_the_environment_is_refused() {
    for (key, values, fault) in [
        (
            "api.base_url",
            &["nonsense", "ftp://x/", "https://", "file:///etc/passwd", "/v1"][..],
            URL,
        ),
        (
            "api.base_url",
            &["http://example.com/v1", "http://10.0.0.1", "http://localhost.example.com"],
            HTTPS,
        ),
        (
            "api.base_url",
            &["https://user:word@x/", "https://user@x/"],
            "must not contain a user name or password",
        ),
        (
            "api.base_url",
            &["https://x/?a=b", "https://x/?", "https://x/#f"],
            "must not contain a query or fragment",
        ),
        (
            "api.page_size",
            &["0", "101", "-1", "1.5", "ten", "1e1", "99999999999999999999"],
            PAGE_SIZE,
        ),
        ("api.max_retries", &["-1", "11", "some"], RETRIES),
        (
            "api.request_timeout",
            &["0s", "9ms", "10m 1ms", "5", "-1s", "soon", "1e400s"],
            REQUEST_TIMEOUT,
        ),
        ("api.insecure_http", &["yes", "1", "maybe"], BOOLEAN),
        ("api.admin_key_file", &[" "], "must be the path of a file"),
        ("poll.interval", &["99ms", "24h 1ms", "300", "soon", "-5m"], DURATION),
        ("poll.timeout", &["0s", "2days", "99999999999999999999y"], DURATION),
        (
            "web.listen_address",
            &["10099", "localhost", ":99999", "::1:80", "[::1:80", "127.0.0.1:0,", ","],
            ADDRESSES,
        ),
        ("poll.projects", &["yes", "2"], BOOLEAN),
        ("poll.concurrency", &["0", "33", "many"], "must be a whole number from 1 to 32"),
        ("poll.project_include", &["(", "[a", "[\"(\"]", "[\"a\", 1]", "[1]", "[\"\"]"], PATTERNS),
        // As a set of characters, a list without quotes would match nearly every name.
        ("poll.project_exclude", &["*", " ", "[sandbox]", " [sandbox, test]", "[a-z]+"], PATTERNS),
        ("certificates.rotation_group", &["(", "no group"], GROUP),
        ("log.level", &["loud", "info,debug", "off"], LEVEL),
        ("log.format", &["xml"], FORMAT),
        ("api", &["1"], SECTION),
        ("api.admin_key.part", &[KEY], TEXT),
    ] {
        for value in values {
            let launch = Launch::bare(&["check-config"]).set(key, value);
            // The key itself only where it is not what is tried.
            let launch = if key.starts_with("api.admin_key") {
                launch
            } else {
                launch.env("OPENAI_ADMIN_KEY", KEY)
            };
            let named = key.trim_end_matches(".part");
            let message = format!("{named}: {fault} (environment variable {})", variable(key));
            assert_refused(value, &launch.until_it_ends().await, &message);
        }
    }
}

#[tokio::test]
async fn bad_value_in_a_file_is_refused() {
    for (text, key, fault) in [
        ("[api]\nbase_url = 7", "api.base_url", URL),
        ("[api]\npage_size = 0", "api.page_size", PAGE_SIZE),
        ("[api]\npage_size = 1.5", "api.page_size", PAGE_SIZE),
        ("[api]\npage_size = true", "api.page_size", PAGE_SIZE),
        ("[api]\npage_size = [50]", "api.page_size", PAGE_SIZE),
        ("[api]\nmax_retries = -1", "api.max_retries", RETRIES),
        ("[api]\nrequest_timeout = 10", "api.request_timeout", REQUEST_TIMEOUT),
        ("[api]\ninsecure_http = 1", "api.insecure_http", BOOLEAN),
        ("[api]\nadmin_key_file = 1", "api.admin_key_file", "must be the path of a file"),
        ("[api]\nca_file = 7", "api.ca_file", "must be the path of a file"),
        ("[poll]\ninterval = 300", "poll.interval", DURATION),
        ("[poll.interval]\nminutes = 5", "poll.interval", DURATION),
        ("[poll]\ntimeout = 2024-01-01", "poll.timeout", DURATION),
        ("[web]\nlisten_address = 10099", "web.listen_address", ADDRESSES),
        ("[web]\nlisten_address = []", "web.listen_address", ADDRESSES),
        ("[web]\nlisten_address = [\":1\", \"x\"]", "web.listen_address", ADDRESSES),
        ("[web]\nlisten_address = [1]", "web.listen_address", ADDRESSES),
        ("[poll]\nproject_include = [\"a\", \"(\"]", "poll.project_include", PATTERNS),
        ("[poll]\nproject_exclude = [1]", "poll.project_exclude", PATTERNS),
        // An empty pattern would leave out every project.
        ("[poll]\nproject_exclude = \"\"", "poll.project_exclude", PATTERNS),
        ("[poll]\nproject_exclude = [\"a\", \"\"]", "poll.project_exclude", PATTERNS),
        ("[certificates]\nrotation_group = 7", "certificates.rotation_group", GROUP),
        ("[log]\nlevel = \"loud\"", "log.level", LEVEL),
        ("[log]\nformat = 1", "log.format", FORMAT),
        ("api = 1", "api", SECTION),
        ("[[poll]]\ninterval = \"5m\"", "poll", SECTION),
        ("[api]\nadmin_key = \"\"", "api.admin_key", "the admin key is empty"),
        ("[api]\nadmin_key = \" \\n\"", "api.admin_key", "the admin key is empty"),
        ("[api]\nadmin_key = 12345678", "api.admin_key", TEXT),
        ("[api]\nadmin_key = true", "api.admin_key", TEXT),
        ("[api]\nadmin_key = 2024-01-01", "api.admin_key", TEXT),
        (&format!("[api]\nadmin_key = [\"{KEY}\"]"), "api.admin_key", TEXT),
        (&format!("[api.admin_key]\nvalue = \"{KEY}\""), "api.admin_key", TEXT),
    ] {
        let file = File::with(text);
        let launch = Launch::bare(&["check-config", &file.flag()]);
        // Where the key is not what is tried, a later layer has it; no later layer hides a fault in an earlier one.
        let given = text.contains("admin_key");
        let launch = if given { launch } else { launch.env("OPENAI_ADMIN_KEY", KEY) };
        let message = format!("{key}: {fault} (file {})", file.path.display());
        assert_refused(text, &launch.until_it_ends().await, &message);
    }
}

#[tokio::test]
async fn bad_flag_is_refused() {
    for (flag, key, fault) in [
        ("--log.level=loud", "log.level", LEVEL),
        ("--log.format=xml", "log.format", FORMAT),
        ("--web.listen-address=x", "web.listen_address", ADDRESSES),
    ] {
        let name = flag.split_once('=').unwrap().0;
        let ended = check_config().arg(flag).until_it_ends().await;
        assert_refused(flag, &ended, &format!("{key}: {fault} (flag {name})"));
    }
}

#[tokio::test]
async fn file_that_is_not_toml_is_refused_without_its_line() {
    for (text, fault) in [
        (
            format!("[api]\nadmin_key = \"{KEY}\n"),
            "invalid basic string, expected `\"` (line 2, column 42)",
        ),
        (
            format!("[api]\nadmin_key = {KEY}\n"),
            "string values must be quoted, expected literal string (line 2, column 13)",
        ),
        (
            format!("[api]\nadmin_key = \"{KEY}\" x"),
            "unexpected key or value, expected newline, `#` (line 2, column 44)",
        ),
        (
            format!("[api]\nadmin_key = \"{KEY}\\q\""),
            "missing escaped value, expected `b`, `e`, `f`, `n`, `r`, `\\`, `\"`, `x`, `u`, `U` (line 2, column 43)",
        ),
        (
            format!("[api]\nadmin_key = \"x\"\nadmin_key = \"{KEY}\""),
            "duplicate key (line 3, column 1)",
        ),
        (format!("\"{KEY}\""), "key with no value, expected `=` (line 1, column 31)"),
        (
            "[api]\nadmin_key = 99999999999999999999".into(),
            "a number is out of range (line 2, column 13)",
        ),
        (
            "[api]\nadmin_key = 0x7fffffffffffffffffff".into(),
            "a number is out of range (line 2, column 13)",
        ),
    ] {
        let file = File::with(&text);
        let ended = Launch::bare(&["check-config", &file.flag()]).until_it_ends().await;
        let message =
            format!("configuration file {} is not valid TOML: {fault}", file.path.display());
        assert_refused(&text, &ended, &message);
    }
}

#[tokio::test]
async fn file_that_cannot_be_read_is_refused() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing");
    let not_text = File::with([b"[api]\nadmin_key = \"", KEY.as_bytes(), b"\xff\""].concat());
    let large = File::with("#".repeat(5 << 20));
    for (path, fault) in [
        (missing.as_path(), "No such file or directory (os error 2)"),
        (folder.path(), "it is not a regular file"),
        (Path::new("/dev/zero"), "it is not a regular file"),
        (&large.path, "it is larger than 4096 KiB"),
        (&not_text.path, "it is not UTF-8"),
    ] {
        let ended =
            check_config().arg(&format!("--config.file={}", path.display())).until_it_ends().await;
        assert_refused(
            fault,
            &ended,
            &format!("configuration file {} cannot be read: {fault}", path.display()),
        );
    }
}

#[tokio::test]
async fn there_is_exactly_one_admin_key() {
    let none = "api.admin_key: no admin key is given; set OPENAI_ADMIN_KEY, api.admin_key or api.admin_key_file, or run the \
                demo, which needs none (not set)";
    for command in [&["check-config"][..], &["run"], &[]] {
        assert_refused("none", &Launch::bare(command).until_it_ends().await, none);
        let both = Launch::bare(command)
            .env("OPENAI_ADMIN_KEY", KEY)
            .set("api.admin_key_file", "/dev/null");
        let message = "api.admin_key: must not be set together with api.admin_key_file, which is set by environment variable \
                       OPENAI_CERT_EXPORTER__API__ADMIN_KEY_FILE (environment variable OPENAI_ADMIN_KEY)";
        assert_refused("both", &both.until_it_ends().await, message);
    }
    for key in [" \t\n", "two\nlines", "naïve", "bell\u{7}"] {
        let fault = match key.trim() {
            "" => "the admin key is empty",
            "two\nlines" => "the admin key has a blank or a line break in the middle",
            _ => "the admin key has a character that an HTTP header cannot carry",
        };
        let ended = Launch::bare(&[]).env("OPENAI_ADMIN_KEY", key).until_it_ends().await;
        let message = format!("api.admin_key: {fault} (environment variable OPENAI_ADMIN_KEY)");
        assert_refused(key, &ended, &message);
    }
}

#[tokio::test]
async fn key_file_without_a_key_ends_the_start() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("key");
    let shown = path.display();
    let refused = async |fault: &str| {
        let ended = Launch::bare(&[])
            .set("api.admin_key_file", path.to_str().unwrap())
            .until_it_ends()
            .await;
        let origin = "environment variable OPENAI_CERT_EXPORTER__API__ADMIN_KEY_FILE";
        assert_refused(fault, &ended, &format!("api.admin_key_file: {fault} ({origin})"));
    };
    refused(&format!(
        "the admin key file {shown} cannot be read: No such file or directory (os error 2)"
    ))
    .await;
    for empty in ["", " \n"] {
        std::fs::write(&path, empty).unwrap();
        refused(&format!("the admin key file {shown} is empty")).await;
    }
    for (content, fault) in [
        (format!("{KEY}\n{KEY}").as_bytes(), "has a blank or a line break in the middle"),
        (
            format!("OPENAI_ADMIN_KEY={KEY}\n").as_bytes(),
            "has an equals sign: the name of a variable may stand before it; give the key alone",
        ),
        (&[KEY.as_bytes(), b"\xff"].concat(), "cannot be read: it is not UTF-8"),
        (KEY.repeat(3_000).as_bytes(), "cannot be read: it is larger than 64 KiB"),
    ] {
        std::fs::write(&path, content).unwrap();
        refused(&format!("the admin key file {shown} {fault}")).await;
    }
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    refused(&format!("the admin key file {shown} cannot be read: it is not a regular file")).await;
}

/// Of each kind one, and each key that is a path.
#[tokio::test]
async fn secret_in_the_place_of_a_path_is_refused_and_not_repeated() {
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwPLANTED\n-----END PRIVATE KEY-----\n";
    let secrets = [pem, KEY, &format!("\"{KEY}\"")];
    let keys = ["api.admin_key_file", "api.ca_file", "api.client_key_file", "poll.state_file"];
    let keys = keys.into_iter().chain(["web.config_file"]);
    let cases = keys.flat_map(|key| secrets.iter().map(move |secret| (key, *secret)));
    let looks_so = "must be the path of a file, but looks like what is in one: PEM or a key";
    all(cases, async |(key, secret)| {
        let ended = check_config().set(key, secret).until_it_ends().await;
        let origin = format!("environment variable {}", variable(key));
        assert_refused(key, &ended, &format!("{key}: {looks_so} ({origin})"));
    })
    .await;
    for arguments in [&["check-config"][..], &["--web.listen-address=127.0.0.1:0"]] {
        let launch = Launch::bare(arguments).set("api.admin_key_file", &format!("'{KEY}'"));
        let message = format!(
            "api.admin_key_file: {looks_so} (environment variable OPENAI_CERT_EXPORTER__API__ADMIN_KEY_FILE)"
        );
        assert_refused(arguments[0], &launch.until_it_ends().await, &message);
    }
    let ended = check_config().arg(&format!("--config.file={KEY}")).until_it_ends().await;
    assert_refused("flag", &ended, &format!("--config.file: {looks_so} (flag --config.file)"));
    // Base64 of what is secret, as a Secret of Kubernetes has it, and where no path belongs.
    let base64 = format!("LS0tLS1CRUdJTiBQUklWQVRF{}", "QUJD".repeat(9));
    let ended = check_config().set("api.client_key_file", &base64).until_it_ends().await;
    assert!(ended.stderr.contains(looks_so) && !ended.stderr.contains(&base64), "{}", ended.stderr);
    for arguments in [
        &["check-config", pem][..],
        &[pem],
        &["check", "--timeout", KEY],
        &["check", "--output=nagios", "--timeout", KEY],
        &["check-config", "--config.file", pem, pem],
    ] {
        let ended = Launch::bare(arguments).until_it_ends().await;
        assert!(matches!(ended.code(), Some(2 | 3)), "{arguments:?}");
        let said = ended.stderr + &ended.stdout;
        assert!(said.contains("an argument looks like PEM or a key"), "{said}");
        assert!(!said.contains("PLANTED") && !said.contains(KEY), "{said}");
    }
}

#[tokio::test]
async fn value_of_any_length_is_printed() {
    let pattern = "x".repeat(70_000);
    let ended = check_config().set("poll.project_include", &pattern).until_it_ends().await;
    let origin = format!("environment variable {}", variable("poll.project_include"));
    assert_eq!(setting(&ended, "poll.project_include"), (format!("\"{pattern}\""), origin));
}

#[tokio::test]
async fn address_that_cannot_be_had_ends_the_start() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
    let address = taken.local_addr().unwrap();
    let launch =
        Launch::bare(&[&format!("--web.listen-address={address}")]).env("OPENAI_ADMIN_KEY", KEY);
    let ended = launch.until_it_ends().await;
    assert_refused(
        "taken",
        &ended,
        &format!("cannot listen on {address}: Address already in use (os error 98)"),
    );
}
