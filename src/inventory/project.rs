use super::Identified;

/// A project as the list of projects shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Opaque identifier, never empty.
    pub id: Box<str>,
    /// What people call it.
    pub name: Option<Box<str>>,
    /// Whether it is archived; nothing of such a project is asked for.
    pub archived: bool,
}

impl Identified for Project {
    fn id(&self) -> &str {
        &self.id
    }
}
