use std::sync::Arc;

use super::fresh_leaf::fresh_leaf;
use super::pem::certificates;
use super::{Span, X509};

/// More than any handshake carries, and few enough for every path to be looked at.
const MAX_CERTIFICATES: usize = 32;

/// What a client presents: its leaf, and the intermediates in any order.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain {
    pub(super) leaf: X509,
    pub(super) intermediates: Box<[Arc<X509>]>,
    /// Whether the leaf is what an issuer would sign, with a signature that is taken for granted.
    pub(super) is_presumed: bool,
}

/// Why a file is no chain. Its text goes on from the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("is empty")]
    Empty,
    #[error("is DER; convert it to PEM")]
    Der,
    #[error("holds no certificate in PEM")]
    NoCertificate,
    /// Counted from 1.
    #[error("holds a certificate that cannot be read (number {0})")]
    Unreadable(usize),
    #[error("holds more than {MAX_CERTIFICATES} certificates")]
    TooMany,
}

impl Chain {
    /// Of a client's file: the leaf and the chain that it presents, in any order.
    pub fn from_pem(content: &[u8]) -> Result<Self, ChainError> {
        let mut read = read(content)?;
        let leaf = read.remove(lowest(&read));
        Ok(Self {
            leaf,
            intermediates: read.into_iter().map(Arc::new).collect(),
            is_presumed: false,
        })
    }

    /// Of an issuer's file (the certificate of the authority first, and then its chain): a leaf that the issuer signs now,
    /// presented with that file. It is valid whenever its path is.
    pub fn of_issuer_pem(content: &[u8]) -> Result<Self, ChainError> {
        let read = read(content)?;
        let leaf = fresh_leaf(&read[0]).ok_or(ChainError::Unreadable(1))?;
        Ok(Self {
            leaf,
            intermediates: read.into_iter().map(Arc::new).collect(),
            is_presumed: true,
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
    for (index, certificate) in certificates(content).enumerate() {
        let certificate = certificate.ok_or(ChainError::Unreadable(index + 1))?;
        if !read.contains(&certificate) {
            read.push(certificate);
        }
        if read.len() > MAX_CERTIFICATES {
            return Err(ChainError::TooMany);
        }
    }
    match content {
        _ if !read.is_empty() => Ok(read),
        [] => Err(ChainError::Empty),
        // A sequence whose length takes two bytes, as that of any certificate does.
        [0x30, 0x82, ..] => Err(ChainError::Der),
        _ => Err(ChainError::NoCertificate),
    }
}

/// The position of the certificate at the lower end: no authority rather than one, one that issued none of the others
/// rather than one that did, and then the first.
fn lowest(read: &[X509]) -> usize {
    let rank = |(index, certificate): (usize, &X509)| {
        let mut others = read.iter().enumerate().filter(|(other, _)| *other != index);
        let has_issued = others.any(|(_, other)| other.issuer() == certificate.subject());
        (certificate.is_ca, has_issued, index)
    };
    read.iter().enumerate().map(rank).min().map_or(0, |(_, _, index)| index)
}
