//! Whether clients are let in: their files as people have them, the anchors' PEM, and what would be.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::api::{
    Answer, Api, DAY, DemoCertificate, List, Organization, Request, With as _, certificate,
    list_page, now, project,
};
use crate::binary::{Ended, Launch};
use crate::page::Page;
use crate::status_page::without_links;
use crate::tls::{Authority, Pair};

const ACCEPTED: &str = "openai_client_certificate_accepted";
const REFUSED_FROM: &str = "openai_client_certificate_refused_from_timestamp_seconds";
const REFUSAL: &str = "openai_client_certificate_refusal";
const FAILED: &str = "openai_client_files_failed";
const FOUND: &str = "openai_client_certificates";

/// So many days after the start of all these tests: one instant, so that they may go on past midnight.
fn instant(days: i64) -> OffsetDateTime {
    static START: LazyLock<i64> = LazyLock::new(now);
    OffsetDateTime::from_unix_timestamp(*START + days * DAY).unwrap()
}

fn leaf(authority: &Authority, days: i64) -> Pair {
    let mut params = CertificateParams::default();
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (instant(-1), instant(days));
    authority.sign_with(params, ExtendedKeyUsagePurpose::ClientAuth)
}

/// A folder of clients' files, and the configuration that names them.
struct Clients(TempDir);

impl Clients {
    /// `FOLDER` in it stands for the folder.
    fn new(config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let config = config.replace("FOLDER", folder.path().to_str().unwrap());
        fs::write(folder.path().join("config.toml"), config).unwrap();
        Self(folder)
    }

    /// One client, `edge`, whose certificate ends so many days after the start; `more` is of its configuration.
    fn edge(anchor: &Authority, days: i64, more: &str) -> Self {
        let config = "[[clients]]\nname = 'edge'\ncertificate_files = ['FOLDER/leaf.pem']\n";
        let clients = Self::new(&format!("{config}{more}"));
        clients.write("leaf.pem", leaf(anchor, days).certificate);
        clients
    }

    fn path(&self, file: &str) -> String {
        self.0.path().join(file).to_str().unwrap().to_owned()
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(Path::new(&self.path(file)).parent().unwrap()).unwrap();
        fs::write(self.path(file), content).unwrap();
    }

    fn in_use(&self, launch: Launch) -> Launch {
        launch.arg(&format!("--config.file={}", self.path("config.toml")))
    }

    async fn check_config(&self) -> Ended {
        let launch = Launch::bare(&["check-config"]).env("OPENAI_ADMIN_KEY", "sk-admin-x");
        self.in_use(launch).until_it_ends().await
    }
}

/// An active certificate with the PEM of `authority`.
fn held(id: &str, authority: &Authority, days: i64) -> DemoCertificate {
    certificate(id)
        .holding(&authority.certificate)
        .dated(None, Some(instant(days).unix_timestamp()))
}

/// An organization with one active anchor.
fn organization(anchor: &Authority) -> Organization {
    crate::api::organization(vec![held("cert_root", anchor, 300)])
}

/// A client with these patterns of projects, where the only project is `prod-1`.
async fn edge_beside_prod(patterns: &str) -> (Clients, Api) {
    let anchor = Authority::new();
    let mut has = organization(&anchor);
    has.projects.push(project("prod-1", vec![]));
    (Clients::edge(&anchor, 10, &format!("projects = {patterns}\n")), Api::of(has).await)
}

/// The value of a series of one file.
fn of(page: &Page, name: &str, file: &str) -> Option<f64> {
    page.find(name, &[("file", file)])
}

/// The API's requests for a PEM.
fn contents(api: &Api) -> usize {
    let requests = api.requests().into_iter();
    requests.filter(|request| matches!(request.list, List::Certificate(_))).count()
}

#[tokio::test]
async fn file_that_cannot_be_used_costs_only_itself() {
    let anchor = Authority::new();
    let clients = Clients::new(
        "[[clients]]\nname = 'edge'\nissuer_files = ['FOLDER/[k]ey.pem']\n\
         certificate_files = ['FOLDER/*.pem', 'FOLDER/leaf.pem', 'FOLDER/none/*', 'FOLDER/loop/tls.crt', \
         'FOLDER/loop/*', 'FOLDER/loop/*.crt']\n",
    );
    let Pair { certificate, key } = leaf(&anchor, 100);
    clients.write("leaf.pem", key.clone() + &certificate);
    clients.write("large.pem", vec![b'x'; 10 << 20]);
    clients.write("key.pem", &key);
    clients.write("empty.pem", "");
    clients.write("text.pem", "no PEM at all");
    clients.write("der.pem", [0x30, 0x82, 0x01, 0x00, 0x30]);
    clients.write("cut.pem", &certificate[..certificate.len() / 2]);
    symlink("nowhere", clients.path("broken.pem")).unwrap();
    // What is below may not be looked at, as below a folder without the permission, which root has everywhere.
    symlink("loop", clients.path("loop")).unwrap();
    fs::create_dir(clients.path("folder.pem")).unwrap();
    let not_utf8 = OsStr::from_bytes(b"\xff.pem");
    fs::write(Path::new(&clients.path("")).join(not_utf8), "").unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(clients.path("pipe.pem")).status();
    assert!(pipe.unwrap().success());

    let api = Api::of(organization(&anchor)).await;
    let exporter = clients.in_use(api.often()).start().await;
    let page = exporter.page_after_polls(3).await;
    assert!(page.is_up(), "the files are not the API's");
    assert_eq!((page.one(FOUND), page.one(FAILED)), (1.0, 12.0), "{}", exporter.log());
    assert_eq!(of(&page, ACCEPTED, &clients.path("leaf.pem")), Some(1.0));
    for (file, fault) in [
        ("large.pem", "cannot be read: it is larger than 1024 KiB"),
        ("key.pem", "holds no certificate, but: private key"),
        ("empty.pem", "is empty"),
        ("text.pem", "is not in PEM: it has no BEGIN line"),
        ("der.pem", "is in a binary format such as DER or PKCS #12, not in PEM"),
        ("cut.pem", "cannot be used: block 1 (line 1) has no END line"),
        ("broken.pem", "cannot be read: No such file or directory"),
        ("pipe.pem", "cannot be read: it is not a regular file"),
        ("none/*", "matches no file"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
        ("loop/tls.crt", "cannot be read: Too many levels of symbolic links"),
        ("\u{fffd}.pem", "is empty"),
    ] {
        let mut lines = exporter.log_lines(&format!("a client's file is not used: it {fault}"));
        lines.retain(|line| line.contains(&format!("file={:?}", clients.path(file))));
        assert_eq!(lines.len(), 1, "{file} {fault}\n{}", exporter.log());
    }
    let secret = key.lines().nth(1).unwrap();
    let json = exporter.get("/api/v1/certificates").await.text().await.unwrap();
    assert!(!exporter.log().contains(secret) && !json.contains(secret));
}

#[tokio::test]
async fn name_of_a_file_breaks_no_line() {
    let anchor = Authority::new();
    let clients =
        Clients::new("[[clients]]\nname = 'edge'\ncertificate_files = ['FOLDER/*.pem']\n");
    let (bad, stranger) = ("bad\n\u{202e}.pem", "stranger\n\u{202e}.pem");
    clients.write(bad, "");
    clients.write(stranger, leaf(&Authority::new(), 10).certificate);
    let api = Api::of(organization(&anchor)).await;
    for format in ["text", "json"] {
        let launch = clients.in_use(api.once()).arg(&format!("--log.format={format}"));
        let exporter = launch.start().await;
        exporter.page_after_polls(1).await;
        for (said, file) in [("file is not used: it is empty", bad), ("is refused", stranger)] {
            let lines = exporter.log_lines(said);
            let line = lines.first().unwrap_or_else(|| panic!("{said}: {}", exporter.log()));
            if format == "json" {
                let line: Value = serde_json::from_str(line).unwrap();
                assert_eq!(line["file"], clients.path(file));
            } else {
                assert!(line.contains(&format!("file={:?}", clients.path(file))), "{line}");
                assert!(!exporter.log().contains('\u{202e}'), "{}", exporter.log());
            }
        }
    }
    let said = clients.check_config().await.stdout;
    assert!(said.contains(r"bad\n\u{202e}.pem is empty"), "{said}");
}

#[tokio::test]
async fn renewed_certificate_counts_from_the_next_poll_on() {
    let anchor = Authority::new();
    let clients = Clients::new(
        "[[clients]]\nname = 'edge'\ncertificate_files = ['FOLDER/secret/tls.crt']\n\
         [[clients]]\nname = 'all'\ncertificate_files = ['FOLDER/secret/**/*.crt']\n",
    );
    // As the kubelet mounts a Secret: a link to a folder, which is exchanged.
    clients.write("secret/..first/tls.crt", leaf(&anchor, 10).certificate);
    clients.write("secret/..second/tls.crt", leaf(&anchor, 100).certificate);
    symlink("..first", clients.path("secret/..data")).unwrap();
    symlink("..data/tls.crt", clients.path("secret/tls.crt")).unwrap();

    let api = Api::of(organization(&anchor)).await;
    let exporter = clients.in_use(api.often()).start().await;
    let file = clients.path("secret/tls.crt");
    let days = |page: &Page, name| {
        let at = page.find(name, &[("client", "edge"), ("file", &file)]).unwrap();
        ((at - now() as f64) / DAY as f64).round()
    };
    let page = exporter.page_after_polls(2).await;
    assert_eq!(days(&page, REFUSED_FROM), 10.0);
    assert_eq!(page.labels(FOUND, "client"), ["all", "edge"]);
    assert_eq!(page.find(FOUND, &[("client", "all")]), Some(1.0), "nothing counts twice");

    symlink("..second", clients.path("secret/..new")).unwrap();
    fs::rename(clients.path("secret/..new"), clients.path("secret/..data")).unwrap();
    let page = exporter.page_after_more_polls(2).await;
    assert_eq!(days(&page, REFUSED_FROM), 100.0);
    assert_eq!(days(&page, "openai_client_certificate_not_after_timestamp_seconds"), 100.0);
    // A file that turns bad loses its series, and is counted.
    clients.write("secret/..second/tls.crt", "rubbish");
    let page = exporter.page_after_more_polls(2).await;
    assert_eq!(page.find(FAILED, &[("client", "edge")]), Some(1.0));
    assert_eq!((page.series(ACCEPTED).len(), page.series(REFUSED_FROM).len()), (0, 0));
}

#[tokio::test]
async fn client_that_is_judged_nowhere_is_a_warning() {
    let (clients, api) = edge_beside_prod("['^prdo-']").await;
    let ended = check(clients.in_use(api.once().projects()), &[]).await;
    assert_eq!(ended.code(), Some(1), "{}", ended.stdout);
    let said = "Client edge is judged nowhere, since no project matches its patterns.";
    assert!(ended.stdout.contains(said), "{}", ended.stdout);
}

#[tokio::test]
async fn pattern_of_a_client_that_matches_no_project_is_told_once() {
    let (clients, api) = edge_beside_prod("['^prod-', '^cii-']").await;
    let exporter = clients.in_use(api.often().projects()).start().await;
    exporter.page_after_polls(3).await;
    let lines = exporter.log_lines("matches no project that is monitored");
    let names_both = |line: &String| line.contains("edge") && line.contains("^cii-");
    assert!(lines.len() == 1 && lines.iter().all(names_both), "{lines:?}");
}

#[tokio::test]
async fn projects_that_have_not_been_read_are_clients_projects_too() {
    let (anchor, other) = (Authority::new(), Authority::new());
    let clients = Clients::new(
        "[[clients]]\nname = 'edge'\ncertificate_files = ['FOLDER/edge.pem']\nprojects = ['^proj_']\n\
         [[clients]]\nname = 'own'\ncertificate_files = ['FOLDER/own.pem']\nprojects = ['^proj_']\n",
    );
    clients.write("edge.pem", leaf(&anchor, 100).certificate);
    clients.write("own.pem", leaf(&other, 100).certificate);
    let mut has = organization(&anchor);
    let own = certificate("cert_own").holding(&other.certificate);
    has.projects = ["proj_a", "proj_b"].map(|id| project(id, vec![own.clone()])).into();
    let api = Api::of(has).await;
    let launch = || clients.in_use(api.once().projects());
    let file = clients.path("textfile");
    let textfile = async || {
        check(launch(), &["--output=prometheus", &format!("--output-file={file}")]).await;
        Page::parse(&fs::read_to_string(&file).unwrap()).unwrap()
    };
    let accepted = |page: &Page| -> Vec<(String, String)> {
        let series = page.series(ACCEPTED).into_iter().filter(|sample| sample.value == 1.0);
        series
            .map(|sample| (sample.label("client").into(), sample.label("project_id").into()))
            .collect()
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(client, project)| ((*client).into(), (*project).into())).collect()
    };
    let all = [("edge", "proj_a"), ("edge", "proj_b"), ("own", "proj_a"), ("own", "proj_b")];
    assert_eq!(accepted(&textfile().await), pairs(&all));

    api.answers(|request| request.is_of("proj_a").then(|| Answer::status(500)));
    let exporter = clients.in_use(api.often().projects()).start().await;
    let page = exporter.page_after_polls(2).await;
    // The anchors of the organization are in effect there too, but the project may have others.
    let known = [("edge", "proj_a"), ("edge", "proj_b"), ("own", "proj_b")];
    assert_eq!(accepted(&page), pairs(&known));
    assert_eq!(page.series(ACCEPTED).len(), 3, "nothing is claimed of the fourth");
    assert_eq!(exporter.log_lines("judged nowhere"), [""; 0]);
    let ended = check(launch(), &[]).await;
    let said = "Client own is not known to be let in.";
    assert!(ended.stdout.contains(said), "{}", ended.stdout);
    let mut kept = accepted(&textfile().await);
    kept.sort();
    assert_eq!(kept, pairs(&all), "each once, what was known and what is");

    // Without the list of projects nobody knows which there are.
    api.answers(|request| (request.list == List::Projects).then(|| Answer::status(403)));
    let ended = check(launch(), &[]).await;
    let said = "2 client certificates are not known to be let in.";
    assert!(ended.stdout.contains(said), "{}", ended.stdout);
    let restarted = launch().start().await;
    restarted.page_after_polls(1).await;
    assert_eq!(restarted.log_lines("judged nowhere"), [""; 0]);
}

#[tokio::test]
async fn files_that_are_too_many_to_find_hide_no_other_client() {
    let anchor = Authority::new();
    let clients = Clients::new(
        "[[clients]]\nname = 'all'\ncertificate_files = ['FOLDER/all/*/*/tls.crt']\n\
         [[clients]]\nname = 'edge'\ncertificate_files = ['FOLDER/leaf.pem']\n",
    );
    clients.write("leaf.pem", leaf(&anchor, 10).certificate);
    fs::create_dir(clients.path("all")).unwrap();
    // Each leads back to all of them: 330 names, and as many below each.
    for number in 0..330 {
        symlink(".", clients.path(&format!("all/{number}"))).unwrap();
    }
    let api = Api::of(organization(&anchor)).await;
    let exporter = clients.in_use(api.once()).start().await;
    let page = exporter.page_after_polls(1).await;
    assert!(page.is_up(), "the files are not the API's");
    assert_eq!(page.find(ACCEPTED, &[("client", "edge")]), Some(1.0), "{}", exporter.log());
    let all = [("client", "all")];
    assert_eq!((page.find(FOUND, &all), page.find(FAILED, &all)), (Some(0.0), Some(1.0)));
    let (file, message) =
        (clients.path("all/*/*/tls.crt"), "needs a search of more than 100000 names");
    let document = exporter.get("/api/v1/certificates").await.text().await.unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let failed = json!([{"client": "all", "file": file, "message": message}]);
    assert_eq!(document["client_files_failed"], failed);
    assert!(exporter.get("/").await.text().await.unwrap().contains(message));
}

#[tokio::test]
async fn log_says_once_who_is_refused() {
    let anchor = Authority::new();
    let clients = Clients::edge(&anchor, 10, "");
    let api = Api::of(organization(&anchor)).await;
    let exporter = clients.in_use(api.often()).start().await;
    exporter.page_after_polls(2).await;
    assert_eq!(exporter.log_lines("refused"), [""; 0]);
    clients.write("leaf.pem", leaf(&Authority::new(), 10).certificate);
    exporter.page_after_more_polls(3).await;
    let lines = exporter.log_lines("a client is refused");
    assert!(lines.len() == 1 && lines[0].contains("unknown_issuer"), "{lines:?}");
    clients.write("leaf.pem", leaf(&anchor, 10).certificate);
    exporter.page_after_more_polls(3).await;
    assert_eq!(exporter.log_lines("a client is no longer refused").len(), 1);
}

#[tokio::test]
async fn log_judges_by_the_clock_of_the_api() {
    let anchor = Authority::new();
    let clients = Clients::edge(&anchor, 10, "");
    let api = Api::of(organization(&anchor)).await;
    let entry = json!({
        "id": "cert_root", "active": true, "name": null, "created_at": null, "certificate_details": {},
    });
    let days_behind = |days: i64| {
        let date = UNIX_EPOCH + Duration::from_secs((now() - days * DAY).cast_unsigned());
        let answer = Answer::body(&list_page(std::slice::from_ref(&entry), false));
        let answer = answer.header("date", &httpdate::fmt_http_date(date));
        move |request: &Request| (request.list == List::Certificates).then(|| answer.clone())
    };
    api.answers(days_behind(0));
    let exporter = clients.in_use(api.often()).start().await;
    exporter.page_after_polls(2).await;
    assert_eq!(exporter.log_lines("refused"), [""; 0]);
    // The leaf has been valid for a day.
    api.answers(days_behind(5));
    exporter.page_after_more_polls(3).await;
    let lines = exporter.log_lines("a client is refused");
    assert!(lines.len() == 1 && lines[0].contains("not_yet_valid"), "{lines:?}");
    api.answers(days_behind(0));
    exporter.page_after_more_polls(3).await;
    assert_eq!(exporter.log_lines("a client is no longer refused").len(), 1);
}

#[tokio::test]
async fn pem_that_cannot_be_read_costs_only_what_rests_on_it() {
    let (anchor, other) = (Authority::new(), Authority::new());
    let clients = Clients::new(
        "[[clients]]\nname = 'edge'\ncertificate_files = ['FOLDER/leaf.pem']\n\
         [[clients]]\nname = 'other'\ncertificate_files = ['FOLDER/other.pem']\nprojects = ['^proj_a$']\n",
    );
    clients.write("leaf.pem", leaf(&anchor, 100).certificate);
    clients.write("other.pem", leaf(&other, 100).certificate);
    let mut has = organization(&anchor);
    let held = certificate("cert_other").holding(&other.certificate);
    has.projects.push(project("proj_a", vec![held]));
    let api = Api::of(has).await;
    let is_of_other = |list: &List| *list == List::Certificate("cert_other".into());
    api.answers(move |request| is_of_other(&request.list).then(|| Answer::status(500)));
    let state = clients.path("state");
    let launch = || clients.in_use(api.often().projects()).set("poll.state_file", &state);
    let exporter = launch().start().await;

    let page = exporter.page_after_polls(3).await;
    assert!(!page.is_up());
    assert_eq!(page.reasons(), ["server"]);
    assert_eq!(of(&page, ACCEPTED, &clients.path("leaf.pem")), Some(1.0));
    assert_eq!(of(&page, ACCEPTED, &clients.path("other.pem")), None, "it cannot be known");
    let shown = without_links(&exporter.get("/").await.text().await.unwrap());
    let reason = "its certificate expires; whether it is let in until then is not known, since there is no readable PEM of";
    assert!(shown.contains(&format!("{reason} name of cert_other")), "{shown}");
    assert!(!shown.contains("its certificate has expired"), "{shown}");
    let said = "Client other is not known to be let in, since there is no readable PEM of name of cert_other.";
    assert!(shown.contains(said), "{shown}");
    let polls = exporter.get("/api/v1/polls").await.text().await.unwrap();
    let polls: Value = serde_json::from_str(&polls).unwrap();
    let failed = &polls["last_failure"]["failed_lists"][0];
    assert_eq!(
        (&failed["list"], &failed["certificate_id"]),
        (&"content".into(), &"cert_other".into())
    );

    api.answers_well();
    let page = exporter.page_when_up().await;
    assert_eq!(of(&page, ACCEPTED, &clients.path("other.pem")), Some(1.0));
    let asked = contents(&api);
    exporter.page_after_more_polls(2).await;
    assert_eq!(contents(&api), asked, "once an identifier");
    drop(exporter);
    // The state file has the PEM, so that a restart in an outage knows what was known.
    api.answers(|_| Some(Answer::status(503)));
    let page = launch().start().await.page_after_polls(1).await;
    assert_eq!(of(&page, ACCEPTED, &clients.path("other.pem")), Some(1.0));
    assert_eq!(contents(&api), asked);
}

#[tokio::test]
async fn what_would_be_is_told_with_its_exit_code() {
    let (anchor, other) = (Authority::new(), Authority::new());
    let clients = Clients::edge(&anchor, 200, "");
    let mut has = organization(&anchor);
    has.certificates.push(held("cert_other", &other, 400));
    let api = Api::of(has).await;
    for (arguments, code, said) in [
        (&[][..], 0, "Accepted"),
        (&[&*at(201)], 2, "its certificate has expired"),
        (&["--without=cert_none"], 3, "no list has a certificate with the id cert_none"),
        (&["--at=tomorrow"], 3, "must be an instant in UTC"),
        (
            &["--at=2027-01-01T00:00:00Z", "--output=prometheus"],
            3,
            "cannot be combined with --output prometheus",
        ),
    ] {
        let launch = clients.in_use(api.once()).set("poll.projects", "false");
        let ended = check(launch, arguments).await;
        let text = format!("{}{}", ended.stdout, ended.stderr).replace('\n', " ");
        assert_eq!(ended.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.to_lowercase().contains(&said.to_lowercase()), "{arguments:?}: {text}");
    }
}

fn check(launch: Launch, arguments: &[&str]) -> impl Future<Output = Ended> {
    let launch = launch.without_arg("--web.listen-address=127.0.0.1:0").arg("check");
    arguments.iter().fold(launch, |launch, argument| launch.arg(argument)).until_it_ends()
}

/// What a check says, whose exit code must be `code`.
async fn said(launch: Launch, arguments: &[&str], code: i32) -> String {
    let ended = check(launch, &[&["--output=nagios"], arguments].concat()).await;
    assert_eq!(ended.code(), Some(code), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    ended.stdout.split(" | ").next().unwrap().trim_end().to_owned()
}

fn date(days: i64) -> String {
    let at = instant(days);
    format!("{} {} {}", at.day(), at.month(), at.year())
}

fn at(days: i64) -> String {
    format!("--at={}", humantime::format_rfc3339_seconds(instant(days).into()))
}

#[tokio::test]
async fn deactivation_is_not_ok_where_nobody_knows_who_is_a_client() {
    let (one, other) = (Authority::new(), Authority::new());
    let inactive = held("cert_off", &other, 500).inactive();
    let certificates = vec![held("cert_a", &one, 300), held("cert_b", &other, 400), inactive];
    let api = Api::listing(certificates).await;
    let unknown = "No clients are configured, so who would be refused is not known.";
    for (arguments, code, beginning) in [
        (
            vec!["--without=cert_a".into()],
            1,
            format!("WARNING - If cert_a were deactivated everywhere: nothing that is known would change. {unknown} The "),
        ),
        (
            vec!["--without=cert_b".into()],
            1,
            format!(
                "WARNING - If cert_b were deactivated everywhere: coverage of the organization would end on {} \
                 instead of {}. {unknown} The ",
                date(300),
                date(400)
            ),
        ),
        // Nobody can use what is not active.
        (
            vec!["--without=cert_off".into()],
            0,
            "OK - If cert_off were deactivated everywhere: nothing would change. The ".into(),
        ),
        (vec![at(200)], 0, format!("OK - On {}, ", date(200))),
        (vec![at(320)], 2, format!("CRITICAL - On {}, ", date(320))),
        (
            vec!["--without=cert_a".into(), "--without=cert_b".into()],
            1,
            "WARNING - If cert_a and cert_b were deactivated everywhere: mutual TLS would no longer be enforced for \
             the organization, so no client certificate would be needed. Mutual TLS is not enforced "
                .into(),
        ),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = said(api.once(), &arguments, code).await;
        assert!(said.starts_with(&beginning), "{beginning}\n{said}");
    }
    let said_later = said(api.once(), &[&at(320)], 2).await;
    let change = format!(
        " UTC: name of cert_a would not be valid. {unknown} name of cert_a is active but expired"
    );
    assert!(said_later.contains(&change), "{said_later}");
    // The exporter's own certificate is not what others present.
    let (folder, own) = (Clients::new(""), leaf(&other, 200));
    folder.write("own.pem", &own.certificate);
    folder.write("own.key", own.key);
    let launch = api.once().set("api.client_cert_file", &folder.path("own.pem"));
    let launch = launch.set("api.client_key_file", &folder.path("own.key"));
    let said = said(launch, &["--without=cert_a"], 1).await;
    assert!(said.contains(unknown), "{said}");
}

#[tokio::test]
async fn end_of_enforcement_is_a_warning_and_comes_first() {
    let anchor = Authority::new();
    let clients = Clients::edge(&anchor, 200, "");
    let mut has = organization(&anchor);
    has.projects = ["a", "b", "c", "d", "e"].map(|id| project(id, vec![])).into();
    let api = Api::of(has).await;
    let lost = "WARNING - If cert_root were deactivated everywhere: mutual TLS would no longer be enforced for \
                the organization, project name of a, project name of b and 3 more, so no client certificate would be needed.";
    let launch = || api.once().projects();
    for launch in [launch(), clients.in_use(launch())] {
        let said = said(launch, &["--without=cert_root"], 1).await;
        assert!(said.starts_with(&format!("{lost} Mutual TLS is not enforced")), "{said}");
    }
    // Doubt about what was read comes first elsewhere.
    api.answers(|request| {
        matches!(request.list, List::Certificate(_)).then(|| Answer::status(500))
    });
    let said = said(clients.in_use(launch()), &["--without=cert_root"], 1).await;
    assert!(said.starts_with(&format!("{lost} The last poll ")), "{said}");
}

#[tokio::test]
async fn what_would_change_is_told_file_by_file() {
    let (anchor, other, renewed) = (Authority::new(), Authority::new(), Authority::new());
    let clients = Clients::new(
        "[[clients]]\nname = 'edge'\ncertificate_files = 'FOLDER/*.crt'\n\
         [[clients]]\nname = 'solo'\ncertificate_files = 'FOLDER/solo.pem'\nissuer_files = 'FOLDER/ca.pem'\n\
         projects = '^proj_a$'\n\
         [[clients]]\nname = 'twin'\ncertificate_files = 'FOLDER/twin.pem'\n",
    );
    clients.write("canary.crt", leaf(&Authority::new(), 200).certificate);
    clients.write("tls.crt", leaf(&anchor, 200).certificate);
    clients.write("solo.pem", leaf(&anchor, 200).certificate);
    clients.write("ca.pem", &anchor.certificate);
    clients.write("twin.pem", leaf(&renewed, 200).certificate);
    let mut has = organization(&anchor);
    let certificates = [
        held("cert_other", &other, 400),
        held("cert_old", &renewed, 90),
        held("cert_new", &renewed, 350),
    ];
    has.certificates.extend(certificates);
    has.projects.push(project("proj_a", vec![]));
    let api = Api::of(has).await;
    let file = clients.path("tls.crt");
    let (ends, sooner) = (date(400), date(350));
    let (refused, later) = (date(90), date(200));
    for (without, change) in [
        (
            "cert_root",
            format!(
                "client edge in the organization ({file}), client solo in project name of proj_a and what the issuer \
                 of client solo in project name of proj_a signs would newly be refused"
            ),
        ),
        (
            "cert_other",
            format!(
                "coverage of the organization and project name of proj_a would end on {sooner} instead of {ends}"
            ),
        ),
        // An anchor that has ended may hide the one that has its key.
        (
            "cert_old",
            format!(
                "client twin in the organization would be refused from {later} instead of {refused}"
            ),
        ),
        ("cert_new", "nothing would change".into()),
    ] {
        let launch = clients.in_use(api.once().projects());
        let said = said(launch, &[&format!("--without={without}")], 2).await;
        let beginning = format!("CRITICAL - If {without} were deactivated everywhere: {change}. ");
        assert!(said.starts_with(&beginning), "{beginning}\n{said}");
    }
    let launch = clients.in_use(api.once().projects());
    let said = said(launch, &[&at(250), "--without=cert_other"], 2).await;
    assert!(said.starts_with(&format!("CRITICAL - On {}, ", date(250))), "{said}");
    let change = format!(
        " UTC, if cert_other were deactivated everywhere: client twin in the organization, client edge in the \
         organization ({file}) and client solo in project name of proj_a would newly be refused; name of cert_old \
         would not be valid; coverage of "
    );
    assert!(said.contains(&change), "{change}\n{said}");
}

#[tokio::test]
async fn plugin_prints_when_the_first_client_is_refused_and_how_many_are() {
    let (anchor, other) = (Authority::new(), Authority::new());
    let clients = Clients::new(
        "[[clients]]\nname = 'edge'\ncertificate_files = 'FOLDER/*.pem'\nissuer_files = 'FOLDER/ca.crt'\n",
    );
    clients.write("a.pem", leaf(&anchor, 20).certificate);
    clients.write("b.pem", leaf(&anchor, 90).certificate);
    clients.write("stranger.pem", leaf(&other, 10).certificate);
    clients.write("ca.crt", &other.certificate);
    let api = Api::of(organization(&anchor)).await;
    let ended = check(clients.in_use(api.once()), &["--output=nagios"]).await;
    let (_, figures) = ended.stdout.trim_end().split_once(" client_refusal_days=").unwrap();
    let (days, refusals) = figures.split_once(' ').unwrap();
    assert_eq!(days.parse::<f64>().unwrap().round(), 20.0, "{}", ended.stdout);
    assert_eq!(refusals, "client_refusals=1;;;0", "neither the issuer's nor those to come");
}

#[tokio::test]
async fn folder_is_no_file_unless_it_is_named() {
    let pem = leaf(&Authority::new(), 10).certificate;
    let folder = "cannot be read: it is not a regular file";
    for (pattern, found, fault) in [
        ("**", 2, None),
        ("**/*", 2, None),
        ("*", 1, None),
        ("*/", 1, None),
        ("*/*", 2, None),
        ("te[a]m", 0, Some("matches no file")),
        ("team", 0, Some(folder)),
        ("**/team", 0, Some(folder)),
    ] {
        let config = "[[clients]]\nname = 'edge'\ncertificate_files = ['FOLDER/certs/PATTERN']\n";
        let clients = Clients::new(&config.replace("PATTERN", pattern));
        clients.write("certs/team/x.pem", &pem);
        clients.write("certs/y.pem", &pem);
        symlink("team", clients.path("certs/link")).unwrap();
        let ended = clients.check_config().await;
        let lines = ended.stdout.lines().filter(|line| line.starts_with("# client edge: "));
        let lines: Vec<_> = lines.collect();
        let counts = format!("# client edge: {found} certificate files, 0 issuer files");
        assert_eq!(lines[0], counts, "{pattern}");
        assert_eq!(lines.len(), 1 + usize::from(fault.is_some()), "{pattern}: {lines:?}");
        assert!(fault.is_none_or(|fault| lines[1].ends_with(fault)), "{pattern}: {lines:?}");
    }
}

#[tokio::test]
async fn exporter_is_a_client_itself() {
    let anchor = Authority::new();
    let clients = Clients::new("");
    let Pair { certificate, key } = leaf(&anchor, 20);
    clients.write("own[1].pem", &certificate);
    clients.write("own.key", key);
    let api = Api::of(organization(&anchor)).await;
    let launch = api.once().set("api.client_cert_file", &clients.path("own[1].pem"));
    let exporter = launch.set("api.client_key_file", &clients.path("own.key")).start().await;
    let page = exporter.page_after_polls(1).await;
    let labels = [("client", "openai-cert-exporter"), ("scope", "organization")];
    assert_eq!(page.find(ACCEPTED, &labels), Some(1.0), "{}", exporter.log());
    assert_eq!(page.labels(REFUSAL, "reason"), ["expired"]);
}

#[tokio::test]
async fn configuration_of_clients_is_checked() {
    let one = "name = 'a'\ncertificate_files = 'FOLDER/a'\n";
    let cases = [
        (format!("[[clients]]\n{one}[[clients]]\n{one}"), "clients.1.name: must be unique"),
        (
            format!("[[clients]]\n{one}projects = '^p'\n"),
            "clients.0.projects: needs poll.projects = true",
        ),
        (
            "[[clients]]\nname = 'a'\n".into(),
            "clients.0.certificate_files: must not be empty without issuer_files",
        ),
        ("[[clients]]\ncertificate_files = 'x'\n".into(), "name is missing"),
        (
            format!("[[clients]]\n{}", one.replace("'a'", "'openai-cert-exporter'")),
            "clients.0.name: is reserved for the exporter itself",
        ),
        (
            format!("[[clients]]\n{one}files = 'x'\n"),
            "unknown key; there are: name, certificate_files, issuer_files, projects",
        ),
        (
            format!("[[clients]]\n{}", one.replace("FOLDER/a", "a[")),
            "clients.0.certificate_files: must be the path of a file",
        ),
        (
            format!("[[clients]]\n{}", one.replace("FOLDER/a", "sk-admin-abc")),
            "clients.0.certificate_files: must be the path of a file",
        ),
        (
            format!("[[clients]]\n{one}projects = '('\n"),
            "clients.0.projects: must be a regular expression",
        ),
        (format!("[clients]\n{one}"), "clients: must be a sequence"),
        (format!("[[clients]]\n{one}projects = []\n"), "clients.0.projects: must not be empty"),
    ];
    for (config, message) in cases {
        let ended = Clients::new(&config).check_config().await;
        assert_eq!(ended.code(), Some(1), "{config}");
        assert!(ended.stderr.contains(message), "{config}\n{}", ended.stderr);
        assert!(!ended.stderr.contains("sk-admin-abc"));
    }
    let clients = Clients::new(&format!("[[clients]]\n{one}"));
    clients.write("a", leaf(&Authority::new(), 1).certificate);
    let ended = clients.check_config().await;
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let counts = "# client a: 1 certificate files, 0 issuer files";
    assert!(ended.stdout.contains(counts), "{}", ended.stdout);
}
