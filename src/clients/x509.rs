use std::fmt;
use std::ops::Range;

use aws_lc_rs::digest::{Context, SHA256};
use tokio_rustls::rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::KeyUsage;
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER,
};
use x509_parser::prelude::{FromDer as _, ParsedExtension};

use super::Span;

/// A certificate as it came, and what the rules ask of it.
#[derive(PartialEq, Eq)]
pub struct X509 {
    der: CertificateDer<'static>,
    /// The common name, or else the whole name.
    name: Box<str>,
    valid: Span,
    subject: Range<usize>,
    issuer: Range<usize>,
    public_key: Range<usize>,
    signed: Range<usize>,
    pub(super) signature: Box<[u8]>,
    /// The identifier of the signature's algorithm begins with this.
    pub(super) signature_oid: Box<[u8]>,
    pub(super) subject_key_id: Option<Box<[u8]>>,
    pub(super) has_authority_key_id: bool,
    /// The key that the extension names, if it names one.
    pub(super) authority_key_id: Option<Box<[u8]>>,
    pub(super) is_ca: bool,
    /// Whether its key usage allows to sign certificates; `None` without the extension.
    pub(super) signs_certificates: Option<bool>,
    pub(super) may_authenticate_clients: bool,
}

impl X509 {
    /// `None` if it cannot be read.
    pub(super) fn new(der: CertificateDer<'static>) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(&der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let part = |part: &[u8]| {
            let begin = part.as_ptr().addr().checked_sub(der.as_ptr().addr())?;
            (begin + part.len() <= der.len()).then_some(begin..begin + part.len())
        };
        let oid = parsed.signature_algorithm.algorithm.as_bytes();
        let usage = parsed.key_usage().ok().flatten().map(|usage| usage.value);
        let common_name = parsed.subject().iter_common_name().next();
        let authority_key_id = authority_key_id(&parsed);
        let name = common_name.and_then(|name| Some(name.as_str().ok()?.to_owned()));
        Some(Self {
            name: name.unwrap_or_else(|| parsed.subject().to_string()).into(),
            valid: Span {
                begin: parsed.validity().not_before.timestamp(),
                end: parsed.validity().not_after.timestamp(),
            },
            subject: part(parsed.subject().as_raw())?,
            issuer: part(parsed.issuer().as_raw())?,
            public_key: part(parsed.public_key().raw)?,
            signed: part(parsed.tbs_certificate.as_ref())?,
            signature: (*parsed.signature_value.data).into(),
            signature_oid: [&[0x06, u8::try_from(oid.len()).ok()?], oid].concat().into(),
            subject_key_id: subject_key_id(&parsed),
            has_authority_key_id: authority_key_id.is_some(),
            authority_key_id: authority_key_id.flatten(),
            is_ca: parsed.is_ca(),
            signs_certificates: usage.map(KeyUsage::key_cert_sign),
            may_authenticate_clients: may_authenticate_clients(&parsed, &der),
            der,
        })
    }

    /// Its common name, or else its whole subject.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// From its `notBefore` to its `notAfter`.
    pub fn valid(&self) -> Span {
        self.valid
    }

    pub(super) fn der(&self) -> CertificateDer<'_> {
        CertificateDer::from(self.der.as_ref())
    }

    pub(super) fn subject(&self) -> &[u8] {
        &self.der[self.subject.clone()]
    }

    pub(super) fn issuer(&self) -> &[u8] {
        &self.der[self.issuer.clone()]
    }

    /// As a `SubjectPublicKeyInfo`.
    pub(super) fn public_key(&self) -> &[u8] {
        &self.der[self.public_key.clone()]
    }

    /// What its signature is of.
    pub(super) fn signed(&self) -> &[u8] {
        &self.der[self.signed.clone()]
    }

    /// Whether it names another as its issuer, by name and, as far as both say, by key identifier. OpenSSL passes an issuer
    /// of another identifier over, even if it has signed.
    pub(super) fn may_be_issued_by(&self, issuer: &Self) -> bool {
        let both = self.authority_key_id.as_ref().zip(issuer.subject_key_id.as_ref());
        self.issuer() == issuer.subject() && both.is_none_or(|(named, own)| named == own)
    }

    /// Whether the two are one authority: of one name and key.
    pub(super) fn is_same_authority_as(&self, other: &Self) -> bool {
        self.subject() == other.subject() && self.public_key() == other.public_key()
    }
}

/// By name and dates: the whole is long.
impl fmt::Debug for X509 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "X509({:?} {:?})", self.name, self.valid)
    }
}

pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Context::new(&SHA256);
    for part in parts {
        digest.update(part);
    }
    let mut array = [0; 32];
    array.copy_from_slice(digest.finish().as_ref());
    array
}

fn subject_key_id(parsed: &X509Certificate<'_>) -> Option<Box<[u8]>> {
    let extension = parsed.get_extension_unique(&OID_X509_EXT_SUBJECT_KEY_IDENTIFIER).ok()??;
    match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.into()),
        _ => None,
    }
}

/// What the extension names, if there is one; it may name no key.
#[expect(clippy::option_option, reason = "whether there is one is asked apart from what it names")]
fn authority_key_id(parsed: &X509Certificate<'_>) -> Option<Option<Box<[u8]>>> {
    let extension = parsed.get_extension_unique(&OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER).ok()??;
    match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => {
            Some(id.key_identifier.as_ref().map(|id| id.0.into()))
        }
        _ => None,
    }
}

/// A leaf's extended key usage must name client authentication, if there is one (any usage is another purpose), and its
/// key usage must allow what a handshake does with the key. Neither a certificate authority nor what webpki cannot read
/// (an unknown critical extension) is let in by a peer that checks as webpki does.
fn may_authenticate_clients(parsed: &X509Certificate<'_>, der: &CertificateDer<'_>) -> bool {
    let extended = match parsed.extended_key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.client_auth),
        Err(_) => false,
    };
    let usage = match parsed.key_usage() {
        Ok(usage) => {
            usage.is_none_or(|usage| usage.value.digital_signature() || usage.value.key_agreement())
        }
        Err(_) => false,
    };
    extended && usage && !parsed.is_ca() && EndEntityCert::try_from(der).is_ok()
}
