//! The PEM of certificates.

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use x509_parser::parse_x509_certificate;

use crate::api::{Api, List, With as _, certificate};
use crate::tls::Authority;

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
    let asked: Vec<_> = api
        .requests()
        .into_iter()
        .filter(|request| matches!(request.list, List::Certificate(_)))
        .collect();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].list, List::Certificate("cert_undated".into()));
    assert_eq!(asked[0].query("include[]"), Some("content"));
}
