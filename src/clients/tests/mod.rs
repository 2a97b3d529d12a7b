//! The rules by hand and at random. Each certificate is valid for a hundred days, unless it says otherwise.

use std::sync::Arc;

use super::{
    Acceptance, AnchorContent, CandidatePaths, Chain, Contents, EnforcedScope, KnownIssuers,
    Refusal, Signatures,
};
use crate::fixture::{DAY, NOW, certificate};
use crate::inventory::{Certificate, UnixSeconds};
use issue::{Authority, Plan, day};

mod issue;
mod limit;
mod material;
mod model;
mod paths;
mod proof;
mod scopes;
mod world;

const ROOT: Authority = Authority { name: 0, key: 0 };
/// The root after it has made itself a new key.
const REKEYED: Authority = Authority { name: 0, key: 1 };
const OTHER: Authority = Authority { name: 1, key: 2 };
const MIDDLE: Authority = Authority { name: 2, key: 3 };
const LOWER: Authority = Authority { name: 3, key: 4 };

fn contents(anchors: &[(&str, Plan)]) -> Contents {
    let read = |(id, plan): &(&str, Plan)| {
        (Arc::from(*id), Arc::new(AnchorContent::from_pem(&plan.pem())))
    };
    anchors.iter().map(read).collect()
}

fn chain(plans: &[Plan]) -> Chain {
    let file: String = plans.iter().map(Plan::pem).collect();
    Chain::from_pem(file.as_bytes()).unwrap()
}

fn issuer(plans: &[Plan]) -> Chain {
    let file: String = plans.iter().map(Plan::pem).collect();
    Chain::of_issuer_pem(file.as_bytes()).unwrap()
}

/// Of these anchors, those whose id begins with `on` are in effect.
fn judge(chain: Chain, anchors: &[(&str, Plan)], known: &[Chain]) -> (Acceptance, EnforcedScope) {
    let contents = contents(anchors);
    let listed: Vec<_> = anchors
        .iter()
        .filter(|(id, _)| id.starts_with("on"))
        .map(|(id, _)| certificate(id))
        .collect();
    in_scope(chain, &contents, &listed, known)
}

fn in_scope(
    chain: Chain,
    contents: &Contents,
    listed: &[Certificate],
    known: &[Chain],
) -> (Acceptance, EnforcedScope) {
    let scope = EnforcedScope::new(listed.iter(), contents, false);
    let known = KnownIssuers::new(known.iter());
    let candidates =
        CandidatePaths::new(&Arc::new(chain), contents, &known, &Signatures::default());
    (Acceptance::new(&Arc::new(candidates), &scope), scope)
}

type Answer = (Option<bool>, Option<UnixSeconds>, Option<Refusal>);

fn at(acceptance: &Acceptance, instant: UnixSeconds) -> Answer {
    let verdict = acceptance.at(instant);
    (verdict.accepted, verdict.refused_from, verdict.refusal)
}

fn leaf() -> Plan {
    Plan::leaf(MIDDLE)
}

fn middle() -> Plan {
    Plan::ca(MIDDLE, ROOT)
}

fn root() -> Plan {
    Plan::root(ROOT)
}

const ALLOWED: Answer = until(90, Refusal::Expired);

const fn until(end: i64, refusal: Refusal) -> Answer {
    (Some(true), Some(NOW + end * DAY), Some(refusal))
}

const fn since(end: i64, refusal: Refusal) -> Answer {
    (Some(false), Some(NOW + end * DAY), Some(refusal))
}

const fn never(refusal: Refusal) -> Answer {
    (Some(false), None, Some(refusal))
}

fn assert_answer(why: &str, plans: &[Plan], anchors: &[(&str, Plan)], answer: Answer) {
    let (acceptance, _) = judge(chain(plans), anchors, &[]);
    assert_eq!(at(&acceptance, day(50)), answer, "{why}");
}
