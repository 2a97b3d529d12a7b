//! Who may ask: every path but health needs the credentials of a user, and nothing else will do; and that a flood of wrong
//! ones keeps nobody out. What a check of a password costs is tested on the binary, whose log tells.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{Client, Method};
use tokio::task::JoinSet;

use crate::client::client;
use crate::server::serving;
use crate::tls::{Folder, hash, users};
use crate::wait::{DEADLINE, all, until};

#[tokio::test]
async fn every_path_but_health_needs_credentials_with_every_method() {
    let port =
        serving().secured(&Folder::with(&users(&[("alice", &hash("secret"))]))).start().await;
    let http = client();
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
    ];
    let paths = [
        "/",
        "/metrics",
        "/api/v1/certificates",
        "/none",
        "/healthzz",
        "/-/reload",
        "/favicon.ico",
    ];
    let cases =
        paths.iter().flat_map(|path| methods.iter().map(move |method| (*path, method.clone())));
    all(cases, async |(path, method)| {
        let response = http.request(method.clone(), port.url("http", path)).send().await.unwrap();
        assert_eq!(response.status(), 401, "{method} {path}");
        let challenge = response.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
    })
    .await;
    assert_eq!(http.get(port.url("http", "/healthz")).send().await.unwrap().status(), 200);
    for (path, status) in [("/metrics", 200), ("/none", 404)] {
        let response = http
            .get(port.url("http", path))
            .basic_auth("alice", Some("secret"))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{path}");
    }
}

#[tokio::test]
async fn credentials_that_are_not_quite_right_are_refused() {
    let folder = Folder::with(&users(&[("alice", &hash("secret")), ("007", &hash("p:w"))]));
    let port = serving().secured(&folder).start().await;
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

/// A client with a connection of its own, which it keeps.
fn client_at(address: IpAddr) -> Client {
    let client = Client::builder().pool_max_idle_per_host(1).local_address(address);
    client.no_proxy().tls_certs_only([]).timeout(DEADLINE).build().unwrap()
}

async fn status(http: &Client, port: SocketAddr, name: &str, password: &str) -> u16 {
    let request = http.get(format!("http://{port}/metrics")).basic_auth(name, Some(password));
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn flood_of_wrong_passwords_delays_a_new_scraper_by_a_few_checks() {
    const FLOOD: usize = 60;
    let hash = hash("secret");
    let names = ["alice", "bob", "carol"];
    let folder = Folder::with(&users(&names.map(|name| (name, hash.as_str()))));
    let port = serving().secured(&folder).start().await;
    let (address, refused) = (port.address, Arc::new(AtomicUsize::new(0)));
    let from = |last| IpAddr::from([127, 0, 0, last]);
    let mut flood = JoinSet::new();
    for number in 0..FLOOD {
        let (http, refused) = (client_at(from(2)), Arc::clone(&refused));
        flood.spawn(async move {
            for guess in 0.. {
                let password = format!("guess {guess} of {number}");
                assert_eq!(status(&http, address, "alice", &password).await, 401);
                refused.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    // By then each of its connections has failed.
    until("the flood is under way", async || {
        (refused.load(Ordering::Relaxed) >= 2 * FLOOD).then_some(())
    })
    .await;
    for (name, address_of_the_scraper) in [("alice", from(1)), ("bob", from(2))] {
        let before = refused.load(Ordering::Relaxed);
        assert_eq!(status(&client_at(address_of_the_scraper), address, name, "secret").await, 200);
        let waited_for = refused.load(Ordering::Relaxed) - before;
        assert!(waited_for < FLOOD / 3, "{name} waited for {waited_for} others");
    }
    flood.abort_all();
}

#[tokio::test]
async fn wrong_credentials_are_right_once_there_is_such_a_user() {
    let hash = hash("secret");
    let folder = Folder::with(&users(&[("alice", &hash)]));
    let port = serving().secured(&folder).start().await;
    let http = client();
    // Two times: checked, and remembered.
    for _ in 0..2 {
        assert_eq!(status(&http, port.address, "bob", "secret").await, 401);
    }
    folder.write("web.yml", &users(&[("alice", &hash), ("bob", &hash)]));
    until("bob is let in", async || {
        (status(&http, port.address, "bob", "secret").await == 200).then_some(())
    })
    .await;
}
