//! What checking a password costs, as the log tells: the same whoever asks, and once for the same credentials.

use reqwest::{Client, StatusCode};

use crate::binary::{Exporter, Launch};
use crate::client::client;
use crate::tls::{Folder, hash, users};
use crate::wait::until;

/// The demo under a folder's web configuration, with all logs.
async fn demo(folder: &Folder) -> Exporter {
    Launch::demo().web_config(folder).arg("--log.level=trace").start().await
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
    http.get(exporter.url("/metrics"))
        .basic_auth(name, Some(password))
        .send()
        .await
        .unwrap()
        .status()
}

#[tokio::test]
async fn unknown_name_costs_as_much_as_a_user_and_credentials_are_checked_once() {
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
        ("alice", "guess", false, 1),
        ("alice", "secret", true, 0),
        ("bob", "secret", false, 1),
        ("bob", "hidden", true, 0),
        // Nor are failures.
        ("alice", "wrong", false, 0),
        ("nobody", "secret", false, 0),
        ("", "", false, 0),
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
        assert!(
            !said.stderr.contains(secret) && !said.stdout.contains(secret),
            "{secret} was said"
        );
    }
}

#[tokio::test]
async fn each_guess_is_checked_once_and_two_at_the_same_time() {
    let folder = Folder::with(&users(&[("alice", &hash("secret"))]));
    let (exporter, http) = (demo(&folder).await, client());
    // Each of fifty twice.
    let guesses: Vec<_> = (0..100)
        .map(|index| {
            let request = client()
                .get(exporter.url("/metrics"))
                .basic_auth("alice", Some(format!("guess {}", index % 50)));
            tokio::spawn(async move { request.send().await.unwrap().status() })
        })
        .collect();
    until("guesses pile up", async || (checks(&exporter) > 0).then_some(())).await;
    assert_eq!(exporter.status("/healthz").await, 200);
    assert_eq!(ask(&http, &exporter, "alice", "secret").await, 200);
    for guess in guesses {
        assert_eq!(guess.await.unwrap(), 401);
    }
    until("the checks are logged", async || (checks(&exporter) > 50).then_some(())).await;
    assert!(most_checks_at_once(&exporter) <= 2, "{}", most_checks_at_once(&exporter));
    // Two that are alike may be checked side by side.
    assert!(checks(&exporter) <= 51 + 25, "{}", checks(&exporter));
}

#[tokio::test]
async fn new_password_counts_at_once_and_costs_nobody_else_a_check() {
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
    until("bob is gone", async || {
        (ask(&http, &exporter, "bob", "hidden").await == 401).then_some(())
    })
    .await;
}
