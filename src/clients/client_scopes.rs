use std::collections::{BTreeSet, HashMap};
use std::iter;
use std::slice;
use std::sync::Arc;

use regex::Regex;

use super::{Client, Contents, EnforcedScope, FailedFile};
use crate::inventory::{Inventory, Lists, Project};

/// Files times their scopes. With every page that shows it each takes about 2 KiB, so that all of these leave room within the
/// 64 MiB of the manifests.
pub(super) const MAX_JUDGED: usize = 20_000;
const TOO_MANY: &str =
    "clients' files, each in each of its projects, make more than 20,000 verdicts";

/// The scopes of an inventory, and which of them are clients'. A position among them is that of the organization (0) or of
/// a selected project, by identifier.
#[derive(Debug)]
pub(super) struct ClientScopes {
    pub(super) inventory: Arc<Inventory>,
    scopes: Box<[Scope]>,
    /// By pattern, as it is written: the positions of the projects that it matches.
    matches: HashMap<Box<str>, Box<[usize]>>,
}

/// A scope by its position in the inventory.
#[derive(Clone, Copy, Debug)]
enum Scope {
    Organization,
    Project(usize),
    /// Its own list has never been read.
    UnreadProject(usize),
}

impl Scope {
    fn project(self, inventory: &Inventory) -> Option<&Project> {
        match self {
            Self::Organization => None,
            Self::Project(position) => Some(&inventory.projects()[position].project),
            Self::UnreadProject(position) => Some(&inventory.unread_projects()[position]),
        }
    }
}

impl ClientScopes {
    /// Thousands of clients have thousands of patterns: each is tried once, and again only if a project is another than
    /// `before`.
    pub(super) fn new(
        inventory: &Arc<Inventory>,
        clients: &[Client],
        before: Option<&Self>,
    ) -> Self {
        let read = (0..inventory.projects().len()).map(Scope::Project);
        let unread = (0..inventory.unread_projects().len()).map(Scope::UnreadProject);
        let mut scopes: Box<[_]> =
            iter::once(Scope::Organization).chain(read).chain(unread).collect();
        scopes.sort_by_key(|scope| scope.project(inventory).map(|project| &project.id));
        let mut all = Self { inventory: Arc::clone(inventory), scopes, matches: HashMap::new() };
        let before = before.filter(|before| before.projects().eq(all.projects()));
        for pattern in clients.iter().flat_map(|client| client.projects.iter().flatten()) {
            if !all.matches.contains_key(pattern.as_str()) {
                let known = before.and_then(|before| before.matches.get(pattern.as_str()).cloned());
                let matching = known.unwrap_or_else(|| all.matching(pattern));
                all.matches.insert(pattern.as_str().into(), matching);
            }
        }
        all
    }

    /// The positions of a client's scopes.
    pub(super) fn of(&self, client: &Client) -> BTreeSet<usize> {
        match &client.projects {
            None => BTreeSet::from([0]),
            Some(patterns) => {
                let found = patterns.iter().filter_map(|it| self.matches.get(it.as_str()));
                found.flatten().copied().collect()
            }
        }
    }

    /// Leaves files out where all would make more than [`MAX_JUDGED`]: of the clients that have the most, so that they do
    /// not keep others from being judged. What a client loses counts as one file that has failed.
    pub(super) fn limit(&self, clients: &mut [Client]) {
        let scopes = |client: &Client| self.of(client).len();
        let mut clients: Vec<_> = clients.iter_mut().map(|it| (scopes(it), it)).collect();
        clients.sort_by_key(|(scopes, client)| scopes * client.files.len());
        let mut room = MAX_JUDGED;
        for (scopes, client) in clients {
            let fitting = room.checked_div(scopes).unwrap_or(usize::MAX);
            let left_out = client.files.split_off(fitting.min(client.files.len()));
            room -= scopes * client.files.len();
            client.failed.extend(left_out.into_iter().next().map(|first| FailedFile {
                path: first.path,
                message: format!("is not judged, nor is any after it: {TOO_MANY}").into(),
            }));
        }
    }

    /// `None`: the organization's own scope.
    pub(super) fn project(&self, position: usize) -> Option<&Project> {
        self.scopes[position].project(&self.inventory)
    }

    /// The anchors of the organization are in effect at a project that has not been read, but it may have more.
    pub(super) fn enforced(&self, position: usize, contents: &Contents) -> EnforcedScope {
        let (position, is_unread) = match self.scopes[position] {
            Scope::Organization => (0, false),
            Scope::Project(project) => (project + 1, false),
            Scope::UnreadProject(_) => (0, true),
        };
        let (in_effect, may_hold_more) = self.inventory.in_effect(position);
        EnforcedScope::new(in_effect.into_iter(), contents, may_hold_more || is_unread)
    }

    /// Whether a project is known, be it selected or not. Every organization has one.
    pub(super) fn any_project(&self) -> bool {
        let Lists { projects, unread, project_faults, .. } = self.inventory.lists();
        !projects.is_empty() || !unread.is_empty() || project_faults.unselected > 0
    }

    /// Whether a client's pattern matches a project.
    pub(super) fn matches_any(&self, pattern: &str) -> bool {
        self.matches.get(pattern).is_some_and(|positions| !positions.is_empty())
    }

    fn projects(&self) -> impl Iterator<Item = Option<&Project>> {
        self.scopes.iter().map(|scope| scope.project(&self.inventory))
    }

    fn matching(&self, pattern: &Regex) -> Box<[usize]> {
        let is_matching = |project: &Project| project.matches_any(slice::from_ref(pattern));
        let matching = self.projects().enumerate().filter(|(_, it)| it.is_some_and(is_matching));
        matching.map(|(position, _)| position).collect()
    }
}
