use std::sync::Arc;

use super::fresh_leaf::fresh_leaf;
use super::{Span, X509};
use crate::pem::{self, PemError};

/// More than any handshake carries, and few enough for every path to be looked at.
const MAX_CERTIFICATES: usize = 32;

/// What a client presents: its leaf, and the intermediates in any order.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain {
    pub(super) leaf: X509,
    pub(super) intermediates: Box<[Arc<X509>]>,
    /// Whether the leaf is what an issuer would sign, with a signature that is taken for granted.
    pub(super) has_unsigned_leaf: bool,
}

/// Why a file is no chain. Its text goes on from the file's name.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum ChainError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("holds more than {MAX_CERTIFICATES} certificates")]
    TooMany,
    /// It is an issuer's.
    #[error("begins with a certificate whose key is of a kind that is not supported")]
    UnsupportedKey,
}

impl Chain {
    /// Of a client's file: the leaf and the chain that it presents, in any order.
    pub fn from_pem(content: &[u8]) -> Result<Self, ChainError> {
        let mut read = read(content)?;
        let leaf = read.remove(leaf_position(&read));
        Ok(Self {
            leaf,
            intermediates: read.into_iter().map(Arc::new).collect(),
            has_unsigned_leaf: false,
        })
    }

    /// Of an issuer's file (the certificate of the authority first, and then its chain): a leaf that the issuer signs now,
    /// presented with that file. It is valid whenever its path is.
    pub fn of_issuer_pem(content: &[u8]) -> Result<Self, ChainError> {
        let read = read(content)?;
        let leaf = fresh_leaf(&read[0]).ok_or(ChainError::UnsupportedKey)?;
        Ok(Self {
            leaf,
            intermediates: read.into_iter().map(Arc::new).collect(),
            has_unsigned_leaf: true,
        })
    }

    pub fn leaf(&self) -> &X509 {
        &self.leaf
    }

    pub fn intermediates(&self) -> &[Arc<X509>] {
        &self.intermediates
    }

    /// From the leaf's `notBefore` to its `notAfter`.
    pub fn valid(&self) -> Span {
        self.leaf.valid()
    }
}

/// At least one certificate, each once.
fn read(content: &[u8]) -> Result<Vec<X509>, ChainError> {
    let mut read: Vec<X509> = Vec::new();
    for item in pem::certificates(content)? {
        let certificate = X509::new(item.der.clone()).ok_or_else(|| item.unreadable())?;
        if !read.contains(&certificate) {
            read.push(certificate);
        }
        if read.len() > MAX_CERTIFICATES {
            return Err(ChainError::TooMany);
        }
    }
    Ok(read)
}

/// The position of the certificate at the lower end: no authority rather than one, one that issued none of the others
/// rather than one that did, and then the first.
fn leaf_position(read: &[X509]) -> usize {
    let rank = |(index, certificate): (usize, &X509)| {
        let mut others = read.iter().enumerate().filter(|(other, _)| *other != index);
        let has_issued = others.any(|(_, other)| other.issuer() == certificate.subject());
        (certificate.is_ca, has_issued, index)
    };
    read.iter().enumerate().map(rank).min().map_or(0, |(_, _, index)| index)
}
