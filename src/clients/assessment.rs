use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    Acceptance, CandidatePaths, Client, ClientFile, ClientScopes, Contents, EnforcedScope,
    FileKind, KnownIssuers, ListedAnchor, Problem, Signatures, problems,
};
use crate::inventory::{Certificate, Inventory, Project, UnixSeconds};

/// All that is known of clients and of the anchors' PEM: each file of a client in each of its scopes. Built whole, never
/// changed.
#[derive(Debug, Default)]
pub struct Assessment {
    clients: Vec<Client>,
    contents: Arc<Contents>,
    /// Of each file, in the order of clients and files.
    candidates: Vec<FileCandidates>,
    /// None before the first snapshot: then nothing is judged.
    scopes: Option<ClientScopes>,
    /// The scopes of any client, by their positions.
    enforced: BTreeMap<usize, EnforcedScope>,
    judged: Vec<Judged>,
    /// Of each certificate of the inventory; none if its PEM has not been read.
    problems: Vec<Option<Vec<Problem>>>,
    /// The instants at which a verdict may change, sorted.
    boundaries: Vec<UnixSeconds>,
}

#[derive(Clone, Debug)]
struct FileCandidates {
    client: usize,
    file: usize,
    candidates: Arc<CandidatePaths>,
}

#[derive(Debug)]
struct Judged {
    client: usize,
    file: usize,
    scope: usize,
    acceptance: Acceptance,
}

/// What rests on a certificate though no client would be refused at once without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dependence {
    /// That the client's issuer is trusted.
    Issuer,
    /// That the client is not refused sooner.
    Longer,
    /// Not known, or only later.
    Perhaps,
}

/// A file of a client in one of its scopes.
#[derive(Clone, Copy, Debug)]
pub struct Judgement<'a> {
    pub client: &'a Client,
    pub file: &'a ClientFile,
    /// None: the organization's own scope.
    pub project: Option<&'a Project>,
    pub acceptance: &'a Acceptance,
    /// An anchor in effect whose certificate has not been read, if there is one.
    pub unread: Option<&'a str>,
}

impl Assessment {
    /// The assessment of these clients and anchors: `before` itself if all that it rests on is equal. Signatures are
    /// checked here, which takes time if they are many and new.
    pub fn new_or_unchanged(
        before: Option<&Arc<Self>>,
        mut clients: Vec<Client>,
        contents: &Arc<Contents>,
        inventory: Option<&Arc<Inventory>>,
        signatures: &Signatures,
    ) -> Arc<Self> {
        let scopes_before = before.and_then(|before| before.scopes.as_ref());
        let scopes = inventory.map(|it| ClientScopes::new(it, &clients, scopes_before));
        if let Some(scopes) = &scopes {
            scopes.limit(&mut clients);
        }
        let alike = before.filter(|it| it.clients == clients && it.contents == *contents);
        let candidates = match alike {
            Some(alike) if alike.inventory().map(Arc::as_ptr) == inventory.map(Arc::as_ptr) => {
                return Arc::clone(alike);
            }
            Some(alike) => alike.candidates.clone(),
            None => find_paths(&clients, contents, signatures),
        };
        let assessment =
            Self { clients, contents: Arc::clone(contents), candidates, ..Self::default() };
        Arc::new(match scopes {
            Some(scopes) => assessment.judged_in(scopes),
            None => assessment,
        })
    }

    fn inventory(&self) -> Option<&Arc<Inventory>> {
        Some(&self.scopes.as_ref()?.inventory)
    }

    /// The same clients by the lists of another inventory.
    #[must_use]
    pub fn over(&self, inventory: &Arc<Inventory>) -> Self {
        let (clients, contents) = (self.clients.clone(), Arc::clone(&self.contents));
        let candidates = self.candidates.clone();
        let scopes = ClientScopes::new(inventory, &clients, self.scopes.as_ref());
        Self { clients, contents, candidates, ..Self::default() }.judged_in(scopes)
    }

    fn judged_in(mut self, scopes: ClientScopes) -> Self {
        for FileCandidates { client, file, candidates } in &self.candidates {
            for scope in scopes.of(&self.clients[*client]) {
                let enforced = self.enforced.entry(scope);
                let enforced = enforced.or_insert_with(|| scopes.enforced(scope, &self.contents));
                let acceptance = Acceptance::new(candidates, enforced);
                self.judged.push(Judged { client: *client, file: *file, scope, acceptance });
            }
        }
        self.boundaries = self.judged.iter().flat_map(|it| it.acceptance.boundaries()).collect();
        self.boundaries.sort_unstable();
        self.boundaries.dedup();
        self.problems = anchor_problems(&scopes.inventory, &self.contents);
        self.scopes = Some(scopes);
        self
    }

    /// Sorted by name.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// The file and scope at this position, in the order of clients, files and scopes.
    pub fn get(&self, position: usize) -> Option<Judgement<'_>> {
        let Judged { client, file, scope, acceptance } = self.judged.get(position)?;
        let client = &self.clients[*client];
        let project = self.scopes.as_ref()?.project(*scope);
        let unread = self.enforced.get(scope).and_then(|enforced| enforced.unread().next());
        Some(Judgement { client, file: &client.files[*file], project, acceptance, unread })
    }

    /// Each file in each of its scopes.
    pub fn iter(&self) -> impl Iterator<Item = Judgement<'_>> {
        (0..self.judged.len()).filter_map(|position| self.get(position))
    }

    /// Clients in no scope: no selected project that is known matches their patterns.
    pub fn unscoped(&self) -> impl Iterator<Item = &Client> {
        let scopes = self.scopes.iter();
        scopes.flat_map(|scopes| self.clients.iter().filter(|it| scopes.of(it).is_empty()))
    }

    /// Each client at each of its scopes (`None`: the organization's own).
    pub(crate) fn clients_at_scopes(&self) -> impl Iterator<Item = (&Client, Option<&Project>)> {
        let at = |(client, scopes)| {
            let positions = ClientScopes::of(scopes, client).into_iter();
            positions.map(move |position| (client, scopes.project(position)))
        };
        let scopes = self.scopes.iter();
        scopes.flat_map(|it| self.clients.iter().map(move |client| (client, it))).flat_map(at)
    }

    /// Patterns that match no selected project that is known, each after the name of its client.
    pub fn unmatched_patterns(&self) -> impl Iterator<Item = (&str, &str)> {
        let patterns = self.clients.iter().flat_map(|client| {
            client.projects.iter().flatten().map(|pattern| (&*client.name, pattern.as_str()))
        });
        let scopes = self.scopes.as_ref();
        patterns
            .filter(move |(_, pattern)| scopes.is_some_and(|scopes| !scopes.matches_any(pattern)))
    }

    /// Whether any project is known. If none is, the list of projects has not been read: every organization has one.
    pub fn any_project(&self) -> bool {
        self.scopes.as_ref().is_some_and(ClientScopes::any_project)
    }

    /// Each certificate, with what is odd about its PEM if that has been read.
    pub fn problems(&self) -> impl Iterator<Item = (&Certificate, Option<&[Problem]>)> {
        let certificates =
            self.inventory().into_iter().flat_map(|inventory| inventory.certificates());
        let certificates = certificates.map(|used| &used.certificate);
        certificates.zip(self.problems.iter().map(Option::as_deref))
    }

    /// A certificate as a list shows it.
    pub fn certificate(&self, id: &str) -> Option<&Certificate> {
        let certificates = self.inventory()?.certificates();
        let position = certificates.binary_search_by(|used| (*used.certificate.id).cmp(id)).ok()?;
        Some(&certificates[position].certificate)
    }

    /// The identifier of each certificate on which a client depends, and that client: it would be refused at once, were the
    /// certificate deactivated everywhere; or, if the third is false, that is not known.
    pub(crate) fn dependents(&self, now: UnixSeconds) -> impl Iterator<Item = (&str, &str, bool)> {
        self.judged.iter().flat_map(move |it| {
            let client = &self.clients[it.client];
            let is_certificate = client.files[it.file].kind == FileKind::Certificate;
            let scope = self.enforced.get(&it.scope).filter(|_| is_certificate);
            let depends = scope.map(|scope| it.acceptance.depends_on(scope, now));
            let with_client = |(id, is_known)| (id, &*client.name, is_known);
            depends.into_iter().flatten().map(with_client)
        })
    }

    /// The identifier of each certificate on which something else of a client rests, and that client.
    pub(crate) fn weaker_dependents(
        &self,
        now: UnixSeconds,
    ) -> impl Iterator<Item = (&str, &str, Dependence)> {
        self.judged.iter().filter_map(|it| Some((it, self.enforced.get(&it.scope)?))).flat_map(
            move |(Judged { client, file, acceptance, .. }, scope)| {
                let client = &self.clients[*client];
                let (trusting, longer) = match client.files[*file].kind {
                    FileKind::Certificate => (Vec::new(), Dependence::Longer),
                    FileKind::Issuer => (acceptance.depends_on(scope, now), Dependence::Perhaps),
                };
                let trusting = trusting.into_iter().map(|(id, _)| (id, Dependence::Issuer));
                let longer = acceptance.prolonged_by(now).into_iter().map(move |id| (id, longer));
                let perhaps = acceptance.may_rest_on(scope, now);
                let perhaps = perhaps.map(|id| (id, Dependence::Perhaps));
                let all = trusting.chain(longer).chain(perhaps);
                all.map(|(id, dependence)| (id, &*client.name, dependence))
            },
        )
    }

    /// Of each certificate: how many pairs of a client's certificate and a scope would be refused at once, were it
    /// deactivated everywhere; `None` if that is not known.
    pub fn dependent_clients(&self, now: UnixSeconds) -> Vec<(&Certificate, Option<u64>)> {
        let mut dependent = BTreeMap::new();
        for (id, _, is_known) in self.dependents(now) {
            let count = dependent.entry(id).or_insert(Some(0));
            *count = count.filter(|_| is_known).map(|count| count + 1);
        }
        let count = |certificate: &Certificate| dependent.get(&*certificate.id).copied();
        self.problems().map(|(it, _)| (it, count(it).unwrap_or(Some(0)))).collect()
    }

    /// Number of boundaries passed at `now`: a cache key. Equal epochs give equal verdicts, also when the clock is set
    /// back.
    pub fn epoch(&self, now: UnixSeconds) -> usize {
        self.boundaries.partition_point(|boundary| *boundary <= now)
    }
}

fn find_paths(
    clients: &[Client],
    contents: &Contents,
    signatures: &Signatures,
) -> Vec<FileCandidates> {
    let files = || clients.iter().flat_map(|client| &client.files);
    let known = KnownIssuers::new(files().map(|file| &*file.chain));
    let mut found = Vec::new();
    for (client, configured) in clients.iter().enumerate() {
        for (file, ClientFile { chain, .. }) in configured.files.iter().enumerate() {
            let candidates = Arc::new(CandidatePaths::new(chain, contents, &known, signatures));
            found.push(FileCandidates { client, file, candidates });
        }
    }
    signatures.forget_unused();
    found
}

/// Of each certificate of the inventory; none if its PEM has not been read.
fn anchor_problems(inventory: &Inventory, contents: &Contents) -> Vec<Option<Vec<Problem>>> {
    let listed = |position: usize| {
        let used = &inventory.certificates()[position];
        let content = contents.get(&*used.certificate.id)?;
        Some((
            position,
            ListedAnchor { listed: &used.certificate, content, is_active: used.is_active() },
        ))
    };
    let (positions, anchors): (Vec<_>, Vec<_>) =
        (0..inventory.certificates().len()).filter_map(listed).unzip();
    let mut found = vec![None; inventory.certificates().len()];
    for (position, problems) in positions.into_iter().zip(problems(&anchors)) {
        found[position] = Some(problems);
    }
    found
}
