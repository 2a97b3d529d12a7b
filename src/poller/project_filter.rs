//! Which projects are polled.

use std::collections::BTreeSet;
use std::slice;

use regex::Regex;

use crate::inventory::Project;

#[derive(Debug)]
pub(super) struct ProjectFilter {
    /// One of these must match; empty if every project is selected.
    pub(super) include: Vec<Regex>,
    /// None of these may match.
    pub(super) exclude: Vec<Regex>,
}

impl ProjectFilter {
    pub(super) fn selects(&self, project: &Project) -> bool {
        (self.include.is_empty() || project.matches_any(&self.include))
            && !project.matches_any(&self.exclude)
    }

    /// The patterns that match none of these projects, each after its key.
    pub(super) fn unmatched(&self, projects: &[Project]) -> UnmatchedPatterns {
        let include = self.include.iter().map(|it| ("poll.project_include", it));
        let all = include.chain(self.exclude.iter().map(|it| ("poll.project_exclude", it)));
        let matches = |pattern| projects.iter().any(|it| it.matches_any(slice::from_ref(pattern)));
        let unmatched = all.filter(|(_, pattern)| !matches(pattern));
        unmatched.map(|(key, pattern)| (key, pattern.as_str().into())).collect()
    }
}

/// Keys of the configuration, each with a pattern.
pub(super) type UnmatchedPatterns = BTreeSet<(&'static str, Box<str>)>;
