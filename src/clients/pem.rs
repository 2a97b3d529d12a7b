//! Certificates out of PEM, without looking at what else stands there: a private key is never decoded.

use memchr::memmem;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::X509;

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// The certificates of a file in their order; `None` for one that cannot be read.
pub(super) fn certificates(pem: &[u8]) -> impl Iterator<Item = Option<X509>> {
    blocks(pem).map(|block| X509::new(CertificateDer::from_pem_slice(block).ok()?))
}

/// From each line that begins a certificate to the one that ends it, or to the end of the file.
pub(super) fn blocks(mut pem: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let begun = &pem[memmem::find(pem, BEGIN)?..];
        let length = memmem::find(begun, END).map_or(begun.len(), |end| end + END.len());
        let (block, rest) = begun.split_at(length);
        pem = rest;
        Some(block)
    })
}
