use std::collections::HashMap;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::{
    SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use webpki::{EndEntityCert, KeyUsage, RawPublicKeyEntity, anchor_from_trusted_cert};

use super::x509::sha256;
use super::{Chain, Contents, Signatures, Span, X509};

/// As many as webpki follows.
const MAX_INTERMEDIATES: usize = 6;
/// Partial paths that are looked at, the shortest first. A chain that somebody made for use has a handful.
const MAX_PARTIAL_PATHS: usize = 64;
/// Authorities of one name and key identifier that are looked at for a missing intermediate.
const MAX_NAMESAKES: usize = 4;

/// Every path from a leaf to an anchor by names and signatures, whatever the dates, and wherever the anchor is active.
#[derive(Debug)]
pub(super) struct CandidatePaths {
    pub(super) chain: Arc<Chain>,
    pub(super) anchors: Box<[CandidateAnchor]>,
    /// If there is no path, the anchors that have signed an intermediate of the chain.
    pub(super) unconnected_anchors: Box<[Arc<str>]>,
}

#[derive(Debug)]
pub(super) struct CandidateAnchor {
    pub(super) id: Arc<str>,
    pub(super) certificate: Arc<X509>,
    pub(super) paths: Box<[CandidatePath]>,
}

/// A path from a leaf to an anchor: each certificate is signed by the next.
#[derive(Debug)]
pub(super) struct CandidatePath {
    pub(super) intermediates: Box<[Arc<X509>]>,
    /// When the leaf and all intermediates are valid.
    pub(super) valid: Span,
    /// Whether the client presents it, and webpki accepts it while it is valid.
    pub(super) is_sound: bool,
}

/// The intermediates that anybody presents, since a chain that lacks one may find it here. Nobody is let in by them.
#[derive(Debug, Default)]
pub(super) struct KnownIssuers(HashMap<[u8; 32], Vec<Arc<X509>>>);

impl KnownIssuers {
    pub(super) fn new<'a>(chains: impl Iterator<Item = &'a Chain>) -> Self {
        let mut known: HashMap<_, Vec<Arc<X509>>> = HashMap::new();
        for issuer in chains.flat_map(Chain::intermediates) {
            let Some(key_id) = &issuer.subject_key_id else { continue };
            let namesakes = known.entry(sha256(&[issuer.subject(), key_id])).or_default();
            if namesakes.len() < MAX_NAMESAKES && !namesakes.contains(issuer) {
                namesakes.push(Arc::clone(issuer));
            }
        }
        Self(known)
    }

    fn issuers_of(&self, certificate: &X509) -> &[Arc<X509>] {
        let key_id = certificate.authority_key_id.as_ref();
        let found = key_id.and_then(|key_id| self.0.get(&sha256(&[certificate.issuer(), key_id])));
        found.map_or(&[], Vec::as_slice)
    }
}

impl CandidatePaths {
    pub(super) fn new(
        chain: &Arc<Chain>,
        contents: &Contents,
        known: &KnownIssuers,
        signatures: &Signatures,
    ) -> Self {
        let algorithms = signatures.algorithms(chain.has_unsigned_leaf.then_some(&chain.leaf));
        let algorithms: Vec<_> = algorithms.iter().map(|algorithm| algorithm as _).collect();
        let search = Search { chain, known, algorithms: &algorithms };
        let partial_paths = search.partial_paths(&chain.leaf);
        let certificates =
            || contents.iter().filter_map(|(id, content)| Some((id, content.certificate()?)));
        let reached = certificates().filter_map(|(id, certificate)| {
            let paths = search.paths(&partial_paths, certificate);
            let anchor =
                CandidateAnchor { id: Arc::clone(id), certificate: Arc::clone(certificate), paths };
            (!anchor.paths.is_empty()).then_some(anchor)
        });
        let anchors: Box<[_]> = reached.collect();
        let unconnected = chain.intermediates.iter().filter(|_| anchors.is_empty());
        let unconnected_anchors = unconnected.flat_map(|intermediate| {
            let signers =
                certificates().filter(|(_, anchor)| search.has_signed(anchor, intermediate));
            signers.map(|(id, _)| Arc::clone(id))
        });
        let unconnected_anchors = unconnected_anchors.collect();
        Self { chain: Arc::clone(chain), anchors, unconnected_anchors }
    }
}

struct Search<'a> {
    chain: &'a Chain,
    known: &'a KnownIssuers,
    algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
}

/// The intermediates of a path that may go on, each of which has signed the one before.
type PartialPath<'a> = Vec<&'a Arc<X509>>;

impl<'a> Search<'a> {
    /// Every partial path from the leaf upwards, the empty one included, without passing an authority twice.
    fn partial_paths(&self, leaf: &X509) -> Vec<PartialPath<'a>> {
        let (mut partial_paths, mut next) = (vec![PartialPath::new()], 0);
        while let Some(partial) = partial_paths.get(next).cloned() {
            next += 1;
            if partial.len() == MAX_INTERMEDIATES {
                break;
            }
            let top = partial.last().map_or(leaf, |top| top);
            let known = self.known.issuers_of(top).iter();
            let known = known.filter(|known| !self.is_presented(known));
            for issuer in self.chain.intermediates.iter().chain(known) {
                let is_passed = partial.iter().any(|passed| passed.is_same_authority_as(issuer));
                if partial_paths.len() < MAX_PARTIAL_PATHS
                    && !is_passed
                    && self.has_signed(issuer, top)
                {
                    partial_paths.push(partial.iter().copied().chain([issuer]).collect());
                }
            }
        }
        partial_paths
    }

    /// The partial paths that an anchor completes. One that passes an authority of the anchor's name and key is a detour: it is
    /// complete there.
    fn paths(&self, partial_paths: &[PartialPath<'_>], anchor: &X509) -> Box<[CandidatePath]> {
        let complete = partial_paths.iter().filter(|partial| {
            let top = partial.last().map_or(&self.chain.leaf, |top| top);
            self.has_signed(anchor, top)
                && !partial.iter().any(|passed| passed.is_same_authority_as(anchor))
        });
        let path = |partial: &PartialPath<'_>| {
            let valid =
                partial.iter().fold(self.chain.valid(), |valid, passed| valid.and(passed.valid()));
            CandidatePath {
                intermediates: partial.iter().copied().map(Arc::clone).collect(),
                valid,
                is_sound: self.is_sound(partial, anchor, valid),
            }
        };
        complete.map(path).collect()
    }

    fn is_presented(&self, certificate: &Arc<X509>) -> bool {
        self.chain.intermediates.contains(certificate)
    }

    fn has_signed(&self, issuer: &X509, certificate: &X509) -> bool {
        if !certificate.may_be_issued_by(issuer) {
            return false;
        }
        let key = SubjectPublicKeyInfoDer::from(issuer.public_key());
        let Ok(key) = RawPublicKeyEntity::try_from(&key) else { return false };
        let mut algorithms = self.algorithms.iter().filter(|algorithm| {
            algorithm.signature_alg_id().starts_with(&certificate.signature_oid)
        });
        algorithms.any(|algorithm| {
            key.verify_signature(*algorithm, certificate.signed(), &certificate.signature).is_ok()
        })
    }

    /// Whether an authority may be taken for the issuer of a certificate further down that it has not signed, or of itself:
    /// OpenSSL chooses by name and key identifier alone, the anchors first, and when the signature is wrong it tries no
    /// other. RFC 5280 wants the identifier in every authority's certificate; a leaf needs none of its own.
    fn has_ambiguous_issuer(&self, partial: &PartialPath<'_>, anchor: &X509) -> bool {
        let leaf = &self.chain.leaf;
        let passed = || partial.iter().map(|passed| &***passed);
        let above: Vec<_> = passed().chain([anchor]).collect();
        // A leaf yet to be signed names the right key, even if its issuer's certificate does not say which.
        let is_told_apart = |certificate: &X509, other: &X509| {
            self.chain.has_unsigned_leaf && certificate == leaf && other.subject_key_id.is_some()
        };
        let may_go_astray = |(issuer, certificate): (usize, &X509)| {
            let itself_and_above = above.iter().enumerate().skip(issuer.saturating_sub(1));
            let mut others = itself_and_above.filter(|(other, _)| *other != issuer);
            others.any(|(_, other)| {
                certificate.may_be_issued_by(other) && !is_told_apart(certificate, other)
            })
        };
        iter::once(leaf).chain(passed()).enumerate().any(may_go_astray)
    }

    /// Whether a path would be let in while it is valid. webpki checks everything at one instant, and dates apart nothing
    /// depends on the instant; it ignores the dates of the anchor. Should it find a shorter way, that is let in as long.
    fn is_sound(&self, partial: &PartialPath<'_>, anchor: &X509, valid: Span) -> bool {
        let may_sign = |issuer: &Arc<X509>| issuer.signs_certificates.unwrap_or(true);
        if valid.is_empty()
            || !partial.iter().all(|c| may_sign(c) && self.is_presented(c))
            || self.has_ambiguous_issuer(partial, anchor)
        {
            return false;
        }
        let (leaf, anchor) = (self.chain.leaf.der(), anchor.der());
        let intermediates: Vec<_> = partial.iter().map(|issuer| issuer.der()).collect();
        let (Ok(leaf), Ok(anchor)) =
            (EndEntityCert::try_from(&leaf), anchor_from_trusted_cert(&anchor))
        else {
            return false;
        };
        let begin = Duration::from_secs(valid.begin.try_into().unwrap_or(0));
        leaf.verify_for_usage(
            self.algorithms,
            &[anchor],
            &intermediates,
            UnixTime::since_unix_epoch(begin),
            KeyUsage::client_auth(),
            None,
            None,
        )
        .is_ok()
    }
}
