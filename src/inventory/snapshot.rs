use std::sync::Arc;

use super::{Inventory, Lists};

/// An inventory, and when each of its lists was last read whole, in seconds since the epoch.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub inventory: Arc<Inventory>,
    pub organization_read_at: f64,
    /// Of the list of projects itself; none if it was never read or projects are not polled.
    pub projects_listed_at: Option<f64>,
    /// In the order of the inventory's projects.
    pub projects_read_at: Vec<f64>,
}

impl Snapshot {
    /// When the own list of the scope at this position was read, in the order of the inventory's scopes.
    pub(crate) fn read_at(&self, scope: usize) -> f64 {
        scope
            .checked_sub(1)
            .map_or(self.organization_read_at, |project| self.projects_read_at[project])
    }

    /// Whether the list of projects was read, and has none: every organization has one, so the key may not see them.
    pub fn lists_no_project(&self) -> bool {
        let Lists { projects, unread, project_faults, .. } = self.inventory.lists();
        let seen = project_faults.unselected + project_faults.hidden;
        self.projects_listed_at.is_some() && projects.is_empty() && unread.is_empty() && seen == 0
    }

    /// As if every list that was read had been read at `instant`.
    #[must_use]
    pub(crate) fn assumed_read_at(mut self, instant: f64) -> Self {
        self.organization_read_at = instant;
        self.projects_listed_at = self.projects_listed_at.map(|_| instant);
        self.projects_read_at.fill(instant);
        self
    }

    /// When the least recently read list was read, in seconds since the epoch: everything that is shown is at least as
    /// fresh.
    pub fn oldest_read_at(&self) -> f64 {
        let of_projects = self.projects_listed_at.iter().chain(&self.projects_read_at);
        of_projects.copied().fold(self.organization_read_at, f64::min)
    }
}
