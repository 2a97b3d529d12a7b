//! More than can be judged.

use regex::Regex;

use super::super::client_scopes::MAX_JUDGED;
use super::super::{Assessment, Client, ClientFile, FileKind};
use super::*;
use crate::fixture::{group, lists};
use crate::inventory::Inventory;

const PROJECTS: usize = 100;

fn client(name: &str, files: usize, chain: &Arc<Chain>) -> Client {
    let file = |n| ClientFile {
        path: format!("{name}/{n:03}").into(),
        kind: FileKind::Certificate,
        chain: Arc::clone(chain),
    };
    Client {
        name: name.into(),
        projects: Some(vec![Regex::new("^proj_").unwrap()]),
        files: (0..files).map(file).collect(),
        failed: Vec::new(),
    }
}

#[test]
fn only_the_clients_with_the_most_verdicts_lose_files_beyond_the_limit() {
    let inventory = Inventory::new(lists(&vec![vec![]; 1 + PROJECTS]), &group("(.*)"));
    let (inventory, signatures) = (Arc::new(inventory), Signatures::default());
    let chain = Arc::new(chain(&[leaf()]));
    let whole = MAX_JUDGED / PROJECTS - 2;
    for (vast, judged) in [(whole, whole), (whole + 1, whole), (2 * whole, whole)] {
        let judge = |before: Option<&Arc<Assessment>>| {
            let clients = vec![client("vast", vast, &chain), client("west", 2, &chain)];
            let contents = Arc::default();
            Assessment::new_or_unchanged(before, clients, &contents, Some(&inventory), &signatures)
        };
        let assessment = judge(None);
        let of = |name: &str| assessment.iter().filter(move |it| *it.client.name == *name).count();
        assert_eq!((of("vast"), of("west")), (judged * PROJECTS, 2 * PROJECTS), "{vast}");
        let failed = assessment.clients().iter().flat_map(|client| &client.failed);
        let failed: Vec<_> = failed.map(|failed| &*failed.path).collect();
        let first = format!("vast/{judged}");
        assert_eq!(failed, if vast > judged { vec![&*first] } else { vec![] }, "{vast}");
        assert!(Arc::ptr_eq(&assessment, &judge(Some(&assessment))), "{vast}: nothing changes");
    }
}
