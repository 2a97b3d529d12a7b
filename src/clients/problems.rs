use super::AnchorContent;
use crate::inventory::Certificate;

/// What is odd about an anchor: advice, since none of it decides who is let in. Sorted by name, as series are.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Problem {
    /// Between API and PEM.
    DatesDiffer,
    /// Its key usage is missing, or does not allow it to sign certificates.
    NoKeyCertSign,
    NoSubjectKeyIdentifier,
    NotACa,
    /// As another active one.
    SameKey,
    /// In its PEM, of which only the first counts.
    SeveralCertificates,
    /// The first certificate of its PEM.
    Unreadable,
}

/// An anchor as a list shows it, with what stands in its PEM.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListedAnchor<'a> {
    pub(super) listed: &'a Certificate,
    pub(super) content: &'a AnchorContent,
    /// Whether it is active anywhere.
    pub(super) is_active: bool,
}

/// The problems of each of these anchors, sorted.
pub(super) fn problems(anchors: &[ListedAnchor<'_>]) -> Vec<Vec<Problem>> {
    let has_same_key = |anchor: &ListedAnchor<'_>| {
        let twin = |other: &ListedAnchor<'_>| {
            let certificates = other.content.certificate().zip(anchor.content.certificate());
            other.is_active
                && other.listed.id != anchor.listed.id
                && certificates.is_some_and(|(other, own)| other.public_key() == own.public_key())
        };
        anchor.is_active && anchors.iter().any(twin)
    };
    let all = anchors.iter().map(|anchor| (of_content(anchor), has_same_key(anchor)));
    all.map(|(mut found, has_same_key)| {
        found.extend(has_same_key.then_some(Problem::SameKey));
        found.sort_unstable();
        found
    })
    .collect()
}

fn of_content(ListedAnchor { listed, content, .. }: &ListedAnchor<'_>) -> Vec<Problem> {
    let mut found = vec![(content.has_several, Problem::SeveralCertificates)];
    if let Some(certificate) = content.certificate() {
        let valid = certificate.valid();
        let differs = |listed: Option<_>, read| listed.is_some_and(|listed| listed != read);
        let dates_differ =
            differs(listed.valid_at, valid.begin) || differs(listed.expires_at, valid.end);
        found.extend([
            (!certificate.is_ca, Problem::NotACa),
            (certificate.signs_certificates != Some(true), Problem::NoKeyCertSign),
            (certificate.subject_key_id.is_none(), Problem::NoSubjectKeyIdentifier),
            (dates_differ, Problem::DatesDiffer),
        ]);
    } else {
        found.push((true, Problem::Unreadable));
    }
    found.into_iter().filter_map(|(holds, problem)| holds.then_some(problem)).collect()
}
