//! Signatures, each checked once.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_rustls::rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm,
};
use webpki::ALL_VERIFICATION_ALGS;

use super::X509;
use super::x509::sha256;

/// Which signatures are right: it takes most of the time of path validation, and never changes.
#[derive(Debug, Default)]
pub struct Signatures(Mutex<HashMap<[u8; 32], Checked>>);

#[derive(Debug)]
struct Checked {
    is_right: bool,
    was_asked_for: bool,
}

impl Signatures {
    /// Forgets what has not been asked for since the last call.
    pub fn forget_unused(&self) {
        self.checked().retain(|_, checked| mem::take(&mut checked.was_asked_for));
    }

    fn checked(&self) -> MutexGuard<'_, HashMap<[u8; 32], Checked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All algorithms of webpki, each of which remembers. The signature of an `unsigned` leaf is right by its own key,
    /// which is that of its issuer.
    pub(super) fn algorithms<'a>(&'a self, unsigned: Option<&'a X509>) -> Vec<Remembering<'a>> {
        let remembering = |algorithm: &&'static dyn SignatureVerificationAlgorithm| Remembering {
            algorithm: *algorithm,
            signatures: self,
            unsigned,
        };
        ALL_VERIFICATION_ALGS.iter().map(remembering).collect()
    }
}

#[derive(Debug)]
pub(super) struct Remembering<'a> {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    signatures: &'a Signatures,
    unsigned: Option<&'a X509>,
}

impl SignatureVerificationAlgorithm for Remembering<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let is_unsigned = self.unsigned.is_some_and(|leaf| {
            leaf.signed() == message && leaf.public_key().ends_with(public_key)
        });
        if is_unsigned {
            return Ok(());
        }
        // The message, which is an element of DER, is the only part that says where it ends; so it comes first.
        let (key_id, id) = (self.public_key_alg_id(), self.signature_alg_id());
        let lengths = [id.len(), key_id.len(), public_key.len()].map(usize::to_be_bytes);
        let parts = [message, lengths.as_flattened(), &id, &key_id, public_key, signature];
        let mut checked = self.signatures.checked();
        let checked = checked.entry(sha256(&parts)).or_insert_with(|| Checked {
            is_right: self.algorithm.verify_signature(public_key, message, signature).is_ok(),
            was_asked_for: true,
        });
        checked.was_asked_for = true;
        if checked.is_right { Ok(()) } else { Err(InvalidSignature) }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}
