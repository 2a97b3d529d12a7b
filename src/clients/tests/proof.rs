//! The program against the model, for random organizations and clients.
//!
//! `CLIENT_WORLDS=500 cargo test --lib clients::` looks at as many of them, `CLIENT_SEED=7` begins with one that failed.

use fastrand::Rng;

use super::model::{Activation, Case, Dates};
use super::world::{Client, Made, STEPS, World};
use super::*;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn clients_are_let_in_as_openssl_and_the_rules_say() {
    // The same for everyone, so that a change fails for what it changes.
    let seed = setting("CLIENT_SEED").unwrap_or(1);
    for seed in (0..setting("CLIENT_WORLDS").unwrap_or(1)).map(|n| seed.wrapping_add(n)) {
        let mut rng = Rng::with_seed(seed);
        let world = World::new(&mut rng);
        let read = Read::new(&world);
        for _ in 0..8 {
            let scope = Activation::random(&mut rng, world.anchors.len());
            for client in 0..world.clients.len() {
                compare(&Case { world: &world, scope: &scope, client }, &read, seed);
            }
        }
    }
}

/// A world as the program reads it.
struct Read {
    anchors: Vec<Arc<AnchorContent>>,
    chains: Vec<Arc<Chain>>,
    signatures: Signatures,
}

impl Read {
    fn new(world: &World) -> Self {
        let anchor = |made: &Made| Arc::new(AnchorContent::from_pem(&made.pem));
        let chain = |client: &Client| {
            let intermediates = client.presented.iter();
            let intermediates: String =
                intermediates.map(|position| &*world.intermediates[*position].pem).collect();
            let whole = [&client.leaf.pem, &*intermediates].concat();
            Arc::new(if client.is_fresh {
                Chain::of_issuer_pem(intermediates.as_bytes()).unwrap()
            } else {
                Chain::from_pem(whole.as_bytes()).unwrap()
            })
        };
        Self {
            anchors: world.anchors.iter().map(anchor).collect(),
            chains: world.clients.iter().map(chain).collect(),
            signatures: Signatures::default(),
        }
    }
}

fn id(anchor: usize) -> String {
    format!("cert_{anchor}")
}

fn compare(case: &Case<'_>, read: &Read, seed: u64) {
    let Case { world, scope, client } = case;
    let contents = read.anchors.iter().enumerate().filter(|(anchor, _)| !scope.unread[*anchor]);
    let contents = contents.map(|(anchor, content)| (id(anchor).into(), Arc::clone(content)));
    let contents: Contents = contents.collect();
    let listed = |(anchor, (begin, end)): (usize, Dates)| {
        let instant = |step: Option<i64>| step.map(|step| day(step * 10));
        certificate(&id(anchor)).dated(instant(begin), instant(end))
    };
    let listed: Vec<_> = scope.active().map(listed).collect();
    let enforced = EnforcedScope::new(listed.iter(), &contents, false);
    let known = KnownIssuers::default();
    let candidates =
        CandidatePaths::new(&read.chains[*client], &contents, &known, &read.signatures);
    let acceptance = Acceptance::new(&Arc::new(candidates), &enforced);
    let about = |what, step| {
        let (client, scope) = (&world.clients[*client], &scope.in_effect);
        format!("{what} at step {step} of seed {seed}: {client:#?} {scope:?} {world:#?}")
    };
    for step in -1..=STEPS {
        let now = day(step * 10);
        let verdict = acceptance.at(now);
        assert_eq!(verdict.accepted, case.accepted(step), "{}", about("accepted", step));
        let refused_without = |anchor: &usize| {
            let without = scope.without(*anchor);
            Case { world, scope: &without, client: *client }.accepted(step) == Some(false)
        };
        let depends_on = acceptance.depends_on(&enforced, now);
        let depends_on = depends_on.iter().find(|(_, is_known)| *is_known);
        let depends_on = depends_on.map(|(id, _)| (*id).to_owned());
        let expected = case.accepting_anchors(step).into_iter().find(refused_without).map(id);
        assert_eq!(depends_on, expected, "{}", about("dependent", step));
        // The dates of a fresh leaf are for ever.
        if !world.clients[*client].is_fresh {
            let expected = case.refused_from(step).map(|step| day(step * 10));
            assert_eq!(verdict.refused_from, expected, "{}", about("refused from", step));
            assert_eq!(verdict.refusal, case.refusal(step), "{}", about("reason", step));
            let expected: Vec<_> = case.prolonged_by(step).into_iter().map(id).collect();
            assert_eq!(acceptance.prolonged_by(now), expected, "{}", about("prolonged", step));
        }
    }
    let mut boundaries: Vec<_> = acceptance.boundaries().collect();
    boundaries.sort_unstable();
    for (begin, end) in boundaries.iter().zip(&boundaries[1..]).filter(|(a, b)| a < b) {
        let summary = |instant| {
            let verdict = acceptance.at(instant);
            let (accepted, refusal) = (verdict.accepted, verdict.refusal);
            (
                accepted,
                verdict.refused_from,
                refusal,
                verdict.trust_path.map(|on| on.certificate_id().to_owned()),
            )
        };
        assert_eq!(summary(*begin), summary(end - 1), "{}", about("boundary", *begin));
    }
}
