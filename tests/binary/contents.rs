//! The PEM of certificates.

use serde_json::json;
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use x509_parser::parse_x509_certificate;

use crate::api::{Answer, Api, List, Request, With as _, certificate};
use crate::page::Page;
use crate::tls::Authority;

/// The API's requests for a PEM.
fn asked(api: &Api) -> Vec<Request> {
    let requests = api.requests().into_iter();
    requests.filter(|request| matches!(request.list, List::Certificate(_))).collect()
}

#[tokio::test]
async fn content_is_asked_for_once_and_has_the_dates_that_the_list_lacks() {
    let pem = Authority::new().certificate;
    let undated = certificate("cert_undated").dated(None, None).holding(&pem);
    let api = Api::listing(vec![undated]).await;
    let exporter = api.often().set("certificates.content", "true").start().await;
    let page = exporter.page_after_polls(3).await;
    assert!(page.is_up());

    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, parsed) = parse_x509_certificate(&der).unwrap();
    #[expect(clippy::cast_precision_loss, reason = "seconds of this era")]
    let end = parsed.validity().not_after.timestamp() as f64;
    let shown = page.of("cert_undated", "openai_certificate_not_after_timestamp_seconds").unwrap();
    assert_eq!(shown, end);
    let asked = asked(&api);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].list, List::Certificate("cert_undated".into()));
    assert_eq!(asked[0].query("include[]"), Some("content"));
}

#[tokio::test]
async fn content_without_a_readable_certificate_is_asked_for_again() {
    let folder = TempDir::new().unwrap();
    let state_file = folder.path().join("state");
    let held = certificate("cert_a").holding(&Authority::new().certificate);
    let api = Api::listing(vec![held]).await.answering(|request| {
        let mangled = json!({"id": "cert_a", "certificate_details": {"content": ""}});
        matches!(request.list, List::Certificate(_)).then(|| Answer::body(&mangled))
    });
    let launch = || {
        let launch = api.often().set("certificates.content", "true");
        launch.set("poll.state_file", state_file.to_str().unwrap())
    };
    let is_unreadable =
        |page: &Page| page.labels("openai_certificate_problem", "problem").contains(&"unreadable");
    let exporter = launch().start().await;
    let page = exporter.page_after_polls(3).await;
    assert!(is_unreadable(&page));
    assert!(page.is_up(), "the API has answered: what is wrong is the certificate");
    assert!(asked(&api).len() >= 3);
    exporter.stop().await;

    let exporter = launch().start().await;
    api.answers_well();
    exporter.page_when("the PEM is read", |page| !is_unreadable(page)).await;
    let count = asked(&api).len();
    exporter.page_after_more_polls(2).await;
    assert_eq!(asked(&api).len(), count, "once it is read");
}
