//! The leaf that an issuer would sign: all of it is there but the signature, which only the issuer could make.

use tokio_rustls::rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer,
};
use webpki::{ALL_VERIFICATION_ALGS, Error, RawPublicKeyEntity};

use super::X509;

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
/// Version 3.
const VERSION: &[u8] = &[0xa0, 0x03, 0x02, 0x01, 0x02];
const SERIAL: &[u8] = &[0x02, 0x01, 0x01];
/// As much as webpki can read.
const VALIDITY: &[u8] = b"\x30\x20\x17\x0d700101000000Z\x18\x0f99991231235959Z";
const NO_NAME: &[u8] = &[SEQUENCE, 0];
const EXTENSIONS: u8 = 0xa3;
const EXTENDED_KEY_USAGE: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x25];
const CLIENT_AUTHENTICATION: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x23];
const KEY_IDENTIFIER: u8 = 0x80;

/// A leaf for client authentication that names `issuer` as its own, valid from 1970 to 9999. `None` if the issuer's key
/// is of a kind that is not supported.
pub(super) fn fresh_leaf(issuer: &X509) -> Option<X509> {
    let algorithm = element(SEQUENCE, &[signature_algorithm(issuer)?.as_ref()]);
    let key_id: Vec<_> =
        issuer.subject_key_id.iter().map(|id| element(KEY_IDENTIFIER, &[id])).collect();
    let key_id = element(SEQUENCE, &[&key_id.concat()]);
    let extensions = element(
        SEQUENCE,
        &[
            &extension(EXTENDED_KEY_USAGE, &element(SEQUENCE, &[CLIENT_AUTHENTICATION])),
            &extension(AUTHORITY_KEY_IDENTIFIER, &key_id),
        ],
    );
    let signed = element(
        SEQUENCE,
        &[
            VERSION,
            SERIAL,
            &algorithm,
            issuer.subject(),
            VALIDITY,
            NO_NAME,
            issuer.public_key(),
            &element(EXTENSIONS, &[&extensions]),
        ],
    );
    let certificate = element(SEQUENCE, &[&signed, &algorithm, &element(BIT_STRING, &[&[0, 0]])]);
    X509::new(CertificateDer::from(certificate))
}

/// The identifier of an algorithm by which the issuer's key can sign.
fn signature_algorithm(issuer: &X509) -> Option<AlgorithmIdentifier> {
    let key = SubjectPublicKeyInfoDer::from(issuer.public_key());
    let key = RawPublicKeyEntity::try_from(&key).ok()?;
    let is_for_key = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
        !matches!(
            key.verify_signature(**algorithm, &[], &[]),
            Err(Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_))
        )
    };
    Some(ALL_VERIFICATION_ALGS.iter().find(is_for_key)?.signature_alg_id())
}

fn extension(id: &[u8], value: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[id, &element(OCTET_STRING, &[value])])
}

/// A DER element of these contents.
pub(super) fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    let length = contents.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut element = vec![tag];
    if contents.len() < 0x80 {
        element.push(contents.len().to_le_bytes()[0]);
    } else {
        element.push(0x80 | length.len().to_le_bytes()[0]);
        element.extend(length);
    }
    element.extend(contents);
    element
}
