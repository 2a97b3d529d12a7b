use regex::Regex;
use serde::{Deserialize, Serialize};

use super::Identified;

/// A project as the list of projects shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Opaque identifier, never empty.
    pub id: Box<str>,
    pub name: Option<Box<str>>,
    /// Archived projects are not polled.
    pub archived: bool,
}

impl Identified for Project {
    fn id(&self) -> &str {
        &self.id
    }

    fn take_worse(&mut self, other: &Self) -> bool {
        let contradicts = self.archived != other.archived;
        self.archived &= other.archived;
        contradicts
    }
}

impl Project {
    /// Whether one of these patterns matches its identifier or its name.
    pub(crate) fn matches_any(&self, patterns: &[Regex]) -> bool {
        let name = self.name.as_deref();
        let matches = |pattern: &Regex| {
            pattern.is_match(&self.id) || name.is_some_and(|name| pattern.is_match(name))
        };
        patterns.iter().any(matches)
    }
}
