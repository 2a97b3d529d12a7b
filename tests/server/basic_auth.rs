//! Who may ask: every path but health needs the credentials of a user, and nothing else will do. What a check of a password
//! costs is tested on the binary, whose log tells.

use reqwest::Method;

use crate::client::client;
use crate::server::serving;
use crate::tls::{Folder, hash, users};
use crate::wait::all;

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
