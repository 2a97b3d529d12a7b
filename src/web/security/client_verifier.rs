//! Which certificates let a client in: those that the authorities in `client_ca_file` have issued and, as with Go's servers,
//! those that are listed there themselves, an authority's or not.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Version;

use super::web_config::ClientAuth;

/// A key of `tls_server_config`, and what is wrong with it.
type Fault = (&'static str, &'static str);

pub(super) fn client_verifier(
    client_auth: ClientAuth,
    listed: Option<Vec<CertificateDer<'static>>>,
    allowed_sans: &[String],
) -> Result<Arc<dyn ClientCertVerifier>, Fault> {
    if client_auth == ClientAuth::None {
        let without_effect = [
            ("client_ca_file", listed.is_some()),
            ("client_allowed_sans", !allowed_sans.is_empty()),
        ];
        let without_effect = without_effect.into_iter().find(|(_, is_set)| *is_set);
        return without_effect.map_or(Ok(WebPkiClientVerifier::no_client_auth()), |(key, _)| {
            Err((key, "has no effect without a client_auth_type that verifies clients"))
        });
    }
    let missing = "is missing, and so is client_ca; client_auth_type needs one of them";
    let listed = listed.ok_or(("client_ca_file", missing))?;
    let verifier = ListVerifier::new(listed, client_auth == ClientAuth::Required);
    Ok(Arc::new(verifier.map_err(|fault| ("client_ca_file", fault))?))
}

#[derive(Debug)]
struct ListVerifier {
    listed: Vec<CertificateDer<'static>>,
    /// Verifies what the authorities among them have issued, if there are any.
    issued: Option<Arc<dyn ClientCertVerifier>>,
    subjects: Vec<DistinguishedName>,
    is_mandatory: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ListVerifier {
    fn new(listed: Vec<CertificateDer<'static>>, is_mandatory: bool) -> Result<Self, &'static str> {
        let (mut all, mut authorities) = (RootCertStore::empty(), RootCertStore::empty());
        let mut is_useful = false;
        for certificate in &listed {
            let unreadable = "has a certificate that cannot be read";
            all.add(certificate.clone()).map_err(|_| unreadable)?;
            let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| unreadable)?;
            if may_issue(&parsed) {
                authorities.add(certificate.clone()).map_err(|_| unreadable)?;
            }
            // rustls takes no others from clients.
            is_useful |= is_for_clients(&parsed) && parsed.version() == X509Version::V3;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = WebPkiClientVerifier::builder_with_provider(authorities.into(), provider);
        // It fails where there is no authority.
        let issued = builder.build().ok();
        if issued.is_none() && !is_useful {
            return Err("has no certificate of an authority, and none that a client may present");
        }
        Ok(Self { listed, issued, subjects: all.subjects(), is_mandatory, algorithms })
    }
}

/// Whether a certificate is an authority's. One of version 1 cannot say so. If any other were taken for one, clients that are
/// listed could let others in.
fn may_issue(certificate: &X509Certificate<'_>) -> bool {
    let is_authority = match certificate.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        Ok(None) => certificate.version() == X509Version::V1,
        Err(_) => false,
    };
    let usage = certificate.key_usage();
    is_authority && usage.is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

fn is_for_clients(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.extended_key_usage();
    usage.is_ok_and(|usage| usage.is_none_or(|usage| usage.value.any || usage.value.client_auth))
}

/// What is listed is trusted as it stands: only its dates and its use count.
fn verify_listed(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let (_, certificate) =
        parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let (validity, now) = (certificate.validity(), now.as_secs().cast_signed());
    if now < validity.not_before.timestamp() {
        Err(CertificateError::NotValidYet)
    } else if now > validity.not_after.timestamp() {
        Err(CertificateError::Expired)
    } else if !is_for_clients(&certificate) {
        Err(CertificateError::InvalidPurpose)
    } else {
        Ok(())
    }
}

impl ClientCertVerifier for ListVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.listed.contains(end_entity) {
            verify_listed(end_entity, now)?;
            return Ok(ClientCertVerified::assertion());
        }
        match &self.issued {
            Some(issued) => issued.verify_client_cert(end_entity, intermediates, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;

    use super::*;

    /// `openssl x509 -req -days 36500` of OpenSSL 3.0 makes it without `-extfile`.
    const VERSION_1: &str = "-----BEGIN CERTIFICATE-----
MIIBFjCBvQIUHIAvQN6Bac1SOMeJPzql5cXhfVswCgYIKoZIzj0EAwIwDTELMAkG
A1UEAwwCdjEwIBcNMjYxMTMwMDIwODIxWhgPMjEyNjExMDYwMjA4MjFaMA0xCzAJ
BgNVBAMMAnYxMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEKDeX0VZDa7+c5ySn
tgwJgExam3723VyJ9rACptIaODXo6h9A3xjc5kqbCitmEbtCHSfCUY3CzDYQbTvQ
noPhlDAKBggqhkjOPQQDAgNIADBFAiABlQ1Nivo7gAH3G7nWsGexE3T1mIHPdJEd
oTahRDUoLgIhAOrTATWB4mAhAnWnngjn/7aJLhWYPNGpgxdJnGQJeVGl
-----END CERTIFICATE-----";

    #[test]
    fn reason_names_what_the_readme_says_is_not_supported() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::new(params.clone(), KeyPair::generate().unwrap());
        let listed = params.self_signed(issuer.key()).unwrap().der().clone();
        let verifier = ListVerifier::new(vec![listed], true).unwrap();
        let key = KeyPair::generate().unwrap();
        let of_an_authority = params.signed_by(&key, &issuer).unwrap().der().clone();
        let version_1 = CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap();
        for (certificate, reason) in
            [(version_1, "UnsupportedCertVersion"), (of_an_authority, "CaUsedAsEndEntity")]
        {
            let error = verifier.verify_client_cert(&certificate, &[], UnixTime::now());
            let error = error.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert!(include_str!("../../../README.md").contains(&format!("`{reason}`")));
        }
    }
}
