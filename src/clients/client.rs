use std::sync::Arc;

use regex::Regex;

use super::Chain;

/// Somebody who presents certificates to OpenAI: how it is configured, and what its files hold.
#[derive(Clone, Debug)]
pub struct Client {
    pub name: Arc<str>,
    /// The projects whose requests it sends, by patterns; none: it is judged in the organization's own scope.
    pub projects: Option<Vec<Regex>>,
    /// Those that could be read, sorted by path, certificates before issuers.
    pub files: Vec<ClientFile>,
    pub failed: Vec<FailedFile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFile {
    /// As it is configured or was matched.
    pub path: Arc<str>,
    pub kind: FileKind,
    pub chain: Arc<Chain>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A leaf, and the chain that it presents.
    Certificate,
    /// The authority that issues this client's certificates, and its chain.
    Issuer,
}

/// A file that cannot be read or holds no certificate, or a pattern that matches none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedFile {
    pub path: Arc<str>,
    /// For people; it goes on from the path.
    pub message: Box<str>,
}

impl Client {
    pub fn certificates(&self) -> impl Iterator<Item = &ClientFile> {
        self.files.iter().filter(|file| file.kind == FileKind::Certificate)
    }
}

/// Patterns are compared as they are written.
impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        let patterns =
            |client: &Self| Some(client.projects.as_ref()?.iter().map(Regex::to_string).collect());
        let patterns = |client| -> Option<Vec<_>> { patterns(client) };
        (&self.name, &self.files, &self.failed) == (&other.name, &other.files, &other.failed)
            && patterns(self) == patterns(other)
    }
}
