//! Certificates of every kind, good and bad.

use std::sync::LazyLock;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, NameConstraints,
    SigningKey as _,
};
use time::OffsetDateTime;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::super::fresh_leaf::element;
use crate::fixture::{DAY, NOW};
use crate::inventory::UnixSeconds;

/// Keys are made once: they only have to differ.
static KEYS: LazyLock<Vec<KeyPair>> =
    LazyLock::new(|| (0..16).map(|_| KeyPair::generate().unwrap()).collect());

/// What signs: a name and a key, each a number. A key that is used under two names, or a name with two keys, is an
/// ordinary thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) name: u8,
    pub(super) key: u8,
}

impl Authority {
    pub(super) fn distinguished_name(self) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, format!("name {}", self.name));
        name
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ca,
    /// Without a Subject Key Identifier.
    UnnamedCa,
    /// Without basic constraints.
    NoCa,
    /// An old form, which has no extensions.
    V1,
}

/// A certificate that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) subject: Authority,
    pub(super) signer: Authority,
    /// From and to, in days from [`NOW`].
    pub(super) days: (i64, i64),
    pub(super) kind: Kind,
    pub(super) path_length: Option<u8>,
    pub(super) usages: Vec<KeyUsagePurpose>,
    pub(super) extended: Vec<ExtendedKeyUsagePurpose>,
    pub(super) name_constraints: Option<NameConstraints>,
    pub(super) has_authority_key_id: bool,
    /// Whether the Authority Key Identifier is of another key than the signer's.
    pub(super) names_other_key: bool,
}

impl Plan {
    pub(super) fn ca(subject: Authority, signer: Authority) -> Self {
        Self {
            subject,
            signer,
            days: (0, 100),
            kind: Kind::Ca,
            path_length: None,
            usages: vec![KeyUsagePurpose::KeyCertSign],
            extended: vec![],
            name_constraints: None,
            has_authority_key_id: true,
            names_other_key: false,
        }
    }

    pub(super) fn root(subject: Authority) -> Self {
        Self::ca(subject, subject)
    }

    /// Its name and key are nobody's else.
    pub(super) fn leaf(signer: Authority) -> Self {
        Self {
            kind: Kind::NoCa,
            usages: vec![KeyUsagePurpose::DigitalSignature],
            extended: vec![ExtendedKeyUsagePurpose::ClientAuth],
            ..Self::ca(Authority { name: 99, key: 15 }, signer)
        }
    }

    pub(super) fn days(self, from: i64, to: i64) -> Self {
        Self { days: (from, to), ..self }
    }

    pub(super) fn pem(&self) -> String {
        let mut signer = named(self.signer);
        if self.names_other_key {
            signer.key_identifier_method = KeyIdMethod::PreSpecified(vec![9; 20]);
        }
        let issuer = Issuer::new(signer, &KEYS[usize::from(self.signer.key)]);
        let key = &KEYS[usize::from(self.subject.key)];
        let certificate = self.params().signed_by(key, &issuer).unwrap();
        if self.kind == Kind::V1 { self.v1(certificate.der()) } else { certificate.pem() }
    }

    fn params(&self) -> CertificateParams {
        let mut params = named(self.subject);
        params.not_before = OffsetDateTime::from_unix_timestamp(day(self.days.0)).unwrap();
        params.not_after = OffsetDateTime::from_unix_timestamp(day(self.days.1)).unwrap();
        if self.kind == Kind::Ca {
            let length = self.path_length.map(BasicConstraints::Constrained);
            params.is_ca = IsCa::Ca(length.unwrap_or(BasicConstraints::Unconstrained));
        }
        if self.kind == Kind::UnnamedCa {
            let is_ca = element(0x30, &[&[0x01, 0x01, 0xff]]);
            let extension = CustomExtension::from_oid_content(&[2, 5, 29, 19], is_ca);
            params.custom_extensions = vec![extension];
        }
        params.key_usages.clone_from(&self.usages);
        params.extended_key_usages.clone_from(&self.extended);
        params.name_constraints.clone_from(&self.name_constraints);
        params.use_authority_key_identifier_extension = self.has_authority_key_id;
        params.serial_number = Some(fastrand::u64(1 << 32..1 << 62).into());
        params
    }

    /// The same without version and extensions, signed anew.
    fn v1(&self, der: &[u8]) -> String {
        let (whole, _) = first_element(der);
        let (signed, rest) = first_element(whole);
        let (algorithm, _) = split(rest);
        let (_version, mut fields) = split(signed);
        let mut kept = Vec::new();
        for _ in 0..6 {
            let (field, rest) = split(fields);
            kept.extend_from_slice(field);
            fields = rest;
        }
        let signed = element(0x30, &[&kept]);
        let signature = KEYS[usize::from(self.signer.key)].sign(&signed).unwrap();
        let bits = element(0x03, &[&[0], &signature]);
        pem(&CertificateDer::from(element(0x30, &[&signed, algorithm, &bits])))
    }
}

pub(super) fn day(day: i64) -> UnixSeconds {
    NOW + day * DAY
}

fn named(authority: Authority) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = authority.distinguished_name();
    params
}

/// In lines of 64 characters, as OpenSSL wants them.
fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in der.chunks(3) {
        let bits =
            (0..3).fold(0_usize, |bits, n| bits << 8 | usize::from(*three.get(n).unwrap_or(&0)));
        for digit in 0..4 {
            let index = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= three.len() { char::from(DIGITS[index]) } else { '=' });
        }
    }
    let lines: Vec<_> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// The contents of the first DER element, and what follows it.
fn first_element(der: &[u8]) -> (&[u8], &[u8]) {
    let (element, rest) = split(der);
    (&element[element.len() - length(der).1..], rest)
}

/// The first DER element, and what follows it.
fn split(der: &[u8]) -> (&[u8], &[u8]) {
    let (head, contents) = length(der);
    der.split_at(head + contents)
}

/// The lengths of the head and of the contents of a DER element.
fn length(der: &[u8]) -> (usize, usize) {
    let bytes = usize::from(der[1].saturating_sub(0x80));
    let long = der[2..2 + bytes].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    (2 + bytes, if der[1] < 0x80 { usize::from(der[1]) } else { long })
}
