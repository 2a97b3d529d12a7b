//! How far a poll has come.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Written by the session of a poll, and read by whoever waits for it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pages: AtomicU64,
    projects_read: AtomicU64,
    /// Those that the poll reads; 0 until they are known.
    projects: AtomicU64,
}

impl Progress {
    pub(super) fn reset(&self) {
        for count in [&self.pages, &self.projects_read, &self.projects] {
            count.store(0, Relaxed);
        }
    }

    pub(super) fn page_read(&self) {
        self.pages.fetch_add(1, Relaxed);
    }

    pub(crate) fn projects_known(&self, count: usize) {
        self.projects.store(count as u64, Relaxed);
    }

    /// Whether its list could be read or not.
    pub(crate) fn project_read(&self) {
        self.projects_read.fetch_add(1, Relaxed);
    }
}

/// `12 of 400 projects read, 17 pages`
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [pages, read, projects] =
            [&self.pages, &self.projects_read, &self.projects].map(|count| count.load(Relaxed));
        let plural = if pages == 1 { "" } else { "s" };
        if projects == 0 {
            write!(f, "{pages} page{plural} read")
        } else {
            write!(f, "{read} of {projects} projects read, {pages} page{plural}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_are_counted_once_they_are_known() {
        let progress = Progress::default();
        progress.page_read();
        assert_eq!(progress.to_string(), "1 page read");
        progress.page_read();
        progress.projects_known(400);
        progress.project_read();
        assert_eq!(progress.to_string(), "1 of 400 projects read, 2 pages");
        progress.reset();
        assert_eq!(progress.to_string(), "0 pages read");
    }
}
