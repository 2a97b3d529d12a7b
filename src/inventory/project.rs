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
}
