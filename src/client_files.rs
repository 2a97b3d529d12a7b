//! The certificate files of clients, found by their patterns and read again for every poll. A file that cannot be used costs
//! only itself, and nothing of a private key that stands in one is kept.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::Arc;

use glob::{MatchOptions, glob_with};
use secrecy::zeroize::Zeroizing;

use crate::clients::{Chain, Client, ClientFile, FailedFile, FileKind};
use crate::config::ClientConfig;
use crate::regular_file;

/// Of one file: room for a hundred chains.
const MAX_KIB: u64 = 1 << 10;
/// Of one client.
const MAX_FILES: usize = 10_000;
/// As in a shell, `*` matches no name that begins with a dot: below a mounted Secret, each file is there once more in a folder
/// `..data`.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The clients' files, and what they held when they were last read.
#[derive(Debug)]
pub(crate) struct ClientFiles {
    clients: Vec<ClientConfig>,
    known: KnownContents,
    hasher: RandomState,
}

/// What was made of a content, by its hash: an unchanged file is not parsed again.
type KnownContents = HashMap<(FileKind, u64), Result<Arc<Chain>, Box<str>>>;

impl ClientFiles {
    pub(crate) fn new(clients: Vec<ClientConfig>) -> Self {
        Self { clients, known: HashMap::new(), hasher: RandomState::new() }
    }

    /// Each client with its files as they are. Blocks.
    pub(crate) fn read(&mut self) -> Vec<Client> {
        let mut seen = KnownContents::new();
        let clients = self.clients.iter().map(|client| self.read_client(client, &mut seen));
        let clients = clients.collect();
        self.known = seen;
        clients
    }

    /// What the files of each client hold, a line each, and what is wrong with others. Blocks.
    pub(crate) fn counts(&mut self) -> Vec<String> {
        let lines = |client: Client| {
            let (name, certificates) = (&client.name, client.certificates().count());
            let issuers = client.files.len() - certificates;
            let counts =
                format!("client {name}: {certificates} certificate files, {issuers} issuer files");
            let faults = client.failed.iter();
            let faults =
                faults.map(|failed| format!("client {name}: {} {}", failed.path, failed.message));
            [counts].into_iter().chain(faults).collect::<Vec<_>>()
        };
        self.read().into_iter().flat_map(lines).collect()
    }

    fn read_client(&self, client: &ClientConfig, seen: &mut KnownContents) -> Client {
        let (mut files, mut failed) = (Vec::new(), Vec::new());
        let certificates = find(&client.certificate_files, &mut failed);
        let issuers = find(&client.issuer_files, &mut failed);
        let certificates = certificates.into_iter().map(|path| (FileKind::Certificate, path));
        let issuers = issuers.into_iter().map(|path| (FileKind::Issuer, path));
        for (kind, path) in certificates.chain(issuers) {
            let chain = self.read_file(kind, Path::new(&path), seen);
            let path = path.to_string_lossy().into();
            match chain {
                Ok(chain) => files.push(ClientFile { path, kind, chain }),
                Err(message) => failed.push(FailedFile { path, message }),
            }
        }
        let (name, projects) = (client.name.as_str().into(), client.projects.clone());
        Client { name, projects, files, failed }
    }

    fn read_file(
        &self,
        kind: FileKind,
        path: &Path,
        seen: &mut KnownContents,
    ) -> Result<Arc<Chain>, Box<str>> {
        // Some keep the private key in the same file.
        let content = regular_file::read(path, MAX_KIB).map(Zeroizing::new);
        let content = content.map_err(|error| format!("cannot be read: {error}"))?;
        let key = (kind, self.hasher.hash_one(&*content));
        let parse = || {
            let chain = match kind {
                FileKind::Certificate => Chain::from_pem(&content),
                FileKind::Issuer => Chain::of_issuer_pem(&content),
            };
            chain.map(Arc::new).map_err(|fault| fault.to_string().into())
        };
        let known = || self.known.get(&key).cloned().unwrap_or_else(parse);
        seen.entry(key).or_insert_with(known).clone()
    }
}

/// The files of these patterns, each once, sorted. What finds none has failed.
fn find(patterns: &[String], failed: &mut Vec<FailedFile>) -> BTreeSet<OsString> {
    let mut found = BTreeSet::new();
    for pattern in patterns {
        let mut fail = |path: &str, message: &str| {
            failed.push(FailedFile { path: path.into(), message: message.into() });
        };
        let before = found.len();
        let mut matches = 0;
        // The configuration has refused what is no pattern.
        for path in glob_with(pattern, MATCHING).into_iter().flatten() {
            matches += 1;
            match path {
                Ok(path) if found.len() < MAX_FILES => drop(found.insert(path.into_os_string())),
                Ok(_) => {}
                Err(error) => {
                    let message = format!("cannot be read: {}", error.error());
                    fail(&error.path().to_string_lossy(), &message);
                }
            }
        }
        let is_path = !pattern.contains(['*', '?', '[']);
        match matches {
            0 if is_path => fail(pattern, "does not exist"),
            0 => fail(pattern, "matches no file"),
            _ if found.len() == MAX_FILES && before < MAX_FILES => {
                fail(
                    pattern,
                    &format!("matches more than {MAX_FILES} files, of which the first are read"),
                );
            }
            _ => {}
        }
    }
    found
}
