use super::Chain;
use crate::inventory::UnixSeconds;

/// Why a client is refused. Of several reasons the first counts.
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
pub enum Refusal {
    /// The leaf does not name the key of its issuer.
    AuthorityKeyIdentifier,
    /// The leaf has ended.
    Expired,
    /// The leaf begins later.
    NotYetValid,
    /// The leaf is not made for client authentication.
    Usage,
    /// An intermediate is missing, expired, not yet valid, not made for signing certificates, or above too many others.
    Chain,
    /// The anchor has ended, or begins later.
    AnchorExpired,
    /// The anchor is uploaded, but not active in the scope.
    AnchorInactive,
    /// No anchor has signed any of it.
    UnknownIssuer,
}

impl Refusal {
    /// What is wrong with the leaf itself.
    pub(super) fn of_leaf(chain: &Chain, instant: UnixSeconds) -> Option<Self> {
        let valid = chain.valid();
        let faults = [
            (!chain.leaf.has_authority_key_id, Self::AuthorityKeyIdentifier),
            (valid.end <= instant, Self::Expired),
            (instant < valid.begin, Self::NotYetValid),
            (!chain.leaf.may_authenticate_clients, Self::Usage),
        ];
        faults.into_iter().find_map(|(holds, refusal)| holds.then_some(refusal))
    }
}
