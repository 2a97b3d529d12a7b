use std::sync::Arc;

use super::Inventory;

/// An inventory, and when each of its lists was last read whole, in seconds since the epoch.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub inventory: Arc<Inventory>,
    pub organization_read_at: f64,
    /// In the order of the inventory's projects.
    pub projects_read_at: Vec<f64>,
}

impl Snapshot {
    /// When the list that was not read for longest was read: everything that is shown is at least as fresh.
    pub fn oldest_read_at(&self) -> f64 {
        self.projects_read_at.iter().copied().fold(self.organization_read_at, f64::min)
    }
}
