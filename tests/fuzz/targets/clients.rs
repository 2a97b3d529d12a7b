//! Any bytes as a client's file, its issuer's and an anchor's PEM: they are judged or refused, and a verdict holds until its
//! epoch ends.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use openai_cert_exporter::clients::{
    AnchorContent, Assessment, Chain, Client, ClientFile, Contents, FileKind, Signatures,
};
use openai_cert_exporter::inventory::{
    Certificate, Inventory, Listing, Lists, Malformed, RotationGroup,
};
use regex::Regex;

fuzz_target!(|bytes: &[u8]| {
    let chains = [
        (FileKind::Certificate, Chain::from_pem(bytes)),
        (FileKind::Issuer, Chain::of_issuer_pem(bytes)),
    ];
    let files = chains.into_iter().filter_map(|(kind, chain)| {
        Some(ClientFile { path: "x".into(), kind, chain: Arc::new(chain.ok()?) })
    });
    let client =
        Client { name: "x".into(), projects: None, files: files.collect(), failed: Vec::new() };
    let content = AnchorContent::from_pem(&String::from_utf8_lossy(bytes));
    let contents = Arc::new(Contents::from([("a".into(), Arc::new(content))]));
    let anchor = Certificate {
        id: "a".into(),
        name: None,
        active: true,
        created_at: None,
        valid_at: None,
        expires_at: None,
        expires_at_from_pem: false,
        has_unreadable_date: false,
    };
    let organization = Arc::new(Listing::new(vec![anchor], Malformed::default()));
    let lists = Lists { organization, ..Lists::default() };
    let group = RotationGroup::new(Regex::new("(.*)").unwrap());
    let inventory = Arc::new(Inventory::new(lists, &group));
    let signatures = Signatures::default();
    let clients = vec![client];
    let assessment =
        Assessment::new_or_unchanged(None, clients, &contents, Some(&inventory), &signatures);
    for judged in assessment.iter() {
        let valid = judged.file.chain.valid();
        for now in [valid.begin, valid.end, 1_800_000_000] {
            let [at, later] = [now, now.saturating_add(1)];
            if assessment.epoch(at) == assessment.epoch(later) {
                let [at, later] = [at, later].map(|instant| judged.acceptance.at(instant));
                assert_eq!((at.accepted, at.refusal), (later.accepted, later.refusal));
            }
            assert!(assessment.dependent_clients(now).len() == 1);
        }
    }
});
