//! Who may ask: users, passwords, and what a stranger can find out about them.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use tokio::time::{Instant, sleep};

use crate::harness::{DEADLINE, Exporter, Launch, all, client, until};
use crate::port::{Folder, hash, patient, serve};

/// The demo under a folder's web configuration, with all logs.
async fn demo(folder: &Folder) -> Exporter {
    let config = format!("--web.config.file={}", folder.web_config().display());
    Launch::bare(&["demo", "--web.listen-address=127.0.0.1:0", "--log.level=trace", &config]).start().await
}

fn users(users: &[(&str, &str)]) -> String {
    let lines: Vec<_> = users.iter().map(|(name, hash)| format!("  {name}: {hash}\n")).collect();
    format!("basic_auth_users:\n{}", lines.concat())
}

fn checks(exporter: &Exporter) -> usize {
    exporter.log_lines("a password was checked").len()
}

/// How many checks were under way at the same time, at most.
fn most_checks_at_once(exporter: &Exporter) -> i32 {
    let (mut now, mut most) = (0, 0);
    for line in exporter.log_lines("a password") {
        now += if line.contains("is being checked") { 1 } else { -1 };
        most = most.max(now);
    }
    most
}

async fn ask(http: &Client, exporter: &Exporter, name: &str, password: &str) -> StatusCode {
    http.get(exporter.url("/metrics")).basic_auth(name, Some(password)).send().await.unwrap().status()
}

#[tokio::test]
async fn every_path_but_health_needs_credentials_with_every_method() {
    let port = serve(Folder::with(&users(&[("alice", &hash("secret"))])), patient()).await;
    let http = client();
    let methods =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE];
    let paths = ["/", "/metrics", "/api/v1/certificates", "/none", "/healthzz", "/-/reload", "/favicon.ico"];
    let cases = paths.iter().flat_map(|path| methods.iter().map(move |method| (*path, method.clone())));
    all(cases, async |(path, method)| {
        let response = http.request(method.clone(), port.url("http", path)).send().await.unwrap();
        assert_eq!(response.status(), 401, "{method} {path}");
        let challenge = response.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
    })
    .await;
    assert_eq!(http.get(port.url("http", "/healthz")).send().await.unwrap().status(), 200);
    for (path, status) in [("/metrics", 200), ("/none", 404)] {
        let response = http.get(port.url("http", path)).basic_auth("alice", Some("secret")).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_the_right_credentials_is_refused() {
    let port = serve(Folder::with(&users(&[("alice", &hash("secret")), ("007", &hash("p:w"))])), patient()).await;
    let http = client();
    let status = async |values: &[&str]| {
        let mut request = http.get(port.url("http", "/metrics"));
        for value in values {
            request = request.header("authorization", *value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let right = "Basic YWxpY2U6c2VjcmV0"; // alice:secret
    for accepted in [right, "basic YWxpY2U6c2VjcmV0", "Basic MDA3OnA6dw=="] {
        assert_eq!(status(&[accepted]).await, 200, "{accepted}");
    }
    let refused = [
        "Basic",
        "Basic ",
        "Basic YWxpY2U=",             // alice
        "Basic YWxpY2U6",             // alice:
        "Basic OnNlY3JldA==",         // :secret
        "Basic YWxpY2U6c2VjcmV0AA==", // alice:secret and a NUL
        "Basic YWxpY2U6c2VjcmV",      // cut off
        "Basic QUxJQ0U6c2VjcmV0",     // ALICE:secret
        "Basic bm9ib2R5OnNlY3JldA==", // nobody:secret
        "Basic NzpwOnc=",             // 7:p:w
        "Basic /////w==",
        "Basic %%%",
        "Bearer YWxpY2U6c2VjcmV0",
        "YWxpY2U6c2VjcmV0",
    ];
    for value in refused {
        assert_eq!(status(&[value]).await, 401, "{value}");
    }
    assert_eq!(status(&[right, right]).await, 401, "twice");
}

#[tokio::test]
async fn a_stranger_costs_as_much_as_a_user_and_the_right_password_is_checked_once() {
    let folder = Folder::with(&users(&[("alice", &hash("secret")), ("bob", &hash("hidden"))]));
    let (exporter, http) = (demo(&folder).await, client());
    let mut expected = 0;
    // Name, password, whether they are right, and the checks that they cost.
    let steps = [
        ("alice", "wrong", false, 1),
        ("nobody", "wrong", false, 1),
        ("nobody", "secret", false, 1),
        ("mallory", "hidden", false, 1),
        ("", "", false, 1),
        ("alice", "secret", true, 1),
        ("alice", "secret", true, 0),
        ("bob", "hidden", true, 1),
        ("bob", "hidden", true, 0),
        // One user's success is not forgotten for another's, nor for a failure.
        ("alice", "wrong", false, 1),
        ("alice", "secret", true, 0),
        ("bob", "secret", false, 1),
        ("bob", "hidden", true, 0),
    ];
    for (name, password, is_right, cost) in steps {
        let status = ask(&http, &exporter, name, password).await;
        assert_eq!(status, if is_right { 200 } else { 401 }, "{name}:{password}");
        expected += cost;
        until("the check is logged", async || (checks(&exporter) >= expected).then_some(())).await;
        assert_eq!(checks(&exporter), expected, "{name}:{password}");
    }
    for path in ["/metrics", "/healthz"] {
        exporter.get(path).await;
    }
    assert_eq!(checks(&exporter), expected, "no credentials, no check");
    let said = exporter.stop().await;
    for secret in ["secret", "hidden", "$2b$"] {
        assert!(!said.stderr.contains(secret) && !said.stdout.contains(secret), "{secret} was said");
    }
}

#[tokio::test]
async fn guesses_do_not_keep_the_scraper_out() {
    // Slow enough that guesses pile up.
    let slow = bcrypt::hash("secret", 8).unwrap();
    let folder = Folder::with(&users(&[("alice", &slow)]));
    let (exporter, http) = (demo(&folder).await, client());
    assert_eq!(ask(&http, &exporter, "alice", "secret").await, 200);
    let before = checks(&exporter);
    let guesses: Vec<_> = (0..200)
        .map(|index| {
            let request = client().get(exporter.url("/metrics")).basic_auth("alice", Some(format!("guess {index}")));
            tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
        })
        .collect();
    until("guesses pile up", async || (checks(&exporter) > before).then_some(())).await;
    assert_eq!(ask(&http, &exporter, "alice", "secret").await, 200);
    assert_eq!(exporter.status("/healthz").await, 200);
    let mut refused = 0;
    let mut put_off = 0;
    for guess in guesses {
        match guess.await.unwrap() {
            401 => refused += 1,
            503 => put_off += 1,
            other => panic!("a guess was answered with {other}"),
        }
    }
    assert_eq!(checks(&exporter) - before, refused, "each guess that was not put off is checked, once");
    assert!(put_off > 0, "200 guesses at once waited");
    assert_eq!(most_checks_at_once(&exporter), 2);
    assert_eq!(ask(&http, &exporter, "alice", "wrong").await, 401, "the queue is free again");
}

#[tokio::test]
async fn a_new_password_counts_at_once_and_the_old_one_no_longer() {
    let (alice, bob) = (hash("secret"), hash("hidden"));
    let folder = Folder::with(&users(&[("alice", &alice), ("bob", &bob)]));
    let (exporter, http) = (demo(&folder).await, client());
    assert_eq!(ask(&http, &exporter, "alice", "secret").await, 200);
    assert_eq!(ask(&http, &exporter, "bob", "hidden").await, 200);
    folder.write("web.yml", &users(&[("alice", &hash("renewed")), ("bob", &bob)]));
    until("the old password is refused", async || {
        (ask(&http, &exporter, "alice", "secret").await == 401).then_some(())
    })
    .await;
    assert_eq!(ask(&http, &exporter, "alice", "renewed").await, 200);
    let before = checks(&exporter);
    assert_eq!(ask(&http, &exporter, "bob", "hidden").await, 200);
    assert_eq!(checks(&exporter), before, "nothing has changed for bob");
    folder.write("web.yml", &users(&[("alice", &alice)]));
    until("bob is gone", async || (ask(&http, &exporter, "bob", "hidden").await == 401).then_some(())).await;
}

#[tokio::test]
async fn probes_have_a_port_of_their_own_without_credentials() {
    let folder = Folder::with(&users(&[("alice", &hash("secret"))]));
    let config = format!("--web.config.file={}", folder.web_config().display());
    let arguments = ["demo", "--web.listen-address=127.0.0.1:0", "--web.probe-listen-address=127.0.0.1:0", &config];
    let exporter = Launch::bare(&arguments).start().await;
    let line = until("probes are served", async || exporter.log_lines("serving probes").pop()).await;
    let address = line.split_once("address=").unwrap().1.trim().to_owned();
    let http = client();
    let status = async |method: &str, path: &str| {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        http.request(method, format!("http://{address}{path}")).send().await.unwrap().status().as_u16()
    };
    for path in ["/healthz", "/-/healthy"] {
        assert_eq!(status("GET", path).await, 200, "{path}");
        assert_eq!(status("POST", path).await, 405, "{path}");
    }
    let start = Instant::now();
    for path in ["/readyz", "/-/ready"] {
        while status("GET", path).await != 200 {
            assert!(start.elapsed() < DEADLINE, "{path} never turned 200");
            sleep(Duration::from_millis(20)).await;
        }
    }
    for path in ["/", "/metrics", "/api/v1/certificates", "/none"] {
        assert_eq!(status("GET", path).await, 404, "{path}");
    }
}
