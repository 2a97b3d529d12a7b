//! Certificates as `rcgen` makes them.

use std::io;
use std::ops::Range;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::OffsetDateTime;

use crate::inventory::UnixSeconds;

/// What signs: a certificate authority with its key.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub(super) pem: String,
}

impl Authority {
    /// Self-signed, as OpenAI's help page wants an anchor: usable for certificates and revocation lists.
    pub(super) fn root(name: &str, valid: Range<UnixSeconds>) -> io::Result<Self> {
        Self::root_for(name, valid, &[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign])
    }

    pub(super) fn root_for(
        name: &str,
        valid: Range<UnixSeconds>,
        usages: &[KeyUsagePurpose],
    ) -> io::Result<Self> {
        let (params, key) = (authority(name, valid, usages)?, new_key()?);
        let pem = params.self_signed(&key).map_err(io::Error::other)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Signed by this one.
    pub(super) fn intermediate(&self, name: &str, valid: Range<UnixSeconds>) -> io::Result<Self> {
        let (params, key) = (authority(name, valid, &[KeyUsagePurpose::KeyCertSign])?, new_key()?);
        let pem = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// A certificate for client authentication.
    pub(super) fn client(&self, name: &str, valid: Range<UnixSeconds>) -> io::Result<String> {
        Ok(self.leaf(name, valid, |_| {})?.pem())
    }

    /// A certificate for client authentication, but for what `change` makes of it.
    pub(super) fn leaf(
        &self,
        name: &str,
        valid: Range<UnixSeconds>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> io::Result<rcgen::Certificate> {
        let mut params = certificate(name, valid)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        params.signed_by(&new_key()?, &self.issuer).map_err(io::Error::other)
    }
}

fn authority(
    name: &str,
    valid: Range<UnixSeconds>,
    usages: &[KeyUsagePurpose],
) -> io::Result<CertificateParams> {
    let mut params = certificate(name, valid)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = usages.to_vec();
    Ok(params)
}

fn certificate(name: &str, valid: Range<UnixSeconds>) -> io::Result<CertificateParams> {
    let instant = |at| OffsetDateTime::from_unix_timestamp(at).map_err(io::Error::other);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Example Corp");
    (params.not_before, params.not_after) = (instant(valid.start)?, instant(valid.end)?);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// On P-256, which takes no time to speak of.
fn new_key() -> io::Result<KeyPair> {
    KeyPair::generate().map_err(io::Error::other)
}
