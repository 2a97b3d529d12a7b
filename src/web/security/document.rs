//! A YAML document whose values can be refused by name.
//!
//! serde's derived readers are not used here: their errors repeat the value, which may be a key or a hash in the wrong
//! place, and of two equal keys they silently take the last.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};

/// What is wrong with a document: the place and the fault, never the value.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(" cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    #[error(" is not valid YAML: {0}")]
    Syntax(String),
    #[error(": {key}: {fault}")]
    Key { key: String, fault: String },
}

/// A value of any kind.
enum Node {
    Nothing,
    Flag(bool),
    Text(String),
    List(Vec<Node>),
    Section(Vec<(String, Node)>),
    /// Something that no key takes.
    Odd,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

/// Refuses no value of any kind, so that no error of the parser can be about one.
struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Flag(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    // How it was written is lost, so it cannot stand for text.
    fn visit_f64<E: Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Odd)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Odd)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Odd)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = sequence.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Section(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(A::Error::custom("tags are not supported"))
    }
}

/// A part of the document, whose keys are all known and there once.
pub(super) struct Section {
    /// As messages name it; empty at the top.
    path: String,
    entries: Vec<(String, Node)>,
}

impl Section {
    /// The whole document.
    pub(super) fn document(text: &str, known: &[&str]) -> Result<Self, Fault> {
        let node = yaml_serde::from_str(text).map_err(|error| Fault::Syntax(error.to_string()))?;
        Self::with_keys(String::new(), node, Some(known))
    }

    fn with_keys(path: String, node: Node, known: Option<&[&str]>) -> Result<Self, Fault> {
        let entries = match node {
            Node::Nothing => Vec::new(),
            Node::Section(entries) => entries,
            _ if path.is_empty() => return Err(Fault::Syntax("it must be a mapping of keys to values".into())),
            _ => return Err(Fault::Key { key: path, fault: "must be a section".into() }),
        };
        let section = Self { path, entries };
        for (index, (key, _)) in section.entries.iter().enumerate() {
            if let Some(known) = known.filter(|known| !known.contains(&key.as_str())) {
                return Err(section.fault(key, format!("unknown key; there are: {}", known.join(", "))));
            }
            if section.entries[..index].iter().any(|(earlier, _)| earlier == key) {
                return Err(section.fault(key, "stands there twice"));
            }
        }
        Ok(section)
    }

    /// Refuses the value of a key.
    pub(super) fn fault(&self, key: &str, fault: impl Into<String>) -> Fault {
        let key = nameable(key).unwrap_or("<not a name>");
        let key = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Fault::Key { key, fault: fault.into() }
    }

    fn take(&mut self, key: &str) -> Node {
        let index = self.entries.iter().position(|(name, _)| name == key);
        index.map_or(Node::Nothing, |index| self.entries.swap_remove(index).1)
    }

    /// Text; empty text counts as none, as it does in the reference.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Fault> {
        match self.take(key) {
            Node::Nothing => Ok(None),
            Node::Text(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            _ => Err(self.fault(key, "must be a string")),
        }
    }

    /// Yes or no, in all the words that YAML 1.1 has for it.
    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Fault> {
        let word = match self.take(key) {
            Node::Nothing => return Ok(None),
            Node::Flag(value) => return Ok(Some(value)),
            Node::Text(word) => word.to_ascii_lowercase(),
            _ => String::new(),
        };
        match word.as_str() {
            "yes" | "on" => Ok(Some(true)),
            "no" | "off" => Ok(Some(false)),
            _ => Err(self.fault(key, "must be true or false")),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &str) -> Result<Vec<String>, Fault> {
        let texts = match self.take(key) {
            Node::Nothing => Some(Vec::new()),
            Node::List(list) => list
                .into_iter()
                .map(|node| match node {
                    Node::Text(text) => Some(text),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        texts.ok_or_else(|| self.fault(key, "must be a list of strings"))
    }

    /// A part of this one; empty where it is not there.
    pub(super) fn section(&mut self, key: &str, known: &[&str]) -> Result<Self, Fault> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self::with_keys(path, self.take(key), Some(known))
    }

    /// A part of this one whose keys are not fixed, each with its text.
    pub(super) fn entries(&mut self, key: &str) -> Result<(Self, Vec<(String, String)>), Fault> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        let mut section = Self::with_keys(path, self.take(key), None)?;
        let names: Vec<_> = section.entries.iter().map(|(name, _)| name.clone()).collect();
        let mut entries = Vec::new();
        for name in names {
            let text = section.text(&name)?.unwrap_or_default();
            entries.push((name, text));
        }
        Ok((section, entries))
    }

    /// Whether nothing is there.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.iter().all(|(_, node)| matches!(node, Node::Nothing))
    }
}

/// Text that may be shown because it has the form of a name, which no hash and no line of a PEM block has.
pub(super) fn nameable(text: &str) -> Option<&str> {
    /// More than the longest name of a cipher suite, less than a line of PEM.
    const MAX_NAME: usize = 48;
    let of_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'@');
    (!text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(of_names)).then_some(text)
}
