//! How long it takes to conclude who is let in: `cargo bench --bench clients`.
//!
//! 2,000 clients of 50 anchors, each in three of 400 projects. What is derived after a change must take no more than
//! [`BOUND`]; the first time every signature is checked once, which takes longer.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and one that cannot run says so by panicking"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openai_cert_exporter::clients::{
    Acceptance, AnchorContent, Chain, Contents, EnforcedScope, KnownIssuers, Reach, Signatures,
    dependent_clients,
};
use openai_cert_exporter::inventory::Certificate;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};

const ANCHORS: usize = 50;
const CLIENTS: usize = 2_000;
const PROJECTS: usize = 400;
const SCOPES_OF_A_CLIENT: usize = 3;
const BOUND: Duration = Duration::from_millis(100);
/// Within the dates of everything.
const NOW: i64 = 1_800_000_000;

fn main() {
    let mut authorities: Vec<_> = (0..ANCHORS).map(|n| Authority::root(&name(n))).collect();
    let mut chains: Vec<_> = chains(&authorities);
    let signatures = Signatures::default();
    report("the first time", None, || conclude(&authorities, &chains, &signatures, 0));
    report("an anchor goes", Some(BOUND), || conclude(&authorities, &chains, &signatures, 1));
    chains[0] = leaf(&authorities[0], None);
    report("a client renews", Some(BOUND), || conclude(&authorities, &chains, &signatures, 1));
    authorities.push(Authority::root(&name(1)));
    report("an anchor is re-keyed", Some(BOUND), || {
        conclude(&authorities, &chains, &signatures, 1);
    });
}

/// Everything that follows from certificates and lists. The first anchors, as many as `inactive`, are active nowhere.
fn conclude(
    authorities: &[Authority],
    chains: &[Arc<Chain>],
    signatures: &Signatures,
    inactive: usize,
) {
    let contents: Contents = authorities.iter().enumerate().map(Authority::content).collect();
    let listed: Vec<_> = (inactive..authorities.len()).map(listed).collect();
    let scope = |_| EnforcedScope::new(listed.iter(), &contents, false);
    let scopes: Vec<_> = (0..PROJECTS).map(scope).collect();
    let known = KnownIssuers::new(chains.iter().map(AsRef::as_ref));
    let mut pairs = Vec::new();
    for (index, chain) in chains.iter().enumerate() {
        let reach = Arc::new(Reach::new(chain, &contents, &known, signatures));
        for n in 0..SCOPES_OF_A_CLIENT {
            let scope = &scopes[(index + n * 7) % PROJECTS];
            pairs.push((Acceptance::new(&reach, scope), scope));
        }
    }
    signatures.forget_unused();
    for (acceptance, _) in &pairs {
        black_box(acceptance.at(NOW));
    }
    let pairs = pairs.iter().map(|(acceptance, scope)| (acceptance, *scope));
    black_box(dependent_clients(pairs, NOW));
}

fn report(what: &str, bound: Option<Duration>, mut run: impl FnMut()) {
    let begun = Instant::now();
    run();
    let taken = begun.elapsed();
    let verdict = if bound.is_some_and(|bound| taken > bound) { "  too much" } else { "" };
    println!("{what:>21} {:>6} ms{verdict}", taken.as_millis());
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn root(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let pem = authority(name).self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(authority(name), key), pem }
    }

    fn below(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let pem = authority(name).signed_by(&key, &self.issuer).unwrap().pem();
        Self { issuer: Issuer::new(authority(name), key), pem }
    }

    fn content((n, authority): (usize, &Self)) -> (Arc<str>, Arc<AnchorContent>) {
        (id(n).into(), Arc::new(AnchorContent::from_pem(&authority.pem)))
    }
}

fn name(anchor: usize) -> String {
    format!("Acme Corporation Root Authority {anchor}")
}

fn id(anchor: usize) -> String {
    format!("cert_{anchor:020}")
}

fn listed(anchor: usize) -> Certificate {
    Certificate {
        id: id(anchor).into(),
        name: None,
        active: true,
        created_at: None,
        valid_at: None,
        expires_at: None,
        expires_at_from_pem: false,
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

/// Every other client has its certificate from an anchor itself, the others from one of a hundred intermediates.
fn chains(anchors: &[Authority]) -> Vec<Arc<Chain>> {
    let intermediate = |n: usize| anchors[n % ANCHORS].below(&format!("Acme Issuing {n}"));
    let intermediates: Vec<_> = (0..2 * ANCHORS).map(intermediate).collect();
    let client = |n: usize| {
        let issuer = &intermediates[n / 2 % intermediates.len()];
        if n.is_multiple_of(2) {
            leaf(&anchors[n / 2 % ANCHORS], None)
        } else {
            leaf(issuer, Some(issuer))
        }
    };
    (0..CLIENTS).map(client).collect()
}

fn leaf(issuer: &Authority, presented: Option<&Authority>) -> Arc<Chain> {
    let mut params = named("client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = params.signed_by(&KeyPair::generate().unwrap(), &issuer.issuer).unwrap().pem();
    let file = presented.map_or_else(|| leaf.clone(), |presented| leaf.clone() + &presented.pem);
    Arc::new(Chain::from_pem(file.as_bytes()).unwrap())
}
