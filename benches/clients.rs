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
    AnchorContent, Assessment, Chain, Client, ClientFile, Contents, FileKind, Signatures,
};
use openai_cert_exporter::inventory::{
    Certificate, Inventory, Listing, Lists, Malformed, Project, ProjectList, RotationGroup,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};
use regex::Regex;

const ANCHORS: usize = 50;
const CLIENTS: usize = 2_000;
const PROJECTS: usize = 400;
const SCOPES_OF_A_CLIENT: usize = 3;
const BOUND: Duration = Duration::from_millis(100);
/// Within the dates of everything.
const NOW: i64 = 1_800_000_000;

fn main() {
    let mut authorities: Vec<_> = (0..ANCHORS).map(|n| Authority::root(&name(n))).collect();
    let mut clients = clients(&authorities);
    let signatures = Signatures::default();
    let before =
        report("the first time", None, || conclude(None, &authorities, &clients, &signatures, 0));
    let again = |what, authorities: &[Authority], clients: &[Client], inactive| {
        report(what, Some(BOUND), || {
            conclude(Some(&before), authorities, clients, &signatures, inactive)
        });
    };
    again("nothing changes", &authorities, &clients, 0);
    again("an anchor goes", &authorities, &clients, 1);
    clients[0].files[0].chain = leaf(&authorities[0], None);
    again("a client renews", &authorities, &clients, 1);
    authorities.push(Authority::root(&name(1)));
    again("an anchor is re-keyed", &authorities, &clients, 1);
}

/// Everything that follows from certificates and lists. The first anchors, as many as `inactive`, are active nowhere.
fn conclude(
    before: Option<&Arc<Assessment>>,
    authorities: &[Authority],
    clients: &[Client],
    signatures: &Signatures,
    inactive: usize,
) -> Arc<Assessment> {
    let contents: Arc<Contents> =
        Arc::new(authorities.iter().enumerate().map(Authority::content).collect());
    let listed = (0..authorities.len()).map(|n| listed(n, n >= inactive)).collect();
    let project = |n: usize| ProjectList {
        project: Project { id: project_id(n).into(), name: None, archived: false },
        certificates: Arc::default(),
    };
    let lists = Lists {
        organization: Arc::new(Listing::new(listed, Malformed::default())),
        projects: (0..PROJECTS).map(project).collect(),
        ..Lists::default()
    };
    let group = RotationGroup::new(Regex::new("(.*)").unwrap());
    let inventory = Arc::new(Inventory::new(lists, &group));
    let assessment = Assessment::new_or_unchanged(
        before,
        clients.to_vec(),
        &contents,
        Some(&inventory),
        signatures,
    );
    for judgement in assessment.iter() {
        black_box(judgement.acceptance.at(NOW));
    }
    black_box(assessment.dependent_clients(NOW));
    assessment
}

fn report<T>(what: &str, bound: Option<Duration>, mut run: impl FnMut() -> T) -> T {
    let begun = Instant::now();
    let result = run();
    let taken = begun.elapsed();
    let verdict = if bound.is_some_and(|bound| taken > bound) { "  too much" } else { "" };
    println!("{what:>21} {:>6} ms{verdict}", taken.as_millis());
    result
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

fn project_id(project: usize) -> String {
    format!("proj_{project:020}")
}

fn listed(anchor: usize, active: bool) -> Certificate {
    Certificate {
        id: id(anchor).into(),
        name: None,
        active,
        created_at: None,
        valid_at: None,
        expires_at: None,
        expires_at_from_pem: false,
        has_unreadable_date: false,
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

fn clients(anchors: &[Authority]) -> Vec<Client> {
    let client = |(index, chain): (usize, Arc<Chain>)| {
        let scopes = (0..SCOPES_OF_A_CLIENT).map(|n| (index + n * 7) % PROJECTS);
        let patterns = scopes.map(|n| Regex::new(&format!("^{}$", project_id(n))).unwrap());
        let file = ClientFile { path: "/run/tls.crt".into(), kind: FileKind::Certificate, chain };
        Client {
            name: format!("client-{index:04}").into(),
            projects: Some(patterns.collect()),
            files: vec![file],
            failed: Vec::new(),
        }
    };
    chains(anchors).into_iter().enumerate().map(client).collect()
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
