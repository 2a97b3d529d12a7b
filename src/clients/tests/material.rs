//! What is read out of PEM.

use super::super::Problem::{
    DatesDiffer, NoKeyCertSign, NoSubjectKeyIdentifier, NotACa, SeveralCertificates, Unreadable,
};
use super::super::{ListedAnchor, Problem, problems};
use super::issue::Kind;
use super::*;

#[test]
fn what_is_no_chain_is_refused_by_what_it_is() {
    let leaf = Plan::leaf(ROOT).pem();
    let broken = leaf.replacen("MII", "MIJ", 1);
    let der = [0x30, 0x82, 0x01, 0x00, 0x30];
    let many: String = (0..33).map(|_| Plan::leaf(ROOT).pem()).collect();
    let second = leaf.lines().count() + 1;
    let damaged = format!(
        "cannot be used: block 2 (line {second}) is damaged: something is missing or added in it"
    );
    for (content, fault) in [
        (b"".as_slice(), "is empty"),
        (b"no PEM at all", "is not in PEM: it has no BEGIN line"),
        (
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "holds no certificate, but: private key; it may be swapped with the file of the key",
        ),
        (&der, "is in a binary format such as DER or PKCS #12, not in PEM"),
        ([&leaf, &broken[..]].concat().as_bytes(), &damaged),
        (&leaf.as_bytes()[..leaf.len() / 2], "cannot be used: block 1 (line 1) has no END line"),
        (many.as_bytes(), "holds more than 32 certificates"),
    ] {
        assert_eq!(Chain::from_pem(content).unwrap_err().to_string(), fault);
        assert_eq!(Chain::of_issuer_pem(content).unwrap_err().to_string(), fault);
    }
    let twice = Chain::from_pem([&leaf[..], &leaf].concat().as_bytes()).unwrap();
    assert_eq!(twice.intermediates().len(), 0, "the same one");
}

#[test]
fn what_else_stands_in_a_file_is_passed_over() {
    let (leaf, middle) = (Plan::leaf(MIDDLE), Plan::ca(MIDDLE, ROOT));
    let (leaf, middle) = (leaf.pem(), middle.pem());
    let key = "-----BEGIN PRIVATE KEY-----\nnot even base64\n-----END PRIVATE KEY-----\n";
    let plain = Chain::from_pem([&leaf[..], &middle].concat().as_bytes());
    let windows = [&leaf[..], &middle].concat().replace('\n', "\r\n");
    for mixed in [
        [key, &leaf, "subject=/CN=x\n", &middle].concat(),
        [&middle[..], key, &leaf].concat(),
        windows,
    ] {
        assert_eq!(Chain::from_pem(mixed.as_bytes()), plain);
    }
    assert_eq!(plain.unwrap().leaf().name(), "name 99");
}

#[test]
fn the_problems_of_anchors_are_told() {
    let root = Plan::root(ROOT);
    let good = AnchorContent::from_pem(&root.pem());
    let read = |plan: &Plan| AnchorContent::from_pem(&plan.pem());
    let several = [root.pem(), "-----BEGIN CERTIFICATE-----".into()].concat();
    let dated = certificate("a").dated(Some(day(0)), Some(day(100)));
    for (content, listed, told) in [
        (&good, dated.clone(), vec![]),
        (&good, certificate("a"), vec![]),
        (&good, certificate("a").dated(Some(day(0)), Some(day(99))), vec![DatesDiffer]),
        (&good, certificate("a").dated(Some(day(1)), None), vec![DatesDiffer]),
        (&read(&Plan { usages: vec![], ..root.clone() }), dated.clone(), vec![NoKeyCertSign]),
        (
            &read(&Plan { kind: Kind::UnnamedCa, ..root.clone() }),
            dated.clone(),
            vec![NoSubjectKeyIdentifier],
        ),
        (
            &read(&Plan { kind: Kind::V1, ..root }),
            dated.clone(),
            vec![NoKeyCertSign, NoSubjectKeyIdentifier, NotACa],
        ),
        (&AnchorContent::from_pem(&several), dated.clone(), vec![SeveralCertificates]),
        (&AnchorContent::from_pem(""), dated, vec![Unreadable]),
    ] {
        let anchor = ListedAnchor { listed: &listed, content, is_active: true };
        assert_eq!(problems(&[anchor]), [told]);
    }
}

#[test]
fn one_key_in_two_active_anchors_is_a_problem_of_both() {
    let read = |plan: Plan| Arc::new(AnchorContent::from_pem(&plan.pem()));
    let contents = [
        read(Plan::root(ROOT)),
        read(Plan::root(Authority { name: 7, ..ROOT })),
        read(Plan::root(MIDDLE)),
    ];
    let listed = ["a", "b", "c"].map(certificate);
    let told = |active: [bool; 3]| -> Vec<_> {
        let anchors: Vec<_> = (0..3)
            .map(|n| ListedAnchor {
                listed: &listed[n],
                content: &contents[n],
                is_active: active[n],
            })
            .collect();
        problems(&anchors).iter().map(|told| told == &[Problem::SameKey]).collect()
    };
    assert_eq!(told([true, true, true]), [true, true, false]);
    assert_eq!(told([true, false, true]), [false, false, false]);
}
