//! Random organizations and clients, and what OpenSSL says of each path.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{fmt, fs};

use fastrand::Rng;
use rcgen::{ExtendedKeyUsagePurpose as Extended, KeyUsagePurpose};
use tempfile::TempDir;

use super::issue::{Authority, Kind, Plan, day};

/// Dates lie on these steps of ten days, from 0 to the last inclusive, so that nothing changes between two of them.
pub(super) const STEPS: i64 = 6;
const ANCHORS: usize = 4;
const INTERMEDIATES: usize = 3;
const LEAVES: usize = 40;

pub(super) struct World {
    pub(super) anchors: Vec<Made>,
    pub(super) intermediates: Vec<Made>,
    pub(super) clients: Vec<Client>,
    /// The clients that OpenSSL accepts: by anchor, by the set of intermediates that it is given, by step.
    accepted: Vec<Vec<Vec<Vec<bool>>>>,
}

#[derive(Debug)]
pub(super) struct Made {
    pub(super) plan: Plan,
    pub(super) pem: String,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) leaf: Made,
    /// Positions of intermediates, in the order of presentation.
    pub(super) presented: Vec<usize>,
    /// Whether the first of them is an issuer, and the leaf what it signs now.
    pub(super) is_fresh: bool,
}

/// Without what OpenSSL said.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plans = |made: &[Made]| made.iter().map(|made| made.plan.clone()).collect::<Vec<_>>();
        write!(f, "{:#?} {:#?}", plans(&self.anchors), plans(&self.intermediates))
    }
}

impl Made {
    fn new(plan: Plan) -> Self {
        Self { pem: plan.pem(), plan }
    }

    fn without_path_length(self) -> Self {
        Self::new(Plan { path_length: None, ..self.plan })
    }
}

impl World {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let anchors: Vec<_> = (0..ANCHORS).map(|_| Made::new(anchor(rng))).collect();
        let mut signers: Vec<_> = anchors.iter().map(|anchor| anchor.plan.subject).collect();
        let mut intermediates = Vec::new();
        for _ in 0..INTERMEDIATES {
            let made = Made::new(intermediate(rng, &signers));
            signers.push(made.plan.subject);
            intermediates.push(made);
        }
        // OpenSSL leaves certificates with one name for subject and issuer out when it counts, as RFC 5280 does; webpki
        // counts them, which is stricter.
        if intermediates.iter().any(|made| made.plan.subject.name == made.plan.signer.name) {
            intermediates = intermediates.into_iter().map(Made::without_path_length).collect();
        }
        let mut clients: Vec<_> = (0..LEAVES).map(|_| client(rng, &signers)).collect();
        for (issuer, made) in intermediates.iter().enumerate() {
            let leaf = Plan::leaf(made.plan.subject).days(-10, 1000);
            let rest = some_of(rng).into_iter().filter(|other| *other != issuer);
            let presented = [issuer].into_iter().chain(rest).collect();
            clients.push(Client { leaf: Made::new(leaf), presented, is_fresh: true });
        }
        let accepted = Vec::new();
        let mut world = Self { anchors, intermediates, clients, accepted };
        world.accepted = world.ask_openssl();
        world
    }

    /// Whether OpenSSL accepts a client below an anchor: through any of what it presents, since OpenSSL itself takes the
    /// first path and no other.
    pub(super) fn is_accepted(&self, client: usize, anchor: usize, step: i64) -> bool {
        // Nothing is valid before the first step.
        let Ok(step) = usize::try_from(step) else { return false };
        let presented = self.clients[client].presented.iter().map(|position| 1 << position);
        let presented: usize = presented.sum();
        let mut sets = (0..1 << INTERMEDIATES).filter(|set| set & !presented == 0);
        sets.any(|set| self.accepted[anchor][set][step][client])
    }

    fn ask_openssl(&self) -> Vec<Vec<Vec<Vec<bool>>>> {
        let folder = TempDir::new().unwrap();
        let write = |name: String, pem: &str| fs::write(folder.path().join(name), pem).unwrap();
        for (index, anchor) in self.anchors.iter().enumerate() {
            // Of an anchor only its name, key and dates count.
            let plain = Plan::ca(anchor.plan.subject, anchor.plan.signer);
            let has_key_id = anchor.plan.kind == Kind::Ca;
            let kind = if has_key_id { Kind::Ca } else { Kind::UnnamedCa };
            write(format!("anchor{index}"), &Plan { days: anchor.plan.days, kind, ..plain }.pem());
        }
        for set in 0..1 << INTERMEDIATES {
            let pems = self.intermediates.iter().enumerate();
            let pems = pems.filter(|(index, _)| set >> index & 1 == 1);
            write(format!("set{set}"), &pems.map(|(_, made)| &*made.pem).collect::<String>());
        }
        for (index, client) in self.clients.iter().enumerate() {
            write(format!("leaf{index}"), &client.leaf.pem);
        }
        let all_steps = |anchor, set| {
            let runs: Vec<_> =
                (0..=STEPS).map(|step| self.verify(folder.path(), anchor, set, step)).collect();
            runs.into_iter().map(|run| self.accepted(run)).collect()
        };
        let all_sets = |anchor| (0..1 << INTERMEDIATES).map(|set| all_steps(anchor, set)).collect();
        (0..ANCHORS).map(all_sets).collect()
    }

    fn verify(&self, folder: &Path, anchor: usize, set: usize, step: i64) -> Child {
        let mut openssl = Command::new("openssl");
        openssl.args(["verify", "-partial_chain", "-purpose", "sslclient", "-attime"]);
        openssl.args([&day(step * 10).to_string(), "-trusted", &format!("anchor{anchor}")]);
        if set != 0 {
            openssl.args(["-untrusted", &format!("set{set}")]);
        }
        openssl.args((0..self.clients.len()).map(|index| format!("leaf{index}")));
        // A configuration file would only take time.
        let openssl = openssl
            .env("OPENSSL_CONF", "/dev/null")
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        openssl.spawn().expect("this test needs the command openssl")
    }

    fn accepted(&self, run: Child) -> Vec<bool> {
        let output = run.wait_with_output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let mut accepted = vec![false; self.clients.len()];
        for line in output.lines() {
            let leaf = line.strip_prefix("leaf").and_then(|line| line.strip_suffix(": OK"));
            accepted[leaf.unwrap().parse::<usize>().unwrap()] = true;
        }
        accepted
    }
}

/// Now and then what is rare.
fn rarely(rng: &mut Rng) -> bool {
    rng.u8(0..6) == 0
}

fn days(rng: &mut Rng) -> (i64, i64) {
    let from = rng.i64(0..STEPS / 2);
    (from * 10, rng.i64(from + 1..=STEPS) * 10)
}

/// Few names and keys, so that they are often used again.
fn root_authority(rng: &mut Rng) -> Authority {
    Authority { name: rng.u8(0..3), key: rng.u8(0..4) }
}

fn anchor(rng: &mut Rng) -> Plan {
    let mut plan = Plan::root(root_authority(rng));
    if rarely(rng) {
        plan.signer = root_authority(rng);
    }
    match rng.u8(0..12) {
        0 => plan.kind = Kind::V1,
        1 => plan.kind = Kind::NoCa,
        2 => plan.path_length = Some(0),
        3 => plan.extended = vec![Extended::ServerAuth],
        4 => plan.usages = vec![KeyUsagePurpose::CrlSign],
        5 => plan.kind = Kind::UnnamedCa,
        _ => {}
    }
    Plan { days: days(rng), ..plan }
}

fn intermediate(rng: &mut Rng, signers: &[Authority]) -> Plan {
    // A root with a new key, signed by its old one or by another root, is an intermediate too.
    let own = Authority { name: rng.u8(10..12), key: rng.u8(4..7) };
    let subject = if rarely(rng) { root_authority(rng) } else { own };
    let signer = *rng.choice(signers).unwrap();
    let mut plan = Plan::ca(subject, signer);
    match rng.u8(0..16) {
        0 => plan.kind = Kind::NoCa,
        1 | 2 => plan.path_length = Some(0),
        3 => plan.usages = vec![KeyUsagePurpose::CrlSign],
        4 => plan.usages = vec![],
        5 => plan.extended = vec![Extended::ServerAuth],
        6 => plan.extended = vec![Extended::ClientAuth, Extended::ServerAuth],
        7 => plan.extended = vec![Extended::Any],
        8 => plan.names_other_key = true,
        9 => plan.kind = Kind::UnnamedCa,
        _ => {}
    }
    Plan { days: days(rng), ..plan }
}

fn client(rng: &mut Rng, signers: &[Authority]) -> Client {
    let mut signer = *rng.choice(signers).unwrap();
    if rarely(rng) {
        // Re-keyed.
        signer.key = rng.u8(0..8);
    }
    let mut plan = Plan { days: days(rng), ..Plan::leaf(signer) };
    match rng.u8(0..24) {
        0 => plan.has_authority_key_id = false,
        1 => plan.extended = vec![Extended::ServerAuth],
        2 => plan.extended = vec![Extended::Any],
        3 => plan.extended = vec![],
        4 => plan.usages = vec![KeyUsagePurpose::KeyEncipherment],
        5 => plan.usages = vec![],
        6 => plan.extended = vec![Extended::Any, Extended::ClientAuth],
        7 => plan.names_other_key = true,
        _ => {}
    }
    Client { leaf: Made::new(plan), presented: some_of(rng), is_fresh: false }
}

/// Some of the intermediates, mostly all, in any order.
fn some_of(rng: &mut Rng) -> Vec<usize> {
    let mut positions: Vec<_> = (0..INTERMEDIATES).collect();
    rng.shuffle(&mut positions);
    positions.truncate(rng.usize(0..=INTERMEDIATES + 2));
    positions
}
