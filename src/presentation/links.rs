//! Names that lead to a row, within sentences too.
//!
//! A sentence is put together as text in which each such name is marked: an isolate of Unicode's bidirectional algorithm
//! that begins with the row's anchor. Names cannot hold the marks, since [`sanitize`] spells them out.

use std::fmt;

use super::sanitize::{name_or_id, sanitize};
use crate::inventory::{Certificate, Project};

const OPEN: char = '\u{2068}';
const SEPARATOR: char = '\u{1f}';
const CLOSE: char = '\u{2069}';

/// A name, and the anchor of the row that it leads to: the HTML identifier of that row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub anchor: String,
    pub name: String,
}

impl Link {
    pub(super) fn organization(name: &str) -> Self {
        Self { anchor: "organization".into(), name: name.into() }
    }

    pub(super) fn project(project: &Project) -> Self {
        let name = name_or_id(project.name.as_deref(), &project.id);
        Self { anchor: project_anchor(&sanitize(&project.id)), name }
    }

    pub(super) fn certificate(certificate: &Certificate) -> Self {
        let name = name_or_id(certificate.name.as_deref(), &certificate.id);
        Self { anchor: certificate_anchor(&sanitize(&certificate.id)), name }
    }

    /// So many things, all of which are in the section `anchor` of the status page.
    pub(super) fn count(anchor: &str, what: String) -> Self {
        Self { anchor: anchor.into(), name: what }
    }

    /// The name, marked for a sentence.
    pub(super) fn mark(&self) -> String {
        let Self { anchor, name } = self;
        format!("{OPEN}{anchor}{SEPARATOR}{name}{CLOSE}")
    }
}

/// Of an identifier as it is displayed.
pub(super) fn certificate_anchor(id: &str) -> String {
    anchor("cert_", id)
}

/// Of an identifier as it is displayed.
pub(super) fn project_anchor(id: &str) -> String {
    anchor("proj_", id)
}

/// The identifier itself, which begins with `prefix` at OpenAI. Whatever else it is, it is none of the page's own.
fn anchor(prefix: &str, id: &str) -> String {
    if id.starts_with(prefix) { id.into() } else { format!("{prefix}{id}") }
}

/// A sentence whose names are marked. It is displayed without the marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marked(pub(super) String);

impl Marked {
    /// Each piece is a text and, if it is a name, its anchor.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.split(OPEN).flat_map(|part| {
            let marked = part.split_once(CLOSE).and_then(|(link, rest)| {
                let (anchor, name) = link.split_once(SEPARATOR)?;
                Some([(name, Some(anchor)), (rest, None)])
            });
            marked
                .unwrap_or([("", None), (part, None)])
                .into_iter()
                .filter(|(text, _)| !text.is_empty())
        })
    }
}

impl fmt::Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces().try_for_each(|(text, _)| f.write_str(text))
    }
}

/// Makes the first letter of a marked text a capital.
pub(super) fn capitalize(marked: &mut str) {
    let start =
        if marked.starts_with(OPEN) { marked.find(SEPARATOR).map(|at| at + 1) } else { Some(0) };
    if let Some(initial) = start.and_then(|start| marked.get_mut(start..=start)) {
        initial.make_ascii_uppercase();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::certificate;

    #[test]
    fn names_are_found_where_they_stand() {
        let link = Link::certificate(&certificate("cert_1").named("the"));
        let mut text = format!(
            "{} is next, then {}.",
            Link::organization("the organization").mark(),
            link.mark()
        );
        capitalize(&mut text);
        let marked = Marked(text);
        let found: Vec<_> = marked.pieces().collect();
        assert_eq!(
            found,
            [
                ("The organization", Some("organization")),
                (" is next, then ", None),
                ("the", Some("cert_1")),
                (".", None)
            ]
        );
        assert_eq!(marked.to_string(), "The organization is next, then the.");
    }

    #[test]
    fn no_identifier_is_one_of_the_pages_own() {
        for (id, expected) in
            [("cert_1", "cert_1"), ("scopes", "cert_scopes"), ("proj_1", "cert_proj_1")]
        {
            assert_eq!(certificate_anchor(id), expected);
        }
        assert_eq!(project_anchor("organization"), "proj_organization");
    }

    proptest! {
        #[test]
        fn no_name_ends_its_mark(id: String, name in "\\PC*|[\u{2068}\u{2069}\u{1f}ab]*") {
            let link = Link::certificate(&certificate(&id).named(&name));
            let text = Marked(format!("a{}b", link.mark()));
            let found: Vec<_> = text.pieces().collect();
            let name = (&*link.name, Some(&*link.anchor));
            prop_assert!(found == [("a", None), name, ("b", None)] || link.name.is_empty());
        }
    }
}
